/**
 * Memory for chunks that users may keep: small ones lie side by side on a slab that is never written twice, long ones own
 * theirs, so that a kept chunk never holds much more than itself.
 */
const SLAB_BYTES = 16_384;
const SHARED_CHUNK_BYTES = 4_096;

export class ChunkSlab {
  #slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
  #used = 0;

  /** A buffer of `length` bytes, for the caller to fill. */
  allocate(length: number): Buffer {
    if (length > SHARED_CHUNK_BYTES) return Buffer.allocUnsafeSlow(length);
    const start = this.reserve(length);
    return this.#slab.subarray(start, start + length);
  }

  /** The place of `length` bytes, at most `SLAB_BYTES`, on `slab`. */
  reserve(length: number): number {
    if (this.#used + length > SLAB_BYTES) {
      this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
      this.#used = 0;
    }
    const start = this.#used;
    // Views that begin at multiples of 8 are copied faster.
    this.#used = (start + length + 7) & ~7;
    return start;
  }

  get slab(): Buffer {
    return this.#slab;
  }

  /** Whether so many bytes, of which `used` are wanted, are worth one copy of all. */
  static isOneCopy(length: number, used: number): boolean {
    return length <= SHARED_CHUNK_BYTES * 2 && length <= used + (used >> 1) + 64;
  }
}
