/**
 * The correlation ids of one link, towards the backend. An id is `generation << 16 | index`; an index is free again only when its
 * final response came, and is reused last of all, under the next generation. So neither a late answer (index still taken) nor a
 * second one (other generation) can meet a new task.
 */
import { check } from './check.js';

export const UNKNOWN = -1;
/** The task has its outcome; the backend has not answered yet. */
export const ABANDONED = -2;

const INITIAL_CAPACITY = 256;
const MAX_CAPACITY = 65_536;

export class LinkIds {
  /** Task slot, UNKNOWN or ABANDONED, by index. */
  #slots = new Int32Array(INITIAL_CAPACITY).fill(UNKNOWN);
  #generations = new Uint16Array(INITIAL_CAPACITY);
  /** Ring of free indexes. */
  #free = new Int32Array(INITIAL_CAPACITY);
  #freeAt = 0;
  #freeCount = 0;
  #abandoned = 0;

  constructor() {
    for (let index = 0; index < INITIAL_CAPACITY; index++) this.#pushFree(index);
  }

  /** Ids a backend may still answer. */
  get inUse(): number {
    return this.#slots.length - this.#freeCount;
  }

  get abandoned(): number {
    return this.#abandoned;
  }

  get full(): boolean {
    return this.#freeCount === 0 && this.#slots.length === MAX_CAPACITY;
  }

  /** As a signed number; `>>> 0` gives the one on the wire. @throws when `full` */
  acquire(slot: number): number {
    if (this.#freeCount === 0) this.#grow();
    const index = this.#free[this.#freeAt];
    this.#freeAt = (this.#freeAt + 1) & (this.#free.length - 1);
    this.#freeCount--;
    this.#slots[index] = slot;
    return (this.#generations[index] << 16) | index;
  }

  /** The task slot, ABANDONED or UNKNOWN. */
  find(id: number): number {
    const index = id & 0xffff;
    if (index >= this.#slots.length || this.#generations[index] !== id >>> 16) return UNKNOWN;
    return this.#slots[index];
  }

  abandon(id: number): void {
    check(this.find(id) >= 0, 'an id is abandoned once');
    this.#slots[id & 0xffff] = ABANDONED;
    this.#abandoned++;
  }

  /** The final response came. */
  release(id: number): void {
    const index = id & 0xffff;
    const slot = this.find(id);
    check(slot !== UNKNOWN, 'an id is released once');
    if (slot === ABANDONED) this.#abandoned--;
    this.#slots[index] = UNKNOWN;
    this.#generations[index]++;
    this.#pushFree(index);
  }

  /** Task slots that wait for an answer (no abandoned ids). */
  forEachSlot(visit: (slot: number) => void): void {
    for (let index = 0; index < this.#slots.length; index++) {
      if (this.#slots[index] >= 0) visit(this.#slots[index]);
    }
  }

  #pushFree(index: number): void {
    this.#free[(this.#freeAt + this.#freeCount++) & (this.#free.length - 1)] = index;
  }

  #grow(): void {
    const from = this.#slots.length;
    check(from < MAX_CAPACITY, 'a full link gets no more tasks');
    const slots = new Int32Array(from * 2).fill(UNKNOWN);
    slots.set(this.#slots);
    this.#slots = slots;
    const generations = new Uint16Array(from * 2);
    generations.set(this.#generations);
    this.#generations = generations;
    this.#free = new Int32Array(from * 2);
    this.#freeAt = 0;
    for (let index = from; index < from * 2; index++) this.#pushFree(index);
  }
}
