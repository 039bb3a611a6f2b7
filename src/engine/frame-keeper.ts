import type { Kept } from './engine.js';

/** Frames up to it share a slab; longer ones own their memory, so that a kept one never holds much more than itself. */
export const SHARED_FRAME_BYTES = 4_096;
/** The most that one kept small frame can hold in memory. */
export const SLAB_BYTES = 16_384;
/** Copied faster one by one than through the view that `set` needs (39 ns). */
const BY_LOOP_BYTES = 96;

/** Copies of frames that must outlive their batch, side by side on slabs that are never written twice. */
export class FrameKeeper {
  #slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
  #used = 0;

  keep(bytes: Uint8Array, start: number, end: number): Kept {
    const length = end - start;
    if (length > SHARED_FRAME_BYTES) {
      const own = Buffer.allocUnsafeSlow(length);
      own.set(bytes.subarray(start, end));
      return { bytes: own, start: 0 };
    }
    if (this.#used + length > SLAB_BYTES) {
      this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
      this.#used = 0;
    }
    const slab = this.#slab;
    const at = this.#used;
    if (length > BY_LOOP_BYTES) slab.set(new Uint8Array(bytes.buffer, bytes.byteOffset + start, length), at);
    else for (let i = 0; i < length; i++) slab[at + i] = bytes[start + i];
    this.#used += length;
    return { bytes: slab, start: at };
  }
}
