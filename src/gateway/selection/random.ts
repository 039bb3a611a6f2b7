import type { Backend } from '../backend.js';
import { type Allocator, isCandidate, type Random } from './strategy.js';

/** Each candidate with the probability of its weight. */
export class RandomChoice implements Allocator {
  readonly #random: Random;

  constructor(random: Random) {
    this.#random = random;
  }

  pick(backends: readonly Backend[], _key: number, now: number, exclude: number): Backend | undefined {
    let total = 0;
    for (let i = 0; i < backends.length; i++) {
      if (isCandidate(backends[i], now, exclude)) total += backends[i].effectiveWeight(now);
    }
    let left = this.#random() * total;
    let last: Backend | undefined;
    for (let i = 0; i < backends.length; i++) {
      const backend = backends[i];
      if (!isCandidate(backend, now, exclude)) continue;
      last = backend;
      left -= backend.effectiveWeight(now);
      if (left < 0) return backend;
    }
    // Rounding may leave a hair over: it belongs to the last candidate.
    return last;
  }

  backendsChanged(): void {}
}
