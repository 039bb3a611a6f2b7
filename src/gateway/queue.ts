/** Tasks that wait, first in first out: an intrusive list over the slots of the task table, so waiting costs no memory. */
import { check } from './check.js';
import { Rare, SLOT_SHIFT, type TaskTable } from './task-table.js';

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
    this.#table.setRare(slot, Rare.queuePrevious, this.#tail);
    this.#table.setRare(slot, Rare.queueNext, -1);
    if (this.#tail === -1) this.#head = slot;
    else this.#table.setRare(this.#tail, Rare.queueNext, slot);
    this.#tail = slot;
  }

  /** For a task that already waited its turn once. */
  readonly front = { push: (slot: number): void => this.#pushFront(slot) };

  #pushFront(slot: number): void {
    this.#claim(slot);
    this.#table.setRare(slot, Rare.queueNext, this.#head);
    this.#table.setRare(slot, Rare.queuePrevious, -1);
    if (this.#head === -1) this.#tail = slot;
    else this.#table.setRare(this.#head, Rare.queuePrevious, slot);
    this.#head = slot;
  }

  /** From any place: a task may be cancelled or expire while it waits. */
  remove(slot: number): void {
    const table = this.#table;
    check(table.queue[slot >> SLOT_SHIFT] === this, 'a task is removed from the queue it waits in');
    const next = table.rare(slot, Rare.queueNext);
    const previous = table.rare(slot, Rare.queuePrevious);
    if (previous === -1) this.#head = next;
    else table.setRare(previous, Rare.queueNext, next);
    if (next === -1) this.#tail = previous;
    else table.setRare(next, Rare.queuePrevious, previous);
    table.queue[slot >> SLOT_SHIFT] = undefined;
    this.size--;
  }

  #claim(slot: number): void {
    check(this.#table.queue[slot >> SLOT_SHIFT] === undefined, 'a task waits in one queue');
    this.#table.queue[slot >> SLOT_SHIFT] = this;
    this.size++;
  }
}
