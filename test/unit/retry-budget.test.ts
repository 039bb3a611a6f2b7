import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RetryBudget } from '../../src/gateway/retry-budget.js';

const options = { ratio: 0.2, windowMs: 10_000, minPerSecond: 0 };

function take(budget: RetryBudget, now: number, wanted: number): number {
  let taken = 0;
  for (let i = 0; i < wanted; i++) if (budget.tryRetry(now)) taken++;
  return taken;
}

describe('RetryBudget', () => {
  it('allows one retry for five requests', () => {
    const budget = new RetryBudget(options);
    for (let i = 0; i < 100; i++) budget.onRequest(50);
    expect(take(budget, 60, 100)).toBe(20);
  });

  it('allows the floor where there were no requests', () => {
    const budget = new RetryBudget({ ...options, minPerSecond: 10 });
    expect(take(budget, 5, 1000)).toBe(100);
  });

  it('allows none with a ratio and a floor of 0', () => {
    const budget = new RetryBudget({ ...options, ratio: 0 });
    for (let i = 0; i < 100; i++) budget.onRequest(0);
    expect(take(budget, 0, 10)).toBe(0);
  });

  it('forgets requests and retries when the window has passed', () => {
    const budget = new RetryBudget(options);
    for (let i = 0; i < 100; i++) budget.onRequest(0);
    expect(take(budget, 8_999, 100)).toBe(20);
    expect(take(budget, 10_000, 1)).toBe(0);
    for (let i = 0; i < 50; i++) budget.onRequest(10_000);
    // The 20 retries of the last second but one still count against the new requests.
    expect(take(budget, 10_000, 100)).toBe(0);
    expect(take(budget, 18_000, 100)).toBe(10);
  });

  it('never allows more than its share and floor over any one window', () => {
    const step = fc.record({ wait: fc.nat(3000), requests: fc.nat(20), retries: fc.nat(20) });
    const settings = fc.record({
      ratio: fc.double({ min: 0, max: 1, noNaN: true }),
      windowMs: fc.constantFrom(1000, 10_000),
      minPerSecond: fc.nat(3),
    });
    fc.assert(
      fc.property(settings, fc.array(step, { maxLength: 50 }), (settings, steps) => {
        const budget = new RetryBudget(settings);
        const requests: number[] = [];
        const retries: number[] = [];
        let now = 0;
        for (const { wait, requests: asked, retries: wanted } of steps) {
          now += wait;
          for (let i = 0; i < asked; i++) {
            budget.onRequest(now);
            requests.push(now);
          }
          for (let i = 0; i < wanted; i++) if (budget.tryRetry(now)) retries.push(now);
          // Nine of ten buckets are whole: what is younger than that certainly counts; requests count at most one window.
          const retried = retries.filter((at) => at > now - settings.windowMs * 0.9).length;
          const seen = requests.filter((at) => at > now - settings.windowMs * 1.9).length;
          const floor = (settings.minPerSecond * settings.windowMs) / 1000;
          expect(retried).toBeLessThanOrEqual(Math.max(floor, seen * settings.ratio) + 1e-9);
        }
      }),
    );
  });

  // The bound above says what is too much; this one that nothing less is refused.
  it('grants exactly what ten buckets say', () => {
    const step = fc.record({ wait: fc.oneof(fc.nat(50), fc.nat(3_000)), requests: fc.nat(20), retries: fc.nat(20) });
    const settings = fc.record({
      ratio: fc.constantFrom(0, 0.2, 0.5, 1),
      windowMs: fc.constantFrom(1000, 10_000),
      minPerSecond: fc.nat(3),
    });
    fc.assert(
      fc.property(settings, fc.array(step, { maxLength: 60 }), (settings, steps) => {
        const budget = new RetryBudget(settings);
        const requests: number[] = [];
        const retries: number[] = [];
        const bucketOf = (ms: number): number => Math.floor(ms / (settings.windowMs / 10));
        const within = (times: number[], now: number): number =>
          times.filter((at) => bucketOf(at) > bucketOf(now) - 10).length;
        const floor = (settings.minPerSecond * settings.windowMs) / 1000;
        let now = 0;
        for (const { wait, requests: asked, retries: wanted } of steps) {
          now += wait;
          for (let i = 0; i < asked; i++) {
            budget.onRequest(now);
            requests.push(now);
          }
          for (let i = 0; i < wanted; i++) {
            const allowed = within(retries, now) + 1 <= Math.max(floor, within(requests, now) * settings.ratio);
            expect(budget.tryRetry(now)).toBe(allowed);
            if (allowed) retries.push(now);
          }
        }
      }),
    );
  });
});
