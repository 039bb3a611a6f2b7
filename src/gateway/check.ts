/** A broken invariant of our own, never a peer's fault: it must not be survived, because answers could reach the wrong client. */
export function check(condition: boolean, invariant: string): asserts condition {
  if (!condition) throw new Error(`gateway invariant broken: ${invariant}`);
}
