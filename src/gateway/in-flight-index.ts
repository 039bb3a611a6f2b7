/**
 * Finds the task of (client, its correlation id), and with it a second request under an id still in flight.
 *
 * Clients count their ids up, or keep a place for each request in the low bits, so the ids that one client has in flight nearly
 * always differ in those. Each client therefore has a window, indexed by the low bits of the id: for up to 16 requests in flight
 * one line of the cache, where a hash over all clients costs a line per request (relay 500 × 16: 12 % of all CPU time). An id
 * whose place is taken goes to a salted hash, so that ids chosen to collide cost what any hash costs, and only their client.
 *
 *     #arena:  … | window of client A: 16 | window of B: 64                  | free: 16 | …
 *                  ^ base                   entry = slot + 1 of the task with id ≡ place (mod size), or 0
 *
 * Invariants: an entry of a window is a task of its client; `spilled` tasks of the client are in the hash.
 */
import { check } from './check.js';
import { IdHash } from './id-hash.js';
import { NO_PLACE } from './places.js';
import { Mark, type TaskTable, Word } from './task-table.js';

/** Entries of a new window: a line of the cache. */
const FIRST_SIZE = 16;
/** 1 KB: what a client that once had so many requests in flight holds until it leaves. */
const LAST_SIZE = 256;

/** Per owner, by place. */
export const Window = {
  /** Where it begins; 0: it has none. */
  base: 0,
  mask: 1,
  /** Entries taken. */
  count: 2,
  /** Tasks of this owner in the hash. */
  spilled: 3,
} as const;
const WINDOW_SHIFT = 2;

export class InFlightIndex {
  readonly #table: TaskTable;
  readonly #hash: IdHash;
  #windows = new Int32Array(64 << WINDOW_SHIFT);
  #arena = new Int32Array(64 * FIRST_SIZE);
  /** Entries of the arena that were handed out. The first window begins behind them, so that no base is 0. */
  #arenaEnd = FIRST_SIZE;
  /** Bases of windows given back, by the binary logarithm of their size. */
  readonly #free: number[][] = [];

  /** `salt`: any 32 bits. */
  constructor(table: TaskTable, salt: number) {
    this.#table = table;
    this.#hash = new IdHash(table, salt);
  }

  /** Of all owners. Walks through them: for reports and tests. */
  get size(): number {
    let size = 0;
    for (let at = 0; at < this.#windows.length; at += 1 << WINDOW_SHIFT) {
      if (this.#windows[at + Window.base] !== 0)
        size += this.#windows[at + Window.count] + this.#windows[at + Window.spilled];
    }
    return size;
  }

  /** The slot, or -1. `owner`: its place; `id` as a signed number, as in the task table. */
  find(owner: number, id: number): number {
    const windows = this.#windows;
    const at = owner << WINDOW_SHIFT;
    // Also the first request of a client, which has no place yet.
    if (owner < 0 || at >= windows.length || windows[at + Window.base] === 0) return -1;
    const slot = this.#arena[windows[at + Window.base] + (id & windows[at + Window.mask])] - 1;
    if (slot !== -1 && this.#table.words[slot + Word.clientId] === id) return slot;
    return windows[at + Window.spilled] === 0 ? -1 : this.#hash.find(owner, id);
  }

  /** Keyed by what the task table says about `slot`. The caller has made sure with `find` that the key is new. */
  insert(slot: number): void {
    const { words } = this.#table;
    const owner = words[slot + Word.owner];
    const at = owner << WINDOW_SHIFT;
    if (at >= this.#windows.length || this.#windows[at + Window.base] === 0) this.#open(owner);
    const windows = this.#windows;
    const id = words[slot + Word.clientId];
    let place = windows[at + Window.base] + (id & windows[at + Window.mask]);
    if (this.#arena[place] !== 0 && this.#widen(at))
      place = windows[at + Window.base] + (id & windows[at + Window.mask]);
    words[slot + Word.flags] |= Mark.indexed;
    if (this.#arena[place] === 0) {
      this.#arena[place] = slot + 1;
      windows[at + Window.count]++;
    } else {
      this.#hash.insert(slot);
      windows[at + Window.spilled]++;
    }
  }

  /** While its owner and id stand in the task table. */
  remove(slot: number): void {
    const { words } = this.#table;
    const windows = this.#windows;
    const at = words[slot + Word.owner] << WINDOW_SHIFT;
    const place = windows[at + Window.base] + (words[slot + Word.clientId] & windows[at + Window.mask]);
    if (this.#arena[place] === slot + 1) {
      this.#arena[place] = 0;
      windows[at + Window.count]--;
    } else {
      this.#hash.remove(slot);
      windows[at + Window.spilled]--;
    }
  }

  /** The owner has no task any more, and its place will be another's. */
  forget(owner: number): void {
    const windows = this.#windows;
    const at = owner << WINDOW_SHIFT;
    if (owner === NO_PLACE || at >= windows.length || windows[at + Window.base] === 0) return;
    check(
      windows[at + Window.count] === 0 && windows[at + Window.spilled] === 0,
      'who is forgotten has no ids in flight',
    );
    this.#release(windows[at + Window.base], windows[at + Window.mask] + 1);
    windows[at + Window.base] = 0;
  }

  #open(owner: number): void {
    const at = owner << WINDOW_SHIFT;
    if (at >= this.#windows.length) this.#windows = grown(this.#windows, at + (1 << WINDOW_SHIFT));
    this.#windows[at + Window.base] = this.#acquire(FIRST_SIZE);
    this.#windows[at + Window.mask] = FIRST_SIZE - 1;
  }

  /** Twice as many entries, or more, where the window is half full: below that it is the ids that collide. False: it stays. */
  #widen(at: number): boolean {
    const windows = this.#windows;
    const size = windows[at + Window.mask] + 1;
    if (size === LAST_SIZE || windows[at + Window.count] * 2 < size) return false;
    const from = windows[at + Window.base];
    const to = this.#acquire(size * 2);
    const arena = this.#arena;
    const { words } = this.#table;
    for (let i = from; i < from + size; i++) {
      if (arena[i] === 0) continue;
      // Ids that differed modulo the size still do modulo its double.
      arena[to + (words[arena[i] - 1 + Word.clientId] & (size * 2 - 1))] = arena[i];
      arena[i] = 0;
    }
    this.#release(from, size);
    windows[at + Window.base] = to;
    windows[at + Window.mask] = size * 2 - 1;
    return true;
  }

  /** `size` entries, all 0. */
  #acquire(size: number): number {
    const base = this.#free[Math.log2(size)]?.pop();
    if (base !== undefined) return base;
    const end = this.#arenaEnd + size;
    if (end > this.#arena.length) this.#arena = grown(this.#arena, end);
    this.#arenaEnd = end;
    return end - size;
  }

  #release(base: number, size: number): void {
    const list = Math.log2(size);
    this.#free[list] ??= [];
    this.#free[list].push(base);
  }
}

function grown(old: Int32Array<ArrayBuffer>, atLeast: number): Int32Array<ArrayBuffer> {
  const array = new Int32Array(Math.max(old.length * 2, atLeast));
  array.set(old);
  return array;
}
