/** Routes with `orderBy`: one task in flight per key, the others wait in order. A group exists only while it has a task. */
import { TaskQueue } from './queue.js';
import { Mark, SLOT_SHIFT, type TaskGroup, type TaskTable } from './task-table.js';

class OrderGroup implements TaskGroup {
  readonly waiting: TaskQueue;
  readonly #groups: OrderGroups;
  readonly #key: number;
  readonly #table: TaskTable;
  /** The task in flight. */
  holder: number;

  constructor(groups: OrderGroups, key: number, holder: number, table: TaskTable) {
    this.#groups = groups;
    this.#key = key;
    this.#table = table;
    this.holder = holder;
    this.waiting = new TaskQueue(table);
  }

  leave(slot: number): number {
    this.#table.order[slot >> SLOT_SHIFT] = undefined;
    if (this.holder !== slot) return -1;
    this.holder = this.waiting.head;
    if (this.holder === -1) this.#groups.forget(this.#key);
    else this.waiting.remove(this.holder);
    return this.holder;
  }
}

export class OrderGroups {
  readonly #table: TaskTable;
  readonly #groups = new Map<number, OrderGroup>();

  constructor(table: TaskTable) {
    this.#table = table;
  }

  get size(): number {
    return this.#groups.size;
  }

  /** Whether the task may go on; else it must wait in its group's queue. */
  enter(slot: number, key: number): boolean {
    let group = this.#groups.get(key);
    if (group === undefined) {
      group = new OrderGroup(this, key, slot, this.#table);
      this.#groups.set(key, group);
    }
    this.#table.order[slot >> SLOT_SHIFT] = group;
    this.#table.mark(slot, Mark.ordered);
    return group.holder === slot;
  }

  forget(key: number): void {
    this.#groups.delete(key);
  }
}
