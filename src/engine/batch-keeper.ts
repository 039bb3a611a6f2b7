/**
 * Bytes that outlive their batch, where the frames of a batch lie side by side in a ring: small frames share a slab that is
 * filled by one copy, because the frames behind one that is kept will most likely be kept too.
 */
import type { Kept } from './engine.js';
import { SHARED_FRAME_BYTES, SLAB_BYTES } from './frame-keeper.js';

export class BatchKeeper {
  #from: Uint8Array | undefined;
  #slab: Uint8Array = new Uint8Array(0);
  /** slab[i] is a copy of from[i + #offset], up to #end. */
  #offset = 0;
  #end = 0;

  /** A new batch: what was copied before says nothing about the ring's bytes now. */
  reset(): void {
    this.#from = undefined;
  }

  /** @param limit Where the batch's bytes end: nothing behind it is worth copying. */
  keep(bytes: Uint8Array, start: number, end: number, limit: number): Kept {
    if (end - start > SHARED_FRAME_BYTES) return { bytes: copyOf(bytes, start, end), start: 0 };
    if (this.#from !== bytes || start < this.#offset || end > this.#end) {
      const stop = Math.max(end, Math.min(limit, start + SLAB_BYTES));
      this.#from = bytes;
      this.#offset = start;
      this.#end = stop;
      this.#slab = copyOf(bytes, start, stop);
    }
    return { bytes: this.#slab, start: start - this.#offset };
  }
}

function copyOf(bytes: Uint8Array, start: number, end: number): Uint8Array {
  const copy = Buffer.allocUnsafeSlow(end - start);
  copy.set(bytes.subarray(start, end));
  return copy;
}
