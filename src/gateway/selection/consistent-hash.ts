import type { Backend } from '../backend.js';
import { hashString, mix32 } from './hash.js';
import { type Allocator, isCandidate } from './strategy.js';

/** Points on the ring per unit of weight (libketama's 160): the shares then differ by about 8 %. */
const POINTS_PER_WEIGHT = 160;
/** With large weights the points are scaled down to this many in all: 12 bytes each. */
const MAX_POINTS = 65_536;

/**
 * Consistent hashing with bounded load (Mirrokni, Thorup, Zadimoghaddam 2018) on a ketama ring: a key goes to the first
 * candidate clockwise whose share of what is in flight stays under `boundFactor` times its fair part. The same key finds the
 * same backend while that one is available and not overrun; a backend that leaves moves only its own keys.
 */
export class ConsistentHash implements Allocator {
  readonly #boundFactor: number;
  #built: readonly Backend[] | undefined;
  /** Sorted hashes, and for each the backend's place in `#built`. */
  #points = new Uint32Array(0);
  #owners = new Uint32Array(0);

  constructor(boundFactor: number) {
    if (!(boundFactor >= 1))
      throw new RangeError(`boundFactor: ${boundFactor} is below 1: some backend must be allowed its fair part`);
    this.#boundFactor = boundFactor;
  }

  pick(backends: readonly Backend[], key: number, now: number, exclude: number): Backend | undefined {
    if (this.#built !== backends) this.backendsChanged(backends);
    let outstanding = 0;
    let weight = 0;
    for (let i = 0; i < backends.length; i++) {
      if (!isCandidate(backends[i], now, exclude)) continue;
      outstanding += backends[i].outstanding;
      weight += backends[i].effectiveWeight(now);
    }
    if (weight === 0) return undefined;
    const perWeight = (this.#boundFactor * (outstanding + 1)) / weight;
    return this.#walk(backends, mix32(key), perWeight, now, exclude);
  }

  backendsChanged(backends: readonly Backend[]): void {
    this.#built = backends;
    let weight = 0;
    for (const backend of backends) weight += backend.weight;
    const perWeight = Math.min(POINTS_PER_WEIGHT, MAX_POINTS / weight);
    const counts = backends.map((backend) => Math.max(1, Math.round(backend.weight * perWeight)));
    const size = counts.reduce((sum, count) => sum + count, 0);
    // Sorted as one 53-bit number: hash above, owner below.
    const entries = new Float64Array(size);
    let at = 0;
    for (let i = 0; i < backends.length; i++) {
      const seed = hashString(backends[i].name);
      for (let point = 0; point < counts[i]; point++) {
        entries[at++] = mix32(seed + Math.imul(point, 0x9e3779b1)) * 2 ** 20 + i;
      }
    }
    entries.sort();
    this.#points = new Uint32Array(size);
    this.#owners = new Uint32Array(size);
    for (let i = 0; i < size; i++) {
      this.#points[i] = Math.floor(entries[i] / 2 ** 20);
      this.#owners[i] = entries[i] % 2 ** 20;
    }
  }

  /** There is always one under its bound: the bounds add up to more than what is in flight. */
  #walk(
    backends: readonly Backend[],
    hash: number,
    perWeight: number,
    now: number,
    exclude: number,
  ): Backend | undefined {
    const size = this.#points.length;
    let at = this.#firstFrom(hash);
    let fallback: Backend | undefined;
    for (let steps = 0; steps < size; steps++) {
      const backend = backends[this.#owners[at]];
      if (isCandidate(backend, now, exclude)) {
        if (backend.outstanding < Math.ceil(perWeight * backend.effectiveWeight(now))) return backend;
        fallback ??= backend;
      }
      at = at + 1 < size ? at + 1 : 0;
    }
    // Only rounding brings us here.
    return fallback;
  }

  /** The place of the first point at or after `hash`, round the ring. */
  #firstFrom(hash: number): number {
    let low = 0;
    let high = this.#points.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#points[middle] < hash) low = middle + 1;
      else high = middle;
    }
    return low < this.#points.length ? low : 0;
  }
}
