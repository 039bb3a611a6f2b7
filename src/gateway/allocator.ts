/**
 * Which backend gets a task: a pure choice over the task's key and the candidates, one strategy per file in `selection/`.
 * No strategy allocates in `pick`, does I/O or keeps time.
 */
import { ConsistentHash } from './selection/consistent-hash.js';
import { LeastOutstanding } from './selection/least-outstanding.js';
import { RandomChoice } from './selection/random.js';
import { RoundRobin } from './selection/round-robin.js';
import type { Allocator, Random, StrategyName } from './selection/strategy.js';
import { leastOutstandingP2c, peakEwma } from './selection/two-choices.js';
import { WeightedLeastOutstanding, WeightedRoundRobin } from './selection/weighted-round-robin.js';

export { hashBytes, hashString } from './selection/hash.js';
export { type Allocator, DEFAULT_STRATEGY, STRATEGIES, type StrategyName } from './selection/strategy.js';

export interface AllocatorOptions {
  /** In [0, 1). Default Math.random. */
  readonly random?: Random;
  /** consistent-hash: most that a backend may carry, as a multiple of its fair part; at least 1. Default 1.25 (HAProxy's advice: 1.25 to 2). */
  readonly boundFactor?: number;
}

export const DEFAULT_BOUND_FACTOR = 1.25;

/** @throws RangeError for a `boundFactor` below 1. */
export function createAllocator(strategy: StrategyName, options: AllocatorOptions = {}): Allocator {
  const random = options.random ?? Math.random;
  switch (strategy) {
    case 'round-robin':
      return new RoundRobin();
    case 'weighted-round-robin':
      return new WeightedRoundRobin();
    case 'random':
      return new RandomChoice(random);
    case 'least-outstanding-p2c':
      return leastOutstandingP2c(random);
    case 'least-outstanding':
      return new LeastOutstanding();
    case 'weighted-least-outstanding':
      return new WeightedLeastOutstanding();
    case 'peak-ewma':
      return peakEwma(random);
    case 'consistent-hash':
      return new ConsistentHash(options.boundFactor ?? DEFAULT_BOUND_FACTOR);
  }
}
