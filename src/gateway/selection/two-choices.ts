import type { Backend } from '../backend.js';
import { type Allocator, isCandidate, load, type Random } from './strategy.js';

/** Lower is better. */
export type Score = (backend: Backend, now: number) => number;

/** Draws before falling back to a scan: with half of a pool away, 1 in 256 picks scans. */
const DRAWS = 8;

/**
 * The power of two choices (Mitzenmacher 2001): of two candidates drawn at random the one with the lower score. Close to the
 * best of all at a fraction of its cost, and without the herd that follows a shared idea of who is best.
 */
class TwoChoices implements Allocator {
  readonly #random: Random;
  readonly #score: Score;

  constructor(random: Random, score: Score) {
    this.#random = random;
    this.#score = score;
  }

  pick(backends: readonly Backend[], _key: number, now: number, exclude: number): Backend | undefined {
    const count = backends.length;
    if (count === 0) return undefined;
    if (count === 2) return this.#pickOfTwo(backends, now, exclude);
    const first = this.#draw(backends, now, exclude, -1);
    if (first < 0) return undefined;
    const second = this.#draw(backends, now, exclude, first);
    return second < 0 ? backends[first] : this.#better(backends[first], backends[second], now);
  }

  backendsChanged(): void {}

  #pickOfTwo(backends: readonly Backend[], now: number, exclude: number): Backend | undefined {
    const [a, b] = backends;
    if (!isCandidate(a, now, exclude)) return isCandidate(b, now, exclude) ? b : undefined;
    return isCandidate(b, now, exclude) ? this.#better(a, b, now) : a;
  }

  #better(a: Backend, b: Backend, now: number): Backend {
    const scoreA = this.#score(a, now);
    const scoreB = this.#score(b, now);
    // With nothing in flight the comparison alone would send every single request to the heavier one.
    if (scoreA === scoreB || (a.outstanding === 0 && b.outstanding === 0)) return this.#byShare(a, scoreA, b, scoreB);
    return scoreA < scoreB ? a : b;
  }

  /** Idle: in proportion to the inverse of the scores, which is the weights (times the speed, for peak-ewma). Equal: evenly. */
  #byShare(a: Backend, scoreA: number, b: Backend, scoreB: number): Backend {
    return this.#random() * (scoreA + scoreB) < scoreB ? a : b;
  }

  /** The place of a random candidate other than `taken`, or -1. */
  #draw(backends: readonly Backend[], now: number, exclude: number, taken: number): number {
    const count = backends.length;
    for (let i = 0; i < DRAWS; i++) {
      const at = Math.floor(this.#random() * count);
      if (at !== taken && isCandidate(backends[at], now, exclude)) return at;
    }
    return this.#scan(backends, now, exclude, taken);
  }

  /** One of the candidates, each with the same probability (reservoir of one). */
  #scan(backends: readonly Backend[], now: number, exclude: number, taken: number): number {
    let seen = 0;
    let chosen = -1;
    for (let at = 0; at < backends.length; at++) {
      if (at === taken || !isCandidate(backends[at], now, exclude)) continue;
      seen++;
      if (this.#random() * seen < 1) chosen = at;
    }
    return chosen;
  }
}

/** (outstanding + 1) / weight. */
export function leastOutstandingP2c(random: Random): Allocator {
  return new TwoChoices(random, load);
}

/** Peak-sensitive latency × (outstanding + 1) / weight: Finagle's and linkerd's. */
export function peakEwma(random: Random): Allocator {
  return new TwoChoices(random, (backend, now) => backend.peakLatencyMs(now) * load(backend, now));
}
