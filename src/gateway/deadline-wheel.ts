/**
 * Deadlines over slots: a hierarchical timing wheel (Varghese and Lauck 1987, scheme 7). Arrays indexed by slot, so that to
 * arm and to cancel costs no allocation and no search. Told the time; never early, late by at most one granule plus the
 * time until `advance` is called.
 *
 *     level 0: 256 buckets of one granule           8 ms … 2 s
 *     level 1: 256 buckets of 256 granules          … 8.7 min
 *     level 2: 256 buckets of 65,536 granules       … 37 h; beyond that a slot is put in again when its bucket comes
 *
 * Invariants: a slot is in at most one bucket; a bucket's slots all end in the span of time the bucket stands for, or
 * beyond the wheel; buckets of spans before `#tick` are empty.
 */

const LEVELS = 3;
const BUCKETS = 256;
const MASK = BUCKETS - 1;
const SPANS = [1, BUCKETS, BUCKETS * BUCKETS] as const;
const HORIZON = BUCKETS * BUCKETS * BUCKETS - 1;

const NONE = -1;
const NOT_ARMED = -1;

/** `#previous` of the first slot in a bucket names the bucket. */
const headOf = (bucket: number): number => -2 - bucket;

export class DeadlineWheel {
  readonly #granuleMs: number;
  /** First slot of each bucket, level by level. */
  readonly #heads = new Int32Array(LEVELS * BUCKETS).fill(NONE);
  #next: Int32Array;
  #previous: Int32Array;
  /** The granule at whose beginning a slot is due. */
  #due: Float64Array;
  #tick = 0;
  #armed = 0;

  constructor(capacity: number, granuleMs = 8) {
    this.#granuleMs = granuleMs;
    this.#next = new Int32Array(capacity).fill(NONE);
    this.#previous = new Int32Array(capacity).fill(NOT_ARMED);
    this.#due = new Float64Array(capacity);
  }

  /** Slots armed now. */
  get size(): number {
    return this.#armed;
  }

  /** `slot` expires once `deadlineMs` has passed; a deadline already past at the next granule. Arms anew what was armed. */
  arm(slot: number, deadlineMs: number): void {
    if (this.#previous[slot] !== NOT_ARMED) this.cancel(slot);
    const due = Math.ceil(deadlineMs / this.#granuleMs);
    this.#due[slot] = due > this.#tick ? due : this.#tick + 1;
    this.#insert(slot);
    this.#armed++;
  }

  /** Does nothing to a slot that is not armed. */
  cancel(slot: number): void {
    const previous = this.#previous[slot];
    if (previous === NOT_ARMED) return;
    const next = this.#next[slot];
    if (previous >= 0) this.#next[previous] = next;
    else this.#heads[-2 - previous] = next;
    if (next !== NONE) this.#previous[next] = previous;
    this.#previous[slot] = NOT_ARMED;
    this.#armed--;
  }

  /** Expires what is due at `nowMs`, in the order of granules. `expire` may arm and cancel; its slot is no longer armed. */
  advance(nowMs: number, expire: (slot: number) => void): void {
    const target = Math.floor(nowMs / this.#granuleMs);
    while (this.#tick < target) {
      const next = this.#nextTick();
      if (next > target) {
        this.#tick = target;
        return;
      }
      this.#tick = next;
      if (next % SPANS[1] === 0) this.#cascade(next);
      this.#expireBucket(next & MASK, expire);
    }
  }

  /** The earliest time at which `advance` has anything to do; Infinity when nothing is armed. At or before every deadline. */
  nextMs(): number {
    return this.#nextTick() * this.#granuleMs;
  }

  /** Makes room for slots up to `capacity`; what is armed stays armed. */
  grow(capacity: number): void {
    const old = this.#next.length;
    if (capacity <= old) return;
    const next = new Int32Array(capacity).fill(NONE, old);
    const previous = new Int32Array(capacity).fill(NOT_ARMED, old);
    const due = new Float64Array(capacity);
    next.set(this.#next);
    previous.set(this.#previous);
    due.set(this.#due);
    this.#next = next;
    this.#previous = previous;
    this.#due = due;
  }

  #insert(slot: number): void {
    const due = this.#due[slot];
    const delta = due - this.#tick;
    let bucket: number;
    if (delta < SPANS[1]) bucket = due & MASK;
    else if (delta < SPANS[2]) bucket = BUCKETS + (Math.floor(due / SPANS[1]) & MASK);
    else bucket = 2 * BUCKETS + (Math.floor(Math.min(due, this.#tick + HORIZON) / SPANS[2]) & MASK);
    const first = this.#heads[bucket];
    this.#next[slot] = first;
    this.#previous[slot] = headOf(bucket);
    if (first !== NONE) this.#previous[first] = slot;
    this.#heads[bucket] = slot;
  }

  /** Moves the slots of the spans that begin at `tick` to where they now belong, from the coarsest level down. */
  #cascade(tick: number): void {
    for (let level = LEVELS - 1; level > 0; level--) {
      if (tick % SPANS[level] !== 0) continue;
      const bucket = level * BUCKETS + (Math.floor(tick / SPANS[level]) & MASK);
      let slot = this.#heads[bucket];
      this.#heads[bucket] = NONE;
      while (slot !== NONE) {
        const next = this.#next[slot];
        this.#insert(slot);
        slot = next;
      }
    }
  }

  #expireBucket(bucket: number, expire: (slot: number) => void): void {
    // Read the head anew each time: `expire` may cancel any slot of this bucket. What it arms is due later, elsewhere.
    for (let slot = this.#heads[bucket]; slot !== NONE; slot = this.#heads[bucket]) {
      this.cancel(slot);
      expire(slot);
    }
  }

  /** The next granule that has slots to expire or to cascade. */
  #nextTick(): number {
    if (this.#armed === 0) return Infinity;
    let earliest = Infinity;
    for (let level = 0; level < LEVELS; level++) {
      const span = SPANS[level];
      const current = Math.floor(this.#tick / span);
      for (let ahead = 1; ahead <= BUCKETS; ahead++) {
        if ((current + ahead) * span >= earliest) break;
        if (this.#heads[level * BUCKETS + ((current + ahead) & MASK)] === NONE) continue;
        earliest = (current + ahead) * span;
        break;
      }
    }
    return earliest;
  }
}
