/**
 * Which places of a table are free: one bit each, taken in ascending order from where the last one was (next fit).
 *
 * The order is what matters. Tasks that come together get neighbouring records, and are answered together: the processor has
 * fetched the next record before it is asked for. A stack of free places loses that within seconds (after 3 million tasks in
 * relay 500 × 16 one record in eight lay beside the one before it), and each record is then a miss of the cache.
 *
 *     places  |#####.##|########|....####|########|........|     # taken
 *                                ^ cursor: takes from here, goes back to the start at the limit
 *
 * The limit keeps within 1.5 times what is in use, so that a table that was large once is not walked through for ever.
 */
const WORD_SHIFT = 5;
const WORD_BITS = 1 << WORD_SHIFT;
const ALL_FREE = -1;
/** Places that are always walked through: no more than a few lines of the cache per array. */
const LEAST = 64;

export class FreeSlots {
  #bits: Int32Array;
  /** A word of `#bits`. */
  #cursor = 0;
  #taken = 0;

  /** `capacity`: a multiple of 32. */
  constructor(capacity: number) {
    this.#bits = new Int32Array(capacity >> WORD_SHIFT).fill(ALL_FREE);
  }

  get capacity(): number {
    return this.#bits.length << WORD_SHIFT;
  }

  /** Places taken. */
  get taken(): number {
    return this.#taken;
  }

  /** One in eight is free at least: to look for the next one costs a fraction of a word. */
  get isCrowded(): boolean {
    return this.#taken >= this.capacity - (this.capacity >> 3);
  }

  /** One of those that are free, of which there must be one. */
  take(): number {
    let free = this.#bits[this.#cursor];
    if (free === 0) free = this.#advance();
    this.#bits[this.#cursor] = free & (free - 1);
    this.#taken++;
    return (this.#cursor << WORD_SHIFT) + 31 - Math.clz32(free & -free);
  }

  /** It must have been taken. */
  give(place: number): void {
    this.#bits[place >> WORD_SHIFT] |= 1 << (place & (WORD_BITS - 1));
    if (--this.#taken === 0) this.#cursor = 0;
  }

  grow(capacity: number): void {
    const bits = new Int32Array(capacity >> WORD_SHIFT).fill(ALL_FREE);
    bits.set(this.#bits);
    this.#bits = bits;
  }

  /** To the next word with a free place. */
  #advance(): number {
    const bits = this.#bits;
    // There are more places below it than are taken.
    const limit = Math.min(bits.length, (LEAST + this.#taken + (this.#taken >> 1)) >> WORD_SHIFT);
    let cursor = this.#cursor;
    do {
      cursor = cursor + 1 < limit ? cursor + 1 : 0;
    } while (bits[cursor] === 0);
    this.#cursor = cursor;
    return bits[cursor];
  }
}
