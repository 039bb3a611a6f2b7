/**
 * Finds the task of (client, its correlation id), and with it a second request under an id still in flight. One open-addressing
 * table of slots for all clients (linear probing, backward-shift deletion): an idle client costs nothing, an entry 4 to 8 bytes,
 * and no string or object is made. The keys lie in the task table. The hash is salted, because clients choose the ids.
 */
import type { TaskTable } from './task-table.js';

const INITIAL_SIZE = 512;

export class InFlightIndex {
  readonly #table: TaskTable;
  readonly #salt: number;
  /** slot + 1; 0: empty. */
  #entries = new Int32Array(INITIAL_SIZE);
  #mask = INITIAL_SIZE - 1;
  #count = 0;

  /** `salt`: any 32 bits. */
  constructor(table: TaskTable, salt: number) {
    this.#table = table;
    this.#salt = salt | 0;
  }

  get size(): number {
    return this.#count;
  }

  /** The slot, or -1. `id` as a signed number, as in the task table. */
  find(owner: number, id: number): number {
    const { clientId, ownerNumber } = this.#table;
    const entries = this.#entries;
    const mask = this.#mask;
    for (let at = this.#hash(owner, id) & mask; ; at = (at + 1) & mask) {
      const slot = entries[at] - 1;
      if (slot === -1) return -1;
      if (clientId[slot] === id && ownerNumber[slot] === owner) return slot;
    }
  }

  /** Keyed by what the task table says about `slot`. The caller has made sure with `find` that the key is new. */
  insert(slot: number): void {
    if (this.#count * 2 >= this.#entries.length) this.#grow();
    this.#count++;
    this.#place(slot);
  }

  remove(slot: number): void {
    const entries = this.#entries;
    const mask = this.#mask;
    let hole = this.#home(slot);
    while (entries[hole] !== slot + 1) {
      if (entries[hole] === 0) return;
      hole = (hole + 1) & mask;
    }
    this.#count--;
    // Entries behind the hole move up unless that would put them before their home.
    for (let at = (hole + 1) & mask; entries[at] !== 0; at = (at + 1) & mask) {
      const home = this.#home(entries[at] - 1);
      if (((at - home) & mask) >= ((at - hole) & mask)) {
        entries[hole] = entries[at];
        hole = at;
      }
    }
    entries[hole] = 0;
  }

  #place(slot: number): void {
    let at = this.#home(slot);
    while (this.#entries[at] !== 0) at = (at + 1) & this.#mask;
    this.#entries[at] = slot + 1;
  }

  #home(slot: number): number {
    return this.#hash(this.#table.ownerNumber[slot], this.#table.clientId[slot]) & this.#mask;
  }

  /** Two rounds of murmur3's finalizer. */
  #hash(owner: number, id: number): number {
    let h = Math.imul(owner ^ this.#salt, 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 13) ^ id, 0xc2b2ae35);
    h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
    return h ^ (h >>> 13);
  }

  #grow(): void {
    const old = this.#entries;
    this.#entries = new Int32Array(old.length * 2);
    this.#mask = this.#entries.length - 1;
    for (const entry of old) if (entry !== 0) this.#place(entry - 1);
  }
}
