/**
 * When backends of one pool are taken out and put back: the rules and what the pool's backends share. Envoy's outlier
 * detection (consecutive failures, base time × times ejected in a row, a maximum share of the pool), with HAProxy's slow
 * start. Told the time; knows no link and no timer.
 */
import type { Backend } from './backend.js';

export interface HealthOptions {
  /** Failures in a row that eject a backend. 0: never. */
  readonly consecutiveFailures: number;
  /** ms a backend stays out, times the number of ejections in a row. */
  readonly ejectMs: number;
  /** ms over which the weight of a backend grows to its full value after it (re)connected or came back. 0: at once. */
  readonly slowStartMs: number;
}

/** Told of each verdict, for the log. */
export interface HealthListener {
  /** `failures` in a row; it is left alone for `ejectMs`. */
  ejected(backend: Backend, failures: number, ejectMs: number): void;
  /** The trial succeeded. */
  reinstated(backend: Backend): void;
}

const NOBODY: HealthListener = { ejected: () => {}, reinstated: () => {} };

/** After this many ejections in a row the time out grows no more: with the default base, 5 minutes. */
export const MAX_EJECT_FACTOR = 30;

/** More than this share of a pool is never held to be ill: then the judge is. */
export const MAX_EJECTED_SHARE = 0.5;

export class PoolHealth {
  readonly options: HealthOptions;
  readonly listener: HealthListener;
  #backends: readonly Backend[] = [];
  #version = 0;
  #judgedVersion = -1;
  #judgedAt = -1;
  #suspended = false;

  constructor(options: HealthOptions, listener = NOBODY) {
    this.options = options;
    this.listener = listener;
  }

  /** Tells which backends are the pool now. The array is read later, never written. */
  backendsChanged(backends: readonly Backend[]): void {
    this.#backends = backends;
    this.#version++;
  }

  /** A backend was ejected, came back, connected or lost its links. */
  changed(): void {
    this.#version++;
  }

  /**
   * True when more than half of the pool is out (ejected or without a link): then ejected backends are tried like any other.
   * Judged once per change and millisecond, so that a pick over a large pool stays linear.
   */
  suspended(now: number): boolean {
    if (this.#judgedVersion === this.#version && this.#judgedAt === now) return this.#suspended;
    this.#suspended = this.countOut() > this.#backends.length * MAX_EJECTED_SHARE;
    this.#judgedVersion = this.#version;
    this.#judgedAt = now;
    return this.#suspended;
  }

  /** Backends that are ejected or without a link. */
  countOut(): number {
    const backends = this.#backends;
    let out = 0;
    for (let i = 0; i < backends.length; i++) {
      if (backends[i].connected === 0 || backends[i].isEjected) out++;
    }
    return out;
  }
}
