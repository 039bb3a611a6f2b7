/** The time of a simulated world, which passes only when it is told to, and its periodic calls. */
import type { Random } from './random.js';

interface Timer {
  readonly intervalMs: number;
  dueMs: number;
  readonly callback: () => void;
}

/** `Engine.every` promises no more than that. */
const JITTER = 0.1;

export class Clock {
  nowMs = 1_000;
  /** When timers were last called. */
  lastTickMs = 1_000;
  readonly #random: Random;
  readonly #timers = new Set<Timer>();

  constructor(random: Random) {
    this.#random = random;
  }

  get timers(): number {
    return this.#timers.size;
  }

  every(intervalMs: number, callback: () => void): () => void {
    const timer: Timer = { intervalMs, dueMs: this.nowMs + intervalMs, callback };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  /** Lets time pass; `between` is called after each call of a timer. */
  advance(ms: number, between: () => void): void {
    const untilMs = this.nowMs + ms;
    for (let next = this.#next(); next !== undefined && next.dueMs <= untilMs; next = this.#next()) {
      this.nowMs = Math.max(this.nowMs, next.dueMs);
      this.#call(next);
      between();
    }
    this.nowMs = untilMs;
  }

  /** The process stands still for so long: each timer is called once, late. */
  standStill(ms: number): void {
    this.nowMs += ms;
    for (const timer of [...this.#timers]) this.#call(timer);
  }

  #next(): Timer | undefined {
    let next: Timer | undefined;
    for (const timer of this.#timers) if (next === undefined || timer.dueMs < next.dueMs) next = timer;
    return next;
  }

  #call(timer: Timer): void {
    timer.dueMs = this.nowMs + timer.intervalMs * (1 - JITTER + 2 * JITTER * this.#random.next());
    this.lastTickMs = this.nowMs;
    timer.callback();
  }
}
