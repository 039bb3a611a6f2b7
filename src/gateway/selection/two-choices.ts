import type { Backend } from '../backend.js';
import { type Allocator, isCandidate, load, type Random } from './strategy.js';

/** Lower is better. */
export type Score = (backend: Backend, now: number) => number;

/** Draws before falling back to a scan: with half of a pool away, 1 in 256 picks scans. */
const DRAWS = 8;

/** A score this much above the other's is no reason to leave the backend chosen last: below 32 requests in flight, none at all. */
const TOLERANCE = 1 + 1 / 32;

/**
 * The power of two choices (Mitzenmacher 2001): of two candidates drawn at random the one with the lower score. Close to the
 * best of all at a fraction of its cost, and without the herd that follows a shared idea of who is best.
 *
 * With memory (Mitzenmacher, Prabhakar and Shah 2002): the backend chosen last is one of the two, and stays chosen while its
 * score is no more than a 32nd above the other's. What a client sends in one go then mostly meets one backend, so its answers
 * come back together and leave in one send, which costs more than all else that is done for a small request. The price is a
 * load that may differ by a 32nd, and by nothing while few are in flight.
 */
class TwoChoices implements Allocator {
  readonly #random: Random;
  readonly #score: Score;
  /** The one chosen last, of those that are in the pool. */
  #last: Backend | undefined;

  constructor(random: Random, score: Score) {
    this.#random = random;
    this.#score = score;
  }

  pick(backends: readonly Backend[], _key: number, now: number, exclude: number): Backend | undefined {
    const picked = backends.length === 2 ? this.#pickOfTwo(backends, now, exclude) : this.#pick(backends, now, exclude);
    this.#last = picked;
    return picked;
  }

  backendsChanged(): void {
    this.#last = undefined;
  }

  #pickOfTwo(backends: readonly Backend[], now: number, exclude: number): Backend | undefined {
    const a = backends[0];
    const b = backends[1];
    if (!isCandidate(a, now, exclude)) return isCandidate(b, now, exclude) ? b : undefined;
    if (!isCandidate(b, now, exclude)) return a;
    return b === this.#last ? this.#better(b, a, now) : this.#better(a, b, now);
  }

  #pick(backends: readonly Backend[], now: number, exclude: number): Backend | undefined {
    if (backends.length === 0) return undefined;
    const last = this.#last;
    const remembered = last !== undefined && last.outstanding > 0 && isCandidate(last, now, exclude);
    const first = remembered ? last : this.#draw(backends, now, exclude, undefined);
    if (first === undefined) return undefined;
    const second = this.#draw(backends, now, exclude, first);
    return second === undefined ? first : this.#better(first, second, now);
  }

  /** `a` is the one chosen last, if either is. */
  #better(a: Backend, b: Backend, now: number): Backend {
    const scoreA = this.#score(a, now);
    const scoreB = this.#score(b, now);
    // With nothing in flight the comparison alone would send every single request to the heavier one.
    if (a.outstanding === 0 && b.outstanding === 0) return this.#byShare(a, scoreA, b, scoreB);
    if (a === this.#last) return scoreA <= scoreB * TOLERANCE ? a : b;
    if (scoreA === scoreB) return this.#byShare(a, scoreA, b, scoreB);
    return scoreA < scoreB ? a : b;
  }

  /** Idle: in proportion to the inverse of the scores, which is the weights (times the speed, for peak-ewma). Equal: evenly. */
  #byShare(a: Backend, scoreA: number, b: Backend, scoreB: number): Backend {
    return this.#random() * (scoreA + scoreB) < scoreB ? a : b;
  }

  /** A random candidate other than `taken`. */
  #draw(backends: readonly Backend[], now: number, exclude: number, taken: Backend | undefined): Backend | undefined {
    const count = backends.length;
    for (let i = 0; i < DRAWS; i++) {
      const backend = backends[Math.floor(this.#random() * count)];
      if (backend !== taken && isCandidate(backend, now, exclude)) return backend;
    }
    return this.#scan(backends, now, exclude, taken);
  }

  /** One of the candidates, each with the same probability (reservoir of one). */
  #scan(backends: readonly Backend[], now: number, exclude: number, taken: Backend | undefined): Backend | undefined {
    let seen = 0;
    let chosen: Backend | undefined;
    for (const backend of backends) {
      if (backend === taken || !isCandidate(backend, now, exclude)) continue;
      seen++;
      if (this.#random() * seen < 1) chosen = backend;
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
