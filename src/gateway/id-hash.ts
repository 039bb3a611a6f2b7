/**
 * Finds the task of (client, its correlation id) among those that have no place in their client's window (in-flight-index.ts).
 * One open-addressing table of slots for all clients (linear probing, backward-shift deletion); no string or object is made.
 * The keys lie in the task table; their hashes beside the slots, so that to walk past an entry or to move it does not fetch its
 * task's record. The hash is salted, because clients choose the ids.
 */
import { type TaskTable, Word } from './task-table.js';

const INITIAL_SIZE = 512;
/** Numbers per entry: the hash, and slot + 1 (0: empty). */
const ENTRY = 2;

export class IdHash {
  readonly #table: TaskTable;
  readonly #salt: number;
  #entries = new Int32Array(INITIAL_SIZE * ENTRY);
  /** For places in `#entries`, which are even. */
  #mask = INITIAL_SIZE * ENTRY - ENTRY;
  #count = 0;

  /** `salt`: any 32 bits. */
  constructor(table: TaskTable, salt: number) {
    this.#table = table;
    this.#salt = salt | 0;
  }

  get size(): number {
    return this.#count;
  }

  /** The slot, or -1. `owner`: its place; `id` as a signed number, as in the task table. */
  find(owner: number, id: number): number {
    const table = this.#table;
    const entries = this.#entries;
    const mask = this.#mask;
    const hash = this.#hash(owner, id);
    for (let at = hash & mask; ; at = (at + ENTRY) & mask) {
      const slot = entries[at + 1] - 1;
      if (slot === -1) return -1;
      if (
        entries[at] === hash &&
        table.words[slot + Word.clientId] === id &&
        table.words[slot + Word.owner] === owner
      ) {
        return slot;
      }
    }
  }

  /** Keyed by what the task table says about `slot`. The caller has made sure with `find` that the key is new. */
  insert(slot: number): void {
    if (this.#count * 2 * ENTRY >= this.#entries.length) this.#grow();
    this.#count++;
    this.#place(this.#hashOf(slot), slot + 1);
  }

  /** While its owner and id stand in the task table. */
  remove(slot: number): void {
    const entries = this.#entries;
    const mask = this.#mask;
    let hole = this.#hashOf(slot) & mask;
    while (entries[hole + 1] !== slot + 1) {
      if (entries[hole + 1] === 0) return;
      hole = (hole + ENTRY) & mask;
    }
    this.#count--;
    // Entries behind the hole move up unless that would put them before their home.
    for (let at = (hole + ENTRY) & mask; entries[at + 1] !== 0; at = (at + ENTRY) & mask) {
      const home = entries[at] & mask;
      if (((at - home) & mask) >= ((at - hole) & mask)) {
        entries[hole] = entries[at];
        entries[hole + 1] = entries[at + 1];
        hole = at;
      }
    }
    entries[hole + 1] = 0;
  }

  #place(hash: number, entry: number): void {
    const entries = this.#entries;
    const mask = this.#mask;
    let at = hash & mask;
    while (entries[at + 1] !== 0) at = (at + ENTRY) & mask;
    entries[at] = hash;
    entries[at + 1] = entry;
  }

  #hashOf(slot: number): number {
    return this.#hash(this.#table.words[slot + Word.owner], this.#table.words[slot + Word.clientId]);
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
    this.#mask = this.#entries.length - ENTRY;
    for (let at = 0; at < old.length; at += ENTRY) if (old[at + 1] !== 0) this.#place(old[at], old[at + 1]);
  }
}
