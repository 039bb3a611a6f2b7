/** The retry budget of a pool, counted from outside: a ring of ten buckets over its window, as its documentation says. */
import type { RetryConfig } from '../../src/gateway/options.js';
import { broken } from './broken.js';

const BUCKETS = 10;

export class BudgetModel {
  readonly #config: RetryConfig;
  readonly #requests = new Map<number, number>();
  readonly #retries = new Map<number, number>();

  constructor(config: RetryConfig) {
    this.#config = config;
  }

  request(nowMs: number): void {
    add(this.#requests, this.#bucket(nowMs));
  }

  /** A further sending of a task whose attempt before it ended at `endedMs`, which is when it was granted. */
  retry(endedMs: number): void {
    const bucket = this.#bucket(endedMs);
    add(this.#retries, bucket);
    const { ratio, windowMs, minPerSecond } = this.#config;
    const allowed = Math.max((minPerSecond * windowMs) / 1000, this.#sum(this.#requests, bucket) * ratio);
    const retries = this.#sum(this.#retries, bucket);
    if (retries > allowed) {
      broken('retries stay within the budget', `${retries} within ${windowMs} ms, where ${allowed} are allowed`);
    }
  }

  #bucket(ms: number): number {
    return Math.floor(ms / (this.#config.windowMs / BUCKETS));
  }

  #sum(counts: Map<number, number>, newest: number): number {
    let sum = 0;
    for (let bucket = newest - BUCKETS + 1; bucket <= newest; bucket++) sum += counts.get(bucket) ?? 0;
    return sum;
  }
}

function add(counts: Map<number, number>, bucket: number): void {
  counts.set(bucket, (counts.get(bucket) ?? 0) + 1);
}
