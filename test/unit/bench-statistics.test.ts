import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { seededRandom, shuffle } from '../../bench/random.js';
import { leastP, mannWhitneyP, mean, median, quantile, ratioInterval } from '../../bench/statistics.js';

describe('median and quantile', () => {
  test('of an odd and an even number of values', () => {
    expect(median([3, 1, 2])).toBe(2);
    expect(median([4, 1, 2, 3])).toBe(2.5);
    expect(mean([1, 2, 6])).toBe(3);
  });

  test('a quantile is one of the values: the smallest that so many do not exceed', () => {
    const values = Array.from({ length: 100 }, (_, index) => 100 - index);
    expect([0, 0.5, 0.9, 0.99, 0.999, 1].map((fraction) => quantile(values, fraction))).toEqual([
      1, 50, 90, 99, 100, 100,
    ]);
    fc.assert(
      fc.property(
        fc.array(fc.integer(), { minLength: 1 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        (any, fraction) => {
          const at = quantile(any, fraction);
          expect(any).toContain(at);
          expect(any.filter((value) => value <= at).length).toBeGreaterThanOrEqual(fraction * any.length);
        },
      ),
    );
  });

  test('nothing has neither', () => {
    expect(() => median([])).toThrow(RangeError);
    expect(() => quantile([], 0.5)).toThrow(RangeError);
  });
});

describe('a seeded order', () => {
  test('is the same for the same seed, holds each once, and puts everybody everywhere', () => {
    const names = ['a', 'b', 'c', 'd'];
    const order = (seed: number) => shuffle(names, seededRandom(seed));
    expect(order(7)).toEqual(order(7));
    const seen = Array.from({ length: 400 }, (_, seed) => order(seed));
    for (const one of seen) expect([...one].sort()).toEqual(names);
    for (const place of [0, 1, 2, 3]) {
      const first = seen.filter((one) => one[place] === 'a').length;
      expect(first).toBeGreaterThan(60);
      expect(first).toBeLessThan(140);
    }
  });
});

describe('Mann–Whitney', () => {
  test('exact p of small samples, as tables give it', () => {
    // Wholly apart: two of all ways to deal them out are as far apart.
    expect(mannWhitneyP([1, 2, 3], [4, 5, 6])).toBeCloseTo(2 / 20);
    expect(mannWhitneyP([1, 2, 3, 4, 5], [6, 7, 8, 9, 10])).toBeCloseTo(2 / 252);
    // U is 2: four ways of 252 lie as far down, four as far up.
    expect(mannWhitneyP([1, 2, 3, 4, 7], [5, 6, 8, 9, 10])).toBeCloseTo(8 / 252);
    expect(mannWhitneyP([1, 2, 3], [1, 2, 3])).toBe(1);
    expect(mannWhitneyP([], [1])).toBe(1);
  });

  test('what so few samples can reach at best', () => {
    expect(leastP(3, 3)).toBeCloseTo(0.1);
    expect(leastP(4, 4)).toBeCloseTo(2 / 70);
    expect(leastP(5, 3)).toBeCloseTo(2 / 56);
    expect(leastP(1, 1)).toBe(1);
  });

  test('the approximation for many samples is near the exact value', () => {
    const a = Array.from({ length: 12 }, (_, index) => index * 2);
    const b = Array.from({ length: 12 }, (_, index) => index * 2 + 9);
    // scipy.stats.mannwhitneyu(a, b, method='exact') gives 0.01004.
    expect(mannWhitneyP(a, b)).toBeGreaterThan(0.009);
    expect(mannWhitneyP(a, b)).toBeLessThan(0.0125);
  });
});

describe('the interval of a ratio of medians', () => {
  test('holds the ratio, and is the same each time', () => {
    const a = [9, 10, 11, 10.5, 9.5];
    const b = [19, 20, 21, 20.5, 19.5];
    const interval = ratioInterval(a, b);
    expect(interval.low).toBeLessThan(0.5);
    expect(interval.high).toBeGreaterThan(0.5);
    expect(interval.low).toBeGreaterThan(0.4);
    expect(interval.high).toBeLessThan(0.6);
    expect(ratioInterval(a, b)).toEqual(interval);
  });

  test('one value each leaves no room', () => {
    expect(ratioInterval([3], [4])).toEqual({ low: 0.75, high: 0.75 });
  });
});
