/**
 * Bytes that outlive their batch, where the frames of a batch lie side by side in a ring: small frames share a slab that is
 * filled by one copy, because the frames behind one that is kept will most likely be kept too.
 */
import type { Kept } from './engine.js';
import { SHARED_FRAME_BYTES, SLAB_BYTES } from './frame-keeper.js';
import type { SlabPool } from './slab-pool.js';

const NO_SLAB = new Uint8Array(0);
/**
 * A batch of up to so many bytes joins those before it on a slab of `COMMON_BYTES`: memory of its own for each would cost a lone
 * connection more than the copy does (Node's own pool of Buffers is of the same kind, and has 8 KB).
 */
const FEW_BYTES = 512;
const COMMON_BYTES = 4_096;
/** Copied faster one by one than through the view that `set` needs (39 ns). */
const BY_LOOP_BYTES = 96;

export class BatchKeeper {
  /** Of memory that is used again; without it every slab is new and nobody's but its holders'. */
  readonly #pool: SlabPool | undefined;
  #from: Uint8Array | undefined;
  #slab: Uint8Array = NO_SLAB;
  /** `#slab[i]` is a copy of from[i + #offset], from #start to #end. */
  #offset = 0;
  #start = 0;
  #end = 0;
  /** Where small batches lie side by side, and where the next one may. Only of memory that is not used again. */
  #common: Uint8Array = NO_SLAB;
  #commonEnd = 0;
  /** The slab was given back, and serves on if a further frame of the batch is kept. */
  #isBack = false;

  constructor(pool?: SlabPool) {
    this.#pool = pool;
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
      const stop = Math.max(end, Math.min(limit, start + SLAB_BYTES));
      this.#retire();
      this.#from = bytes;
      this.#start = start;
      this.#end = stop;
      if (isReusable || stop - start > FEW_BYTES) {
        this.#offset = start;
        this.#slab = this.#copyOf(bytes, start, stop);
      } else {
        this.#offset = start - this.#copyToCommon(bytes, start, stop);
        this.#slab = this.#common;
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

  /** Where it begins there. */
  #copyToCommon(bytes: Uint8Array, start: number, end: number): number {
    if (this.#common.length - this.#commonEnd < end - start) {
      this.#common = Buffer.allocUnsafeSlow(COMMON_BYTES);
      this.#commonEnd = 0;
    }
    const common = this.#common;
    const place = this.#commonEnd;
    this.#commonEnd = (place + end - start + 7) & ~7;
    if (end - start > BY_LOOP_BYTES) common.set(bytes.subarray(start, end), place);
    else for (let i = start, to = place; i < end; i++) common[to++] = bytes[i];
    return place;
  }

  #copyOf(bytes: Uint8Array, start: number, end: number): Uint8Array {
    const copy = this.#pool?.take(end - start) ?? Buffer.allocUnsafeSlow(end - start);
    copy.set(bytes.subarray(start, end));
    return copy;
  }
}
