/** How many tasks run at once, and how many wait for their turn. */

export interface Startable {
  /** Ended before its turn came (cancelled, expired): passed over. */
  readonly done: boolean;
  start(): void;
}

export class TaskLimiter {
  readonly #maxConcurrent: number;
  readonly #maxQueued: number;
  #running = 0;
  /** First in, first out; `#head` is the next one, so that taking it moves nothing. */
  #queue: Startable[] = [];
  #head = 0;
  #queued = 0;

  constructor(maxConcurrent: number, maxQueued: number) {
    this.#maxConcurrent = maxConcurrent;
    this.#maxQueued = maxQueued;
  }

  get running(): number {
    return this.#running;
  }

  get queued(): number {
    return this.#queued;
  }

  /** Takes a place among the running, if one is free. Each is given back by `release`. */
  tryAcquire(): boolean {
    if (this.#running >= this.#maxConcurrent) return false;
    this.#running++;
    return true;
  }

  /** @returns false when the queue is full. */
  enqueue(task: Startable): boolean {
    if (this.#queued >= this.#maxQueued) return false;
    this.#queue.push(task);
    this.#queued++;
    return true;
  }

  /** A queued task ended before its turn came. */
  dropQueued(): void {
    this.#queued--;
  }

  /** A running one ended: the next takes its place. */
  release(): void {
    this.#running--;
    while (this.#running < this.#maxConcurrent) {
      const next = this.#shift();
      if (next === undefined) return;
      if (next.done) continue;
      this.#queued--;
      this.#running++;
      next.start();
    }
  }

  #shift(): Startable | undefined {
    if (this.#head === this.#queue.length) {
      this.#queue = [];
      this.#head = 0;
      return undefined;
    }
    const next = this.#queue[this.#head++];
    // The ended ones at the front would otherwise keep the array growing under steady load.
    if (this.#head > 1024 && this.#head * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head);
      this.#head = 0;
    }
    return next;
  }
}
