/**
 * Memory for bytes that outlive their batch, used again once it was given back: without it, payloads kept for a further attempt
 * (500 MB/s at 30,000 requests of 16 KB) had V8 mark its heap for memory outside of it, which took a fifth of a gateway's CPU time.
 *
 *     take ─► in somebody's hands ─► giveBack ─► #returned ─► (settle, between two batches) ─► #free[pages] ─► take …
 */
const PAGE_BYTES = 4_096;
/** Of the longest slab that is kept for use again; what is longer comes as a block. */
const MAX_PAGES = 17;
/** Unused slabs hold no more than that. */
const MAX_FREE_BYTES = 4 * 1024 * 1024;

export class SlabPool {
  /** Of unused slabs. */
  freeBytes = 0;
  readonly #free: Uint8Array[][] = Array.from({ length: MAX_PAGES + 1 }, () => []);
  #returned: Uint8Array[] = [];

  /** At least `length` bytes of any content: whole pages, but for less than one. */
  take(length: number): Uint8Array {
    if (length < PAGE_BYTES) return Buffer.allocUnsafeSlow(length);
    const pages = Math.ceil(length / PAGE_BYTES);
    const slab = pages <= MAX_PAGES ? this.#free[pages].pop() : undefined;
    if (slab === undefined) return Buffer.allocUnsafeSlow(pages * PAGE_BYTES);
    this.freeBytes -= slab.length;
    return slab;
  }

  /** Of `take`, once: its bytes stay as they are until `settle`, whoever looks at them in this batch still. */
  giveBack(slab: Uint8Array): void {
    this.#returned.push(slab);
  }

  /** From here on what was given back may be written. */
  settle(): void {
    const returned = this.#returned;
    if (returned.length === 0) return;
    for (const slab of returned) {
      const pages = slab.length / PAGE_BYTES;
      if (pages < 1 || pages > MAX_PAGES || this.freeBytes + slab.length > MAX_FREE_BYTES) continue;
      this.#free[pages].push(slab);
      this.freeBytes += slab.length;
    }
    this.#returned = [];
  }
}
