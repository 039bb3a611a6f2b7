/**
 * Bytes that outlive their batch, where the frames of a batch lie side by side in a ring: small frames share a slab that is
 * filled by one copy, because the frames behind one that is kept will most likely be kept too.
 */
import type { Kept } from './engine.js';
import { FrameKeeper, SHARED_FRAME_BYTES, SLAB_BYTES } from './frame-keeper.js';
import type { SlabPool } from './slab-pool.js';

const NO_SLAB = new Uint8Array(0);
/**
 * A batch of up to so many bytes joins those before it on a slab: memory of its own for each would cost a lone connection more than
 * the copy does.
 */
const FEW_BYTES = 512;

export class BatchKeeper {
  /** Of memory that is used again; without it every slab is new and nobody's but its holders'. */
  readonly #pool: SlabPool | undefined;
  /** Small batches side by side; only of memory that is not used again. */
  readonly #few: FrameKeeper | undefined;
  #from: Uint8Array | undefined;
  #slab: Uint8Array = NO_SLAB;
  /** `#slab[i]` is a copy of from[i + #offset], from #start to #end. */
  #offset = 0;
  #start = 0;
  #end = 0;
  /** The slab was given back, and serves on if a further frame of the batch is kept. */
  #isBack = false;

  constructor(pool?: SlabPool) {
    this.#pool = pool;
    if (pool === undefined) this.#few = new FrameKeeper();
  }

  /** A new batch: what was copied before says nothing about the ring's bytes now. */
  reset(): void {
    this.#retire();
    this.#pool?.settle();
  }

  /** A slab that `keep` said to be reusable, when nobody holds bytes in it. */
  giveBack(slab: Uint8Array): void {
    if (slab === this.#slab) this.#isBack = true;
    else this.#pool?.giveBack(slab);
  }

  /** @param limit Where the batch's bytes end: nothing behind it is worth copying. */
  keep(bytes: Uint8Array, start: number, end: number, limit: number): Kept {
    const isReusable = this.#pool !== undefined;
    if (end - start > SHARED_FRAME_BYTES) return { bytes: this.#copyOf(bytes, start, end), start: 0, isReusable };
    if (this.#from !== bytes || start < this.#start || end > this.#end) {
      // Not by Math.min and Math.max: V8 makes floats of them here, and compares each frame with one.
      let stop = start + SLAB_BYTES;
      if (stop > limit) stop = limit;
      if (stop < end) stop = end;
      this.#retire();
      this.#from = bytes;
      this.#start = start;
      this.#end = stop;
      if (this.#few === undefined || stop - start > FEW_BYTES) {
        this.#offset = start;
        this.#slab = this.#copyOf(bytes, start, stop);
      } else {
        const kept = this.#few.keep(bytes, start, stop);
        this.#offset = start - kept.start;
        this.#slab = kept.bytes;
      }
    }
    this.#isBack = false;
    return { bytes: this.#slab, start: start - this.#offset, isReusable };
  }

  /** Nothing more is kept in the slab. */
  #retire(): void {
    if (this.#isBack) this.#pool?.giveBack(this.#slab);
    this.#isBack = false;
    this.#from = undefined;
    this.#slab = NO_SLAB;
  }

  #copyOf(bytes: Uint8Array, start: number, end: number): Uint8Array {
    const copy = this.#pool?.take(end - start) ?? Buffer.allocUnsafeSlow(end - start);
    copy.set(bytes.subarray(start, end));
    return copy;
  }
}
