import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type Allocator,
  createAllocator,
  hashBytes,
  hashString,
  STRATEGIES,
  type StrategyName,
} from '../../src/gateway/allocator.js';
import { Backend } from '../../src/gateway/backend.js';
import { PoolHealth } from '../../src/gateway/health.js';

const NOBODY = -1;

/** Mulberry32: the same draws in every run. */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

function makeBackends(weights: readonly number[], maxInFlight = 1e9): Backend[] {
  const health = new PoolHealth({ consecutiveFailures: 5, ejectMs: 1000, slowStartMs: 0 });
  const backends = weights.map((weight, index) => {
    const backend = new Backend({ index, name: `10.0.0.${index}:9000`, weight, maxInFlight }, health);
    backend.connected = 1;
    return backend;
  });
  health.backendsChanged(backends);
  return backends;
}

function create(strategy: StrategyName, backends: readonly Backend[], seed = 1): Allocator {
  const allocator = createAllocator(strategy, { random: seeded(seed) });
  allocator.backendsChanged(backends);
  return allocator;
}

/** How often each was picked while `depth` requests are in flight, the oldest ending first. */
function picks(allocator: Allocator, backends: readonly Backend[], times: number, depth: number): number[] {
  const counts = backends.map(() => 0);
  const inFlight: Backend[] = [];
  const key = seeded(99);
  for (let i = 0; i < times; i++) {
    if (inFlight.length >= depth) inFlight.shift()!.outstanding--;
    const backend = allocator.pick(backends, key() * 2 ** 32, 0, NOBODY)!;
    backend.outstanding++;
    counts[backend.index]++;
    inFlight.push(backend);
  }
  for (const backend of inFlight) backend.outstanding--;
  return counts;
}

const weightsArbitrary = fc.array(fc.integer({ min: 1, max: 8 }), { minLength: 1, maxLength: 8 });

describe.each(STRATEGIES)('%s', (strategy) => {
  it('answers undefined for an empty pool and when nobody is available', () => {
    expect(create(strategy, []).pick([], 1, 0, NOBODY)).toBeUndefined();
    const backends = makeBackends([1, 1, 1]);
    const allocator = create(strategy, backends);
    for (const backend of backends) backend.goingAway = true;
    expect(allocator.pick(backends, 1, 0, NOBODY)).toBeUndefined();
  });

  it('picks only what is available and not excluded, and always when there is such a one', () => {
    const scenario = fc.record({
      weights: weightsArbitrary,
      away: fc.array(fc.boolean(), { minLength: 8, maxLength: 8 }),
      outstanding: fc.array(fc.nat(5), { minLength: 8, maxLength: 8 }),
      exclude: fc.integer({ min: -1, max: 8 }),
      keys: fc.array(fc.nat(2 ** 32 - 1), { minLength: 1, maxLength: 10 }),
      seed: fc.nat(),
    });
    fc.assert(
      fc.property(scenario, ({ weights, away, outstanding, exclude, keys, seed }) => {
        const backends = makeBackends(weights, 5);
        for (const backend of backends) {
          backend.goingAway = away[backend.index];
          backend.outstanding = outstanding[backend.index];
        }
        const allocator = create(strategy, backends, seed);
        const possible = backends.filter((backend) => backend.available(0) && backend.index !== exclude);
        for (const key of keys) {
          const picked = allocator.pick(backends, key, 0, exclude);
          if (possible.length === 0) expect(picked).toBeUndefined();
          else expect(possible).toContain(picked);
        }
      }),
    );
  });

  it('spreads evenly over equal backends', () => {
    const backends = makeBackends([1, 1, 1, 1]);
    for (const depth of [1, 16]) {
      const counts = picks(create(strategy, backends), backends, 8000, depth);
      for (const count of counts) expect(Math.abs(count - 2000)).toBeLessThan(500);
    }
  });

  it('heeds weights, under load and without', () => {
    const backends = makeBackends([3, 1]);
    for (const depth of [1, 64]) {
      const [heavy, light] = picks(create(strategy, backends), backends, 8000, depth);
      expect(heavy / light).toBeGreaterThan(strategy === 'least-outstanding' && depth === 1 ? 1 : 2);
      if (strategy !== 'least-outstanding') expect(heavy / light).toBeLessThan(4.5);
    }
  });

  it('goes on when backends leave and come', () => {
    const all = makeBackends([1, 2, 3, 1]);
    const allocator = create(strategy, all);
    for (let i = 0; i < 20; i++) allocator.pick(all, i, 0, NOBODY);
    const fewer = all.slice(2);
    allocator.backendsChanged(fewer);
    for (let i = 0; i < 20; i++) expect(fewer).toContain(allocator.pick(fewer, i, 0, NOBODY));
  });

  it('gives a backend in slow start less', () => {
    const health = new PoolHealth({ consecutiveFailures: 5, ejectMs: 1000, slowStartMs: 1000 });
    const backends = [0, 1].map(
      (index) => new Backend({ index, name: `b${index}:1`, weight: 1, maxInFlight: 1e9 }, health),
    );
    for (const backend of backends) backend.connected = 1;
    backends[1].onConnected(0);
    const [warm, cold] = picks(create(strategy, backends), backends, 4000, 32);
    expect(warm).toBeGreaterThan(cold * 2);
  });
});

describe('round-robin', () => {
  it('gives each backend its weight in turns', () => {
    const backends = makeBackends([2, 1, 1]);
    const allocator = create('round-robin', backends);
    const order = Array.from({ length: 8 }, () => allocator.pick(backends, 0, 0, NOBODY)!.index);
    expect(order).toEqual([0, 0, 1, 2, 0, 0, 1, 2]);
  });

  it.each(['round-robin', 'weighted-round-robin'] as const)(
    '%s: over a whole round each gets exactly its weight',
    (strategy) => {
      fc.assert(
        fc.property(weightsArbitrary, fc.integer({ min: 1, max: 5 }), (weights, rounds) => {
          const backends = makeBackends(weights);
          const total = weights.reduce((sum, weight) => sum + weight, 0);
          const counts = picks(create(strategy, backends), backends, total * rounds, 1);
          expect(counts).toEqual(weights.map((weight) => weight * rounds));
        }),
      );
    },
  );
});

describe('weighted-round-robin', () => {
  it('interleaves as nginx does', () => {
    const backends = makeBackends([5, 1, 1]);
    const allocator = create('weighted-round-robin', backends);
    const order = Array.from({ length: 7 }, () => allocator.pick(backends, 0, 0, NOBODY)!.index);
    expect(order).toEqual([0, 0, 1, 0, 2, 0, 0]);
  });
});

describe('least-outstanding', () => {
  it('picks the least loaded per weight of all', () => {
    fc.assert(
      fc.property(weightsArbitrary, fc.array(fc.nat(50), { minLength: 8, maxLength: 8 }), (weights, outstanding) => {
        const backends = makeBackends(weights);
        for (const backend of backends) backend.outstanding = outstanding[backend.index];
        const picked = create('least-outstanding', backends).pick(backends, 0, 0, NOBODY)!;
        const load = (backend: Backend): number => (backend.outstanding + 1) / backend.weight;
        for (const backend of backends) expect(load(picked)).toBeLessThanOrEqual(load(backend));
      }),
    );
  });
});

describe('least-outstanding-p2c', () => {
  it('never picks the one with the most load per weight when there are three that differ', () => {
    const backends = makeBackends([1, 1, 2]);
    [5, 9, 4].forEach((outstanding, at) => {
      backends[at].outstanding = outstanding;
    });
    const allocator = create('least-outstanding-p2c', backends);
    for (let i = 0; i < 500; i++) expect(allocator.pick(backends, 0, 0, NOBODY)!.index).not.toBe(1);
  });

  it('keeps the load within a narrow band of the average', () => {
    const backends = makeBackends([1, 1, 1, 1, 1, 1, 1, 1]);
    const allocator = create('least-outstanding-p2c', backends);
    for (let i = 0; i < 8000; i++) allocator.pick(backends, 0, 0, NOBODY)!.outstanding++;
    for (const backend of backends) expect(Math.abs(backend.outstanding - 1000)).toBeLessThan(20);
  });

  it('stays with the backend chosen last while its load is at most a 32nd above the other', () => {
    for (const count of [2, 5]) {
      const backends = makeBackends(Array(count).fill(1));
      for (const backend of backends) backend.outstanding = 639;
      const allocator = create('least-outstanding-p2c', backends);
      const first = allocator.pick(backends, 0, 0, NOBODY)!;
      for (let i = 0; i < 20; i++) {
        first.outstanding++;
        expect(allocator.pick(backends, 0, 0, NOBODY)).toBe(first);
      }
      first.outstanding++;
      expect(allocator.pick(backends, 0, 0, NOBODY)).not.toBe(first);
    }
  });

  it('tolerates no difference while few requests are in flight', () => {
    const backends = makeBackends([1, 1]);
    const allocator = create('least-outstanding-p2c', backends);
    for (let i = 0; i < 60; i++) {
      allocator.pick(backends, 0, 0, NOBODY)!.outstanding++;
      expect(Math.abs(backends[0].outstanding - backends[1].outstanding)).toBeLessThanOrEqual(1);
    }
  });
});

describe('peak-ewma', () => {
  it('prefers the faster one in proportion', () => {
    const backends = makeBackends([1, 1]);
    for (let i = 0; i < 100; i++) {
      backends[0].onSuccess(10, 1000);
      backends[1].onSuccess(80, 1000);
    }
    const allocator = create('peak-ewma', backends);
    let fast = 0;
    for (let i = 0; i < 1000; i++) if (allocator.pick(backends, 0, 1000, NOBODY) === backends[0]) fast++;
    expect(fast).toBeGreaterThan(800);
    backends[0].outstanding = 20;
    expect(allocator.pick(backends, 0, 1000, NOBODY)).toBe(backends[1]);
  });
});

describe('consistent-hash', () => {
  it('sends the same key to the same backend', () => {
    const backends = makeBackends([1, 2, 1, 1]);
    const first = create('consistent-hash', backends, 1);
    const second = create('consistent-hash', makeBackends([1, 2, 1, 1]), 2);
    for (let key = 0; key < 500; key++) {
      const picked = first.pick(backends, key, 0, NOBODY);
      expect(first.pick(backends, key, 5, NOBODY)).toBe(picked);
      expect(second.pick(backends, key, 0, NOBODY)).toBe(picked);
    }
  });

  it('moves only the keys of a backend that leaves', () => {
    fc.assert(
      fc.property(fc.integer({ min: 2, max: 8 }), fc.nat(7), (count, leaving) => {
        const backends = makeBackends(Array.from({ length: count }, () => 1));
        const gone = backends[leaving % count];
        const allocator = create('consistent-hash', backends);
        const before = Array.from({ length: 300 }, (_, key) => allocator.pick(backends, key, 0, NOBODY));
        const rest = backends.filter((backend) => backend !== gone);
        allocator.backendsChanged(rest);
        before.forEach((picked, key) => {
          if (picked !== gone) expect(allocator.pick(rest, key, 0, NOBODY)).toBe(picked);
        });
        // Out of order but still in the pool: the same keys move, to the same places.
        allocator.backendsChanged(backends);
        gone.goingAway = true;
        before.forEach((picked, key) => {
          const now = allocator.pick(backends, key, 0, NOBODY);
          if (picked === gone) expect(now).not.toBe(gone);
          else expect(now).toBe(picked);
        });
      }),
      { numRuns: 30 },
    );
  });

  it('never loads a backend beyond the bound, whatever the keys', () => {
    fc.assert(
      fc.property(
        weightsArbitrary,
        fc.array(fc.nat(3), { minLength: 1, maxLength: 300 }),
        fc.constantFrom(1, 1.25, 2),
        (weights, keys, boundFactor) => {
          const backends = makeBackends(weights);
          const allocator = createAllocator('consistent-hash', { boundFactor });
          allocator.backendsChanged(backends);
          const total = weights.reduce((sum, weight) => sum + weight, 0);
          keys.forEach((key, sent) => {
            const picked = allocator.pick(backends, key, 0, NOBODY)!;
            picked.outstanding++;
            const bound = Math.ceil((boundFactor * (sent + 1) * picked.weight) / total);
            expect(picked.outstanding).toBeLessThanOrEqual(bound);
          });
        },
      ),
    );
  });

  it('refuses a bound below the fair share', () => {
    expect(() => createAllocator('consistent-hash', { boundFactor: 0.5 })).toThrow(RangeError);
  });

  it('hashes text and bytes to 32 bits that spread', () => {
    const seen = new Set(Array.from({ length: 10_000 }, (_, i) => hashString(`client-${i}`)));
    expect(seen.size).toBeGreaterThan(9_990);
    const bytes = new TextEncoder().encode('xxabcx');
    expect(hashBytes(bytes, 2, 5)).toBe(hashBytes(new TextEncoder().encode('abc')));
    expect(hashBytes(bytes)).toBeGreaterThanOrEqual(0);
  });
});

describe('properties', () => {
  const change = fc.record({
    weights: weightsArbitrary,
    away: fc.array(fc.boolean(), { minLength: 8, maxLength: 8 }),
    picks: fc.nat(40),
  });

  // Whatever has come, gone and been away before.
  it.each(['round-robin', 'weighted-round-robin', 'weighted-least-outstanding'] as const)(
    '%s starves nobody: in three rounds each available backend gets its turn',
    (strategy) => {
      fc.assert(
        fc.property(fc.array(change, { minLength: 1, maxLength: 6 }), (changes) => {
          const allocator = createAllocator(strategy, { random: seeded(1) });
          let backends: Backend[] = [];
          for (const { weights, away, picks: count } of changes) {
            backends = makeBackends(weights);
            allocator.backendsChanged(backends);
            for (let i = 0; i < count; i++) {
              for (const backend of backends) backend.goingAway = away[(backend.index + i) % away.length];
              allocator.pick(backends, 0, 0, NOBODY);
            }
          }
          const { away } = changes[changes.length - 1];
          for (const backend of backends) backend.goingAway = away[backend.index];
          const available = backends.filter((backend) => backend.available(0));
          const round = available.reduce((sum, { weight }) => sum + weight, 0);
          const counts = backends.map(() => 0);
          for (let i = 0; i < 3 * round; i++) counts[allocator.pick(backends, 0, 0, NOBODY)!.index]++;
          for (const { index } of available) expect(counts[index]).toBeGreaterThan(0);
        }),
      );
    },
  );

  it('weighted round-robin is never far from the shares, at any moment', () => {
    fc.assert(
      fc.property(weightsArbitrary, fc.nat(200), (weights, times) => {
        const backends = makeBackends(weights);
        const allocator = create('weighted-round-robin', backends);
        const total = weights.reduce((sum, weight) => sum + weight, 0);
        const counts = weights.map(() => 0);
        for (let i = 1; i <= times; i++) {
          counts[allocator.pick(backends, 0, 0, NOBODY)!.index]++;
          // What a backend is behind or ahead is its current weight in units of the sum: less than the number of backends.
          for (const { index, weight } of backends) {
            expect(Math.abs(counts[index] - (i * weight) / total)).toBeLessThan(weights.length);
          }
        }
      }),
    );
  });

  it('of two, the power of two choices never takes the one whose load is more than a 32nd above the other', () => {
    const loads = fc.array(fc.nat(200), { minLength: 2, maxLength: 2 });
    const weights = fc.array(fc.integer({ min: 1, max: 8 }), { minLength: 2, maxLength: 2 });
    fc.assert(
      fc.property(weights, fc.array(loads, { minLength: 1, maxLength: 20 }), fc.integer(), (weights, states, seed) => {
        const backends = makeBackends(weights);
        const allocator = create('least-outstanding-p2c', backends, seed);
        for (const state of states) {
          for (const backend of backends) backend.outstanding = state[backend.index];
          const picked = allocator.pick(backends, 0, 0, NOBODY)!;
          const other = backends[1 - picked.index];
          if (state[0] === 0 && state[1] === 0) continue;
          const load = (backend: Backend): number => (backend.outstanding + 1) / backend.weight;
          expect(load(picked)).toBeLessThanOrEqual(load(other) * (1 + 1 / 32) + 1e-9);
        }
      }),
    );
  });

  it('consistent hashing gives a backend that comes only keys, and takes none from one to another', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 2, maxLength: 8 }),
        fc.nat(7),
        (weights, at) => {
          const all = makeBackends(weights);
          const newcomer = all[at % all.length];
          const before = all.filter((backend) => backend !== newcomer);
          const allocator = create('consistent-hash', before);
          const owners = Array.from({ length: 300 }, (_, key) => allocator.pick(before, key, 0, NOBODY)!);
          allocator.backendsChanged(all);
          owners.forEach((owner, key) => {
            const now = allocator.pick(all, key, 0, NOBODY)!;
            if (now !== newcomer) expect(now).toBe(owner);
          });
        },
      ),
      { numRuns: 30 },
    );
  });

  it('consistent hashing keeps its bound while backends are away, full or excluded', () => {
    const step = fc.record({
      key: fc.nat(5),
      away: fc.nat(20),
      exclude: fc.integer({ min: -1, max: 7 }),
      ends: fc.nat(3),
    });
    fc.assert(
      fc.property(weightsArbitrary, fc.array(step, { minLength: 1, maxLength: 200 }), (weights, steps) => {
        const backends = makeBackends(weights, 20);
        const allocator = createAllocator('consistent-hash', { boundFactor: 1.25 });
        allocator.backendsChanged(backends);
        for (const { key, away, exclude, ends } of steps) {
          for (const backend of backends) {
            backend.goingAway = backend.index === away;
            backend.outstanding = Math.max(0, backend.outstanding - ends);
          }
          const candidates = backends.filter((backend) => backend.available(0) && backend.index !== exclude);
          const picked = allocator.pick(backends, key, 0, exclude);
          if (candidates.length === 0) {
            expect(picked).toBeUndefined();
            continue;
          }
          const sum = (of: (backend: Backend) => number): number =>
            candidates.reduce((total, one) => total + of(one), 0);
          const fair = ((sum(({ outstanding }) => outstanding) + 1) * picked!.weight) / sum(({ weight }) => weight);
          expect(candidates).toContain(picked);
          expect(picked!.outstanding).toBeLessThan(Math.ceil(1.25 * fair));
          picked!.outstanding++;
        }
      }),
    );
  });
});
