import { expect, test } from 'vitest';
import { CHECK_TOLERANCE, checkWarnings, estimateCheckSeconds } from '../../bench/check.js';
import { type BenchOptions, parseOptions } from '../../bench/options.js';
import type { GoalLine } from '../../bench/goals.js';

const line = (value: number): GoalLine => ({
  ...{ row: 'relay 500 × 1', measure: 'cpu', subject: 'io_uring', against: 'haproxy', value, interval: undefined },
  ...{ must: 0.5, aim: 0.4, verdict: value > 0.5 ? 'MISSED' : 'must met' },
});

test('only a ratio far over what it must be is worth a warning, and what failed is one', () => {
  expect(checkWarnings([line(0.4), line(0.5 * CHECK_TOLERANCE)], [])).toEqual([]);
  expect(checkWarnings([line(0.7)], ['haproxy: ended'])).toEqual([
    'relay 500 × 1, gateway io_uring, plain over haproxy: 0.70, must be 0.5 at most',
    'haproxy: ended',
  ]);
});

test('takes less than a minute', () => {
  const seconds = estimateCheckSeconds(parseOptions(['--check']) as BenchOptions);
  expect(seconds).toBeGreaterThan(30);
  expect(seconds).toBeLessThan(60);
});
