import type { Backend } from '../backend.js';
import { type Allocator, isCandidate, load } from './strategy.js';

/** The candidate with the lowest (outstanding + 1) / weight of all; among equals the one that waited longest for its turn. */
export class LeastOutstanding implements Allocator {
  #cursor = 0;

  pick(backends: readonly Backend[], _key: number, now: number, exclude: number): Backend | undefined {
    const count = backends.length;
    let best = -1;
    let bestLoad = Infinity;
    for (let i = 0; i < count; i++) {
      const at = (this.#cursor + i) % count;
      if (!isCandidate(backends[at], now, exclude)) continue;
      const its = load(backends[at], now);
      if (its >= bestLoad) continue;
      best = at;
      bestLoad = its;
    }
    if (best < 0) return undefined;
    this.#cursor = best + 1;
    return backends[best];
  }

  backendsChanged(): void {
    this.#cursor = 0;
  }
}
