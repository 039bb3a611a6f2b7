/** What a simulation ends with when a rule does not hold. */
export class Broken extends Error {
  override readonly name = 'Broken';
}

/** @throws Broken with the sentence of the rule that does not hold, and what was found instead. */
export function broken(rule: string, found: string): never {
  throw new Broken(`${rule}: ${found}`);
}
