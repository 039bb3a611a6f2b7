import type { Backend } from '../backend.js';
import { type Allocator, isCandidate } from './strategy.js';

/**
 * nginx's smooth weighted round-robin: every candidate gains its weight, the one with the most is chosen and pays the sum.
 * 5:1:1 becomes a a b a c a a, not a a a a a b c.
 */
export class WeightedRoundRobin implements Allocator {
  pick(backends: readonly Backend[], _key: number, now: number, exclude: number): Backend | undefined {
    let best: Backend | undefined;
    let total = 0;
    for (let i = 0; i < backends.length; i++) {
      const backend = backends[i];
      if (!isCandidate(backend, now, exclude)) continue;
      const weight = backend.effectiveWeight(now);
      total += weight;
      backend.currentWeight += weight;
      if (best === undefined || backend.currentWeight > best.currentWeight) best = backend;
    }
    if (best !== undefined) best.currentWeight -= total;
    return best;
  }

  backendsChanged(backends: readonly Backend[]): void {
    for (const backend of backends) backend.currentWeight = 0;
  }
}

/**
 * Envoy's weighted least request: smooth round-robin in which each weight shrinks with what is in flight, here per unit of
 * weight, so that the shares are the weights both when idle and under load. It never herds on one idle backend, as
 * `least-outstanding` does.
 */
export class WeightedLeastOutstanding implements Allocator {
  pick(backends: readonly Backend[], _key: number, now: number, exclude: number): Backend | undefined {
    let best: Backend | undefined;
    let total = 0;
    for (let i = 0; i < backends.length; i++) {
      const backend = backends[i];
      if (!isCandidate(backend, now, exclude)) continue;
      const full = backend.effectiveWeight(now);
      const weight = full / (1 + backend.outstanding / full);
      total += weight;
      backend.currentWeight += weight;
      if (best === undefined || backend.currentWeight > best.currentWeight) best = backend;
    }
    if (best !== undefined) best.currentWeight -= total;
    return best;
  }

  backendsChanged(backends: readonly Backend[]): void {
    for (const backend of backends) backend.currentWeight = 0;
  }
}
