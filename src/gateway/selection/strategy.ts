/** The names of the strategies, and what each of them is: a pure choice over candidates. */
import type { Backend } from '../backend.js';

/**
 * How an allocator picks a backend. `least-outstanding-p2c`, the default, looks at two by chance and takes the one with fewer
 * tasks; `peak-ewma` does so by latency; `consistent-hash` goes by the affinity key, with bounded loads.
 */
export type StrategyName =
  | 'round-robin'
  | 'weighted-round-robin'
  | 'random'
  | 'least-outstanding-p2c'
  | 'least-outstanding'
  | 'weighted-least-outstanding'
  | 'peak-ewma'
  | 'consistent-hash';

export const STRATEGIES = [
  'round-robin',
  'weighted-round-robin',
  'random',
  'least-outstanding-p2c',
  'least-outstanding',
  'weighted-least-outstanding',
  'peak-ewma',
  'consistent-hash',
] as const satisfies readonly StrategyName[];

export const DEFAULT_STRATEGY: StrategyName = 'least-outstanding-p2c';

export interface Allocator {
  /**
   * @param key the client's or the task's affinity as an unsigned 32-bit number; only consistent-hash reads it
   * @param now ms, the same clock as given to `Backend`
   * @param exclude index of a backend that must not be chosen (it failed this task), or -1
   * @returns undefined when no other backend is available: the task waits
   */
  pick(backends: readonly Backend[], key: number, now: number, exclude: number): Backend | undefined;
  /** Must be called whenever backends were added, removed or given another weight. */
  backendsChanged(backends: readonly Backend[]): void;
}

export type Random = () => number;

export function isCandidate(backend: Backend, now: number, exclude: number): boolean {
  return backend.index !== exclude && backend.available(now);
}

/** What the least-outstanding strategies compare: the load after one request more, per unit of weight. */
export function load(backend: Backend, now: number): number {
  return (backend.outstanding + 1) / backend.effectiveWeight(now);
}
