/** Memory of JavaScript that a connection's kernel still reads: held on to, in order, until it was taken. */
export class PinnedBytes {
  readonly #pins: { readonly until: number; readonly bytes: Uint8Array }[] = [];

  /** @param until Bytes queued on the connection, these included. */
  add(bytes: Uint8Array, until: number): void {
    this.#pins.push({ until, bytes });
  }

  /** @returns whether any are left. */
  release(taken: number): boolean {
    let done = 0;
    while (done < this.#pins.length && this.#pins[done].until <= taken) done++;
    if (done > 0) this.#pins.splice(0, done);
    return this.#pins.length > 0;
  }
}
