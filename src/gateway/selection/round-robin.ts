import type { Backend } from '../backend.js';
import { type Allocator, isCandidate } from './strategy.js';

/** Visits before giving up: slow start leaves a backend at least a tenth of its weight, and weights may be below 1. */
const MAX_ROUNDS = 1024;

/**
 * One after another; a backend of weight n is chosen n times in a row (deficit round-robin, Shreedhar and Varghese 1995, one
 * request being one unit). Fractions are carried over to the next round.
 */
export class RoundRobin implements Allocator {
  #cursor = 0;

  pick(backends: readonly Backend[], _key: number, now: number, exclude: number): Backend | undefined {
    const count = backends.length;
    if (count === 0) return undefined;
    if (this.#cursor >= count) this.#cursor = 0;
    let idle = 0;
    // `idle` counts visits to backends that cannot be chosen: a whole round of them means that there is none.
    for (let visits = 0; visits < MAX_ROUNDS * count && idle < count; visits++) {
      const backend = backends[this.#cursor];
      if (!isCandidate(backend, now, exclude)) {
        idle++;
      } else {
        idle = 0;
        if (backend.currentWeight >= 1) {
          backend.currentWeight--;
          if (backend.currentWeight < 1) this.#leave(backends, now);
          return backend;
        }
      }
      this.#leave(backends, now);
    }
    return undefined;
  }

  backendsChanged(backends: readonly Backend[]): void {
    for (const backend of backends) backend.currentWeight = 0;
    if (backends.length > 0) backends[0].currentWeight = Math.max(1, backends[0].weight);
    this.#cursor = 0;
  }

  /** The next backend's turn begins: it is given its weight in requests. */
  #leave(backends: readonly Backend[], now: number): void {
    this.#cursor = this.#cursor + 1 < backends.length ? this.#cursor + 1 : 0;
    const next = backends[this.#cursor];
    const weight = next.effectiveWeight(now);
    // Only a fraction is carried over: what an unavailable backend could not use would come back as a burst.
    next.currentWeight = (next.currentWeight < 1 ? next.currentWeight : 0) + weight;
  }
}
