/**
 * Deadlines over slots: a hierarchical timing wheel (Varghese and Lauck 1987, scheme 7). Numbers in arrays, so that to arm and to
 * cancel costs no allocation and no search, and the deadline stands in the task's own record, in a line of the cache that who
 * cancels it has at hand. Told the time; never early, late by at most one granule plus the
 * time until `advance` is called.
 *
 *     level 0: 256 buckets of one granule           8 ms … 2 s
 *     level 1: 256 buckets of 256 granules          … 8.7 min
 *     level 2: 256 buckets of 65,536 granules       … 37 h; beyond that a slot is put in again when its bucket comes
 *
 * Lists are put right lazily, because nearly every deadline is cancelled long before it is due: to cancel writes one number
 * and leaves the slot where it is, to arm a slot that still lies in a bucket before its new deadline writes one too. When a
 * bucket's time comes, each slot in it expires, is put in again for its real deadline, or leaves. So a slot of which tasks
 * live for milliseconds under deadlines of seconds is moved once in some seconds, not twice per task.
 *
 * Invariants: a slot is in at most one bucket, an armed one in exactly one, whose span begins no later than its deadline;
 * buckets of spans before `#tick` are empty.
 */

import { SideTime, SLOT_SHIFT, type TaskTable, Time } from './task-table.js';

const LEVELS = 3;
const BUCKETS = 256;
const MASK = BUCKETS - 1;
const SPANS = [1, BUCKETS, BUCKETS * BUCKETS] as const;
const HORIZON = BUCKETS * BUCKETS * BUCKETS - 1;

const NONE = -1;
const NOT_LINKED = -1;
const NOT_ARMED = Infinity;
const NOT_IN_A_BUCKET = Infinity;

/** `#previous` of the first slot in a bucket names the bucket. */
const headOf = (bucket: number): number => -2 - bucket;

/** Where each slot's deadline stands, and for which one it lies in its bucket: Infinity in all slots at first. */
export type DeadlineRecords = Pick<TaskTable, 'times' | 'sideTimes' | 'capacity'>;

export class DeadlineWheel {
  readonly #granuleMs: number;
  /** First slot of each bucket, level by level. */
  readonly #heads = new Int32Array(LEVELS * BUCKETS).fill(NONE);
  readonly #records: DeadlineRecords;
  /** By the number of the slot; what they hold are slots. */
  #next: Int32Array;
  #previous: Int32Array;
  #tick = 0;
  #armed = 0;
  /** Slots in buckets. */
  #linked = 0;

  /** Nobody else writes its two times of the `records`. */
  constructor(records: DeadlineRecords, granuleMs = 8) {
    this.#records = records;
    this.#granuleMs = granuleMs;
    this.#next = new Int32Array(records.capacity).fill(NONE);
    this.#previous = new Int32Array(records.capacity).fill(NOT_LINKED);
  }

  /** Slots armed now. */
  get size(): number {
    return this.#armed;
  }

  /** `slot` expires once `deadlineMs` has passed; a deadline already past at the next granule. Arms anew what was armed. */
  arm(slot: number, deadlineMs: number): void {
    const { times, sideTimes } = this.#records;
    const at = (slot >> 1) + Time.deadline;
    if (times[at] === NOT_ARMED) this.#armed++;
    times[at] = deadlineMs;
    // In no bucket is Infinity here: no deadline reaches it.
    if (deadlineMs < sideTimes[(slot >> 2) + SideTime.linked]) this.#relink(slot);
  }

  /** Does nothing to a slot that is not armed. */
  cancel(slot: number): void {
    const { times } = this.#records;
    const at = (slot >> 1) + Time.deadline;
    if (times[at] === NOT_ARMED) return;
    times[at] = NOT_ARMED;
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

  /** The earliest time at which `advance` may have anything to do; Infinity when nothing is armed. At or before every deadline. */
  nextMs(): number {
    return this.#armed === 0 ? Infinity : this.#nextTick() * this.#granuleMs;
  }

  /** The records have room for so many by now; what is armed stays armed. */
  grow(capacity: number): void {
    const old = this.#next.length;
    if (capacity <= old) return;
    const next = new Int32Array(capacity).fill(NONE, old);
    const previous = new Int32Array(capacity).fill(NOT_LINKED, old);
    next.set(this.#next);
    previous.set(this.#previous);
    this.#next = next;
    this.#previous = previous;
  }

  #relink(slot: number): void {
    if (this.#previous[slot >> SLOT_SHIFT] !== NOT_LINKED) this.#unlink(slot);
    this.#link(slot, this.#tick + 1);
  }

  /** Into the bucket of its deadline, or of the granule `earliest` when that is later. */
  #link(slot: number, earliest: number): void {
    const deadlineMs = this.#records.times[(slot >> 1) + Time.deadline];
    const due = Math.max(Math.ceil(deadlineMs / this.#granuleMs), earliest);
    const delta = due - this.#tick;
    let bucket: number;
    if (delta < SPANS[1]) bucket = due & MASK;
    else if (delta < SPANS[2]) bucket = BUCKETS + (Math.floor(due / SPANS[1]) & MASK);
    else bucket = 2 * BUCKETS + (Math.floor(Math.min(due, this.#tick + HORIZON) / SPANS[2]) & MASK);
    const first = this.#heads[bucket];
    this.#next[slot >> SLOT_SHIFT] = first;
    this.#previous[slot >> SLOT_SHIFT] = headOf(bucket);
    if (first !== NONE) this.#previous[first >> SLOT_SHIFT] = slot;
    this.#heads[bucket] = slot;
    this.#records.sideTimes[(slot >> 2) + SideTime.linked] = deadlineMs;
    this.#linked++;
  }

  #unlink(slot: number): void {
    const next = this.#next[slot >> SLOT_SHIFT];
    const previous = this.#previous[slot >> SLOT_SHIFT];
    if (previous >= 0) this.#next[previous >> SLOT_SHIFT] = next;
    else this.#heads[-2 - previous] = next;
    if (next !== NONE) this.#previous[next >> SLOT_SHIFT] = previous;
    this.#previous[slot >> SLOT_SHIFT] = NOT_LINKED;
    this.#records.sideTimes[(slot >> 2) + SideTime.linked] = NOT_IN_A_BUCKET;
    this.#linked--;
  }

  /** Moves the slots of the spans that begin at `tick` to where they now belong, from the coarsest level down. */
  #cascade(tick: number): void {
    for (let level = LEVELS - 1; level > 0; level--) {
      if (tick % SPANS[level] !== 0) continue;
      const bucket = level * BUCKETS + (Math.floor(tick / SPANS[level]) & MASK);
      // What is due at this very granule goes to the bucket that expires next.
      this.#empty(bucket, (slot) => this.#link(slot, tick));
    }
  }

  #expireBucket(bucket: number, expire: (slot: number) => void): void {
    const endMs = this.#tick * this.#granuleMs;
    this.#empty(bucket, (slot) => {
      if (this.#records.times[(slot >> 1) + Time.deadline] > endMs) {
        this.#link(slot, this.#tick + 1);
      } else {
        this.cancel(slot);
        expire(slot);
      }
    });
  }

  /** Takes each slot out of a bucket; those that are armed go to `each`. */
  #empty(bucket: number, each: (slot: number) => void): void {
    // Read the head anew each time: `each` may relink any slot of this bucket. What it links lies elsewhere.
    for (let slot = this.#heads[bucket]; slot !== NONE; slot = this.#heads[bucket]) {
      this.#unlink(slot);
      if (this.#records.times[(slot >> 1) + Time.deadline] !== NOT_ARMED) each(slot);
    }
  }

  /** The next granule that has slots to expire or to cascade. */
  #nextTick(): number {
    if (this.#linked === 0) return Infinity;
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
