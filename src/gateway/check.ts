/** A broken invariant of our own, never a peer's fault: it must not be survived, because answers could reach the wrong client. */
export function check(condition: boolean, invariant: string): asserts condition {
  if (!condition) broken(invariant);
}

// Apart, so that `check` stays small enough to be inlined wherever it stands.
function broken(invariant: string): never {
  throw new Error(`gateway invariant broken: ${invariant}`);
}
