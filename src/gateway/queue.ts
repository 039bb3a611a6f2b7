/** Tasks that wait, first in first out: an intrusive list over the slots of the task table, so waiting costs no memory. */
import { check } from './check.js';
import type { TaskTable } from './task-table.js';

export class TaskQueue {
  readonly #table: TaskTable;
  #head = -1;
  #tail = -1;
  size = 0;

  constructor(table: TaskTable) {
    this.#table = table;
  }

  /** The task that waits longest, -1 when none does. */
  get head(): number {
    return this.#head;
  }

  push(slot: number): void {
    this.#claim(slot);
    this.#table.queuePrevious[slot] = this.#tail;
    this.#table.queueNext[slot] = -1;
    if (this.#tail === -1) this.#head = slot;
    else this.#table.queueNext[this.#tail] = slot;
    this.#tail = slot;
  }

  /** For a task that already waited its turn once. */
  readonly front = { push: (slot: number): void => this.#pushFront(slot) };

  #pushFront(slot: number): void {
    this.#claim(slot);
    this.#table.queueNext[slot] = this.#head;
    this.#table.queuePrevious[slot] = -1;
    if (this.#head === -1) this.#tail = slot;
    else this.#table.queuePrevious[this.#head] = slot;
    this.#head = slot;
  }

  /** From any place: a task may be cancelled or expire while it waits. */
  remove(slot: number): void {
    const table = this.#table;
    check(table.queue[slot] === this, 'a task is removed from the queue it waits in');
    const next = table.queueNext[slot];
    const previous = table.queuePrevious[slot];
    if (previous === -1) this.#head = next;
    else table.queueNext[previous] = next;
    if (next === -1) this.#tail = previous;
    else table.queuePrevious[next] = previous;
    table.queue[slot] = undefined;
    this.size--;
  }

  #claim(slot: number): void {
    check(this.#table.queue[slot] === undefined, 'a task waits in one queue');
    this.#table.queue[slot] = this;
    this.size++;
  }
}
