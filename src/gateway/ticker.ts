/**
 * When the gateway looks at its deadlines, pings and reconnects: every tickMs while it has tasks, every idleTickMs once it had
 * none for a second. A tick of an idle process takes 0.2 ms, most of it the processor's waking up: at 10 ms that was 2.2 % of a core.
 */
import type { Engine } from '../engine/engine.js';
import { limits } from '../limits.js';

const RESTING_AFTER_MS = 1_000;

export interface TickerDeps {
  readonly engine: Pick<Engine, 'every' | 'now'>;
  readonly tick: () => void;
  /** Tasks are open, or a drain waits. */
  readonly isBusy: () => boolean;
  /** Calls back with the next task, once. */
  readonly atNextTask: (callback: () => void) => void;
}

export class Ticker {
  readonly #deps: TickerDeps;
  #stop: () => void = () => {};
  #busyMs = 0;
  #rests = false;
  #isOver = false;

  constructor(deps: TickerDeps) {
    this.#deps = deps;
  }

  /** Starts it, or has it look every tickMs again. */
  wake(): void {
    if (this.#isOver) return;
    this.#busyMs = this.#deps.engine.now();
    this.#rests = false;
    this.#run(limits.tickMs);
  }

  /** For good. */
  stop(): void {
    this.#isOver = true;
    this.#stop();
  }

  #run(everyMs: number): void {
    const { engine, tick } = this.#deps;
    this.#stop();
    this.#stop = engine.every(everyMs, () => {
      tick();
      if (!this.#rests) this.#look();
    });
  }

  #look(): void {
    const { engine, isBusy, atNextTask } = this.#deps;
    const now = engine.now();
    if (isBusy()) this.#busyMs = now;
    if (now - this.#busyMs >= RESTING_AFTER_MS) {
      this.#rests = true;
      this.#run(limits.idleTickMs);
    }
    atNextTask(this.#onTask);
  }

  /** Tasks may come and go between two ticks. */
  readonly #onTask = (): void => {
    if (this.#rests) this.wake();
    else this.#busyMs = this.#deps.engine.now();
  };
}
