/**
 * How many requests may be sent a second time: a share of the requests of the last window, but at least so many a second
 * (Finagle's RetryBudget). It keeps a failing pool from being buried under retries.
 */
export interface RetryBudgetOptions {
  /** Retries per request. 0.2: one in five. */
  readonly ratio: number;
  /** ms that are remembered. */
  readonly windowMs: number;
  /** Retries a second that are always allowed (as many as that over the whole window, in one go if need be). */
  readonly minPerSecond: number;
}

const BUCKETS = 10;

/** The window is a ring of ten buckets; what is older than a whole window is forgotten bucket by bucket. */
export class RetryBudget {
  readonly #ratio: number;
  readonly #bucketMs: number;
  readonly #floor: number;
  readonly #requests = new Float64Array(BUCKETS);
  readonly #retries = new Float64Array(BUCKETS);
  #requestsInWindow = 0;
  #retriesInWindow = 0;
  /** Number of the newest bucket since time 0. */
  #newest = 0;
  /** Its place in the ring. */
  #place = 0;
  /** ms at which it ends: most requests are told apart from the next bucket's by one comparison. */
  #endsMs: number;

  constructor(options: RetryBudgetOptions) {
    this.#ratio = options.ratio;
    this.#bucketMs = options.windowMs / BUCKETS;
    this.#endsMs = this.#bucketMs;
    this.#floor = (options.minPerSecond * options.windowMs) / 1000;
  }

  onRequest(now: number): void {
    if (now >= this.#endsMs) this.#turn(now);
    this.#requests[this.#place]++;
    this.#requestsInWindow++;
  }

  /** Takes one retry out of the budget. False: there is none left; the request must end as it failed. */
  tryRetry(now: number): boolean {
    if (now >= this.#endsMs) this.#turn(now);
    if (this.#retriesInWindow + 1 > Math.max(this.#floor, this.#requestsInWindow * this.#ratio)) return false;
    this.#retries[this.#place]++;
    this.#retriesInWindow++;
    return true;
  }

  #turn(now: number): void {
    const bucket = Math.floor(now / this.#bucketMs);
    const steps = Math.min(bucket - this.#newest, BUCKETS);
    for (let i = 1; i <= steps; i++) this.#forget((this.#newest + i) % BUCKETS);
    this.#newest = bucket;
    this.#place = bucket % BUCKETS;
    this.#endsMs = (bucket + 1) * this.#bucketMs;
  }

  #forget(bucket: number): void {
    this.#requestsInWindow -= this.#requests[bucket];
    this.#retriesInWindow -= this.#retries[bucket];
    this.#requests[bucket] = 0;
    this.#retries[bucket] = 0;
  }
}
