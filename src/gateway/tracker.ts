/**
 * Guarantees that every task gets exactly one outcome, and counts: at any moment `received` is the sum of the outcomes and of
 * the tasks still open. Whoever ends a task must settle it here first.
 */
import { check } from './check.js';
import { TaskState, type TaskTable, Time, Word } from './task-table.js';

/**
 * How a task ended; exactly one for each. `answered`: a backend said OK. `failed`: it said otherwise, or broke, and none was left
 * to try. `refused`: it was not begun.
 */
export type OutcomeName = 'answered' | 'failed' | 'timedOut' | 'cancelled' | 'refused';

export const Outcome = {
  /** A backend answered OK (or a no-reply request left). */
  answered: 0,
  /** A backend answered with an error, or broke, or none was left to try. */
  failed: 1,
  /** The deadline passed, waiting or sent. */
  timedOut: 2,
  /** By the client, or because it left. */
  cancelled: 3,
  /** Not begun: overload, draining, unknown route. */
  refused: 4,
} as const satisfies Record<OutcomeName, number>;

/** Upper bounds of the latency histogram, in ms; the last bucket has none. */
export const LATENCY_BOUNDS_MS = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000] as const;

/** Statuses counted one by one; higher codes share the last place. */
const STATUS_PLACES = 18;

export class Tracker {
  readonly table: TaskTable;
  received = 0;
  readonly outcomes = new Float64Array(5);
  /** Answers of backends and of the gateway, by status code. */
  readonly statuses = new Float64Array(STATUS_PLACES);
  /** From receipt to outcome, of tasks that were answered or failed. */
  readonly latencyBuckets = new Float64Array(LATENCY_BOUNDS_MS.length + 1);
  latencySumMs = 0;
  #open = 0;

  constructor(table: TaskTable) {
    this.table = table;
  }

  /** Tasks without an outcome. */
  get open(): number {
    return this.#open;
  }

  receive(): number {
    this.received++;
    this.#open++;
    return this.table.acquire();
  }

  /** Once per task; the slot stays until its owner releases it. */
  settle(slot: number, outcome: number, status: number, now: number): void {
    const { table } = this;
    const state = table.words[slot + Word.state];
    check(state !== TaskState.done && state !== TaskState.free, 'a task is settled once');
    table.words[slot + Word.state] = TaskState.done;
    this.#open--;
    this.outcomes[outcome]++;
    this.statuses[status < STATUS_PLACES - 1 ? status : STATUS_PLACES - 1]++;
    if (outcome <= Outcome.failed) this.#observe(now - table.time(slot, Time.received));
  }

  /** Settles whatever is still open through `end`, which must settle the slot it is given. */
  close(end: (slot: number) => void): void {
    this.table.forEachOpen(end);
    check(this.#open === 0, 'a closed tracker has no open task');
  }

  #observe(latencyMs: number): void {
    let bucket = 0;
    while (bucket < LATENCY_BOUNDS_MS.length && latencyMs > LATENCY_BOUNDS_MS[bucket]) bucket++;
    this.latencyBuckets[bucket]++;
    this.latencySumMs += latencyMs;
  }
}
