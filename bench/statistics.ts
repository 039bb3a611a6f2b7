/** The statistics of the bench: few samples per series (one per round), so medians, ranks and resampling, no normal curve. */
import { seededRandom } from './random.js';

/** Of an even number of values, the mean of the two in the middle. @throws on no values at all. */
export function median(values: readonly number[]): number {
  if (values.length === 0) throw new RangeError('the median of nothing');
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** The smallest value that at least `fraction` of all do not exceed. @throws on no values at all. */
export function quantile(values: readonly number[], fraction: number): number {
  if (values.length === 0) throw new RangeError('a quantile of nothing');
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.max(0, Math.ceil(fraction * sorted.length) - 1))];
}

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

export interface Interval {
  readonly low: number;
  readonly high: number;
}

const RESAMPLES = 2_000;

/**
 * 95 % bootstrap interval of median(a) / median(b): both are drawn again with replacement, 2,000 times. The generator is seeded, so
 * one file always gives one answer. With three to five samples it can only be rough: it never reaches beyond the lowest over the
 * highest sample, which is why `compare` does not decide by it alone.
 */
export function ratioInterval(a: readonly number[], b: readonly number[]): Interval {
  const random = seededRandom(0x9e3779b9);
  const draw = (values: readonly number[]) => median(values.map(() => values[Math.floor(random() * values.length)]));
  const ratios = Array.from({ length: RESAMPLES }, () => draw(a) / draw(b));
  return { low: quantile(ratios, 0.025), high: quantile(ratios, 0.975) };
}

/** How often `a` is above `b` over all pairs; a tie counts half. */
function mannWhitneyU(a: readonly number[], b: readonly number[]): number {
  let u = 0;
  for (const x of a) for (const y of b) u += x > y ? 1 : x === y ? 0.5 : 0;
  return u;
}

/**
 * Two-sided p of the Mann–Whitney test: how likely samples lie as far apart as these when both come from one distribution. Exact, by
 * counting every way to deal the pooled values out, while there are at most 100,000 of them; beyond that by the normal approximation.
 */
export function mannWhitneyP(a: readonly number[], b: readonly number[]): number {
  if (a.length === 0 || b.length === 0) return 1;
  const expected = (a.length * b.length) / 2;
  const distance = Math.abs(mannWhitneyU(a, b) - expected);
  if (ways(a.length + b.length, a.length) > 100_000) {
    const deviation = Math.sqrt((a.length * b.length * (a.length + b.length + 1)) / 12);
    return Math.min(1, 2 * upperNormal((distance - 0.5) / deviation));
  }
  const pooled = [...a, ...b];
  let all = 0;
  let asFar = 0;
  for (const chosen of subsets(pooled.length, a.length)) {
    const rest = pooled.filter((_, index) => !chosen.has(index));
    const u = mannWhitneyU(
      [...chosen].map((index) => pooled[index]),
      rest,
    );
    all++;
    if (Math.abs(u - expected) >= distance - 1e-9) asFar++;
  }
  return asFar / all;
}

/** The least p that so many samples can give: with three against three 0.1, with four against four 0.029. */
export function leastP(a: number, b: number): number {
  return Math.min(1, 2 / ways(a + b, a));
}

function ways(of: number, choose: number): number {
  let count = 1;
  for (let i = 1; i <= choose; i++) count = (count * (of - choose + i)) / i;
  return Math.round(count);
}

function* subsets(of: number, size: number, from = 0, chosen = new Set<number>()): Generator<Set<number>> {
  if (chosen.size === size) {
    yield chosen;
    return;
  }
  for (let index = from; index <= of - (size - chosen.size); index++) {
    chosen.add(index);
    yield* subsets(of, size, index + 1, chosen);
    chosen.delete(index);
  }
}

/** The part of a standard normal distribution above `z`, after Abramowitz and Stegun 26.2.17 (error below 1e-7). */
function upperNormal(z: number): number {
  if (z < 0) return 1 - upperNormal(-z);
  const t = 1 / (1 + 0.2316419 * z);
  const polynomial = t * (0.31938153 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))));
  return (Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI)) * polynomial;
}
