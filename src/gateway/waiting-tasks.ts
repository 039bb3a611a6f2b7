/**
 * The tasks that wait, in whichever row or queue: how many they are and how many bytes, whether more may wait, and the owners
 * that were stopped because too many did.
 */
import { limits } from '../limits.js';
import { SLOT_SHIFT, type TaskOwner, TaskState, type TaskTable, Word } from './task-table.js';

/** Where a task waits: a pool's queue, the front of it, or the row of its key. */
export interface WaitingList {
  push(slot: number): void;
}

/** Owners stopped by a full queue read on below this share of it. */
const RESUME_SHARE = 0.9;

export class WaitingTasks {
  readonly #table: TaskTable;
  readonly #maxCount: number;
  readonly #stopped = new Set<TaskOwner>();
  #count = 0;
  #bytes = 0;

  constructor(table: TaskTable, maxCount: number) {
    this.#table = table;
    this.#maxCount = maxCount;
  }

  get count(): number {
    return this.#count;
  }

  get bytes(): number {
    return this.#bytes;
  }

  hasRoom(owner: TaskOwner | undefined, length: number): boolean {
    if (owner !== undefined && owner.queuedTasks >= owner.maxQueuedTasks) return false;
    if (this.#table.kept.bytes >= limits.maxKeptBytes) return false;
    return this.#count < this.#maxCount && this.#bytes + length <= limits.maxQueuedBytes;
  }

  /** Its payload is kept. */
  add(slot: number, list: WaitingList): void {
    const table = this.#table;
    table.words[slot + Word.state] = TaskState.queued;
    list.push(slot);
    this.#count++;
    this.#bytes += table.keptLength(slot);
    const owner = table.ownerOf(slot);
    if (owner !== undefined) owner.queuedTasks++;
  }

  remove(slot: number): void {
    const table = this.#table;
    table.queue[slot >> SLOT_SHIFT]?.remove(slot);
    this.#count--;
    this.#bytes -= table.keptLength(slot);
    const owner = table.ownerOf(slot);
    if (owner !== undefined) {
      owner.queuedTasks--;
      // Who was stopped by the queue of all waits for room in that one.
      if (this.#stopped.size === 0 || !this.#stopped.has(owner)) owner.queueRoom();
    }
    this.#resumeStopped();
  }

  /** What the owner's connection has read already still finds its place; nothing more is read. */
  stop(owner: TaskOwner): void {
    this.#stopped.add(owner);
    owner.queueFull();
  }

  forget(owner: TaskOwner): void {
    this.#stopped.delete(owner);
  }

  #resumeStopped(): void {
    if (this.#stopped.size === 0 || this.#count > this.#maxCount * RESUME_SHARE) return;
    const owners = [...this.#stopped];
    this.#stopped.clear();
    for (const owner of owners) owner.queueRoom();
  }
}
