/** What a class of ours shows of itself, as Node's function of that name does. */

/**
 * Members are enumerable but for `hidden`, and `instanceof` takes what is Node's too: `http` and `tls` keep Node's sockets and
 * servers where a program's `net` is ours. Only of the constructor itself, not of its heirs.
 */
export function likeNode(ours: object, prototype: object, nodes: unknown, hidden: readonly string[]): void {
  for (const [name, member] of Object.entries(Object.getOwnPropertyDescriptors(prototype))) {
    if (name === 'constructor' || hidden.includes(name)) continue;
    Object.defineProperty(prototype, name, { ...member, enumerable: true });
  }
  Object.defineProperty(ours, Symbol.hasInstance, {
    value(this: unknown, value: unknown): boolean {
      if (Function.prototype[Symbol.hasInstance].call(this as never, value)) return true;
      return this === ours && value instanceof (nodes as new () => object);
    },
    configurable: true,
    writable: true,
  });
}
