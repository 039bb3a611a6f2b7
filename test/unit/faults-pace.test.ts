// The fault suite's own measure of a stall: a gateway that stands still is found, a machine that is slow is not.
import { expect, test } from 'vitest';
import { Pace } from '../faults/support/pace.js';

/** Waits of bystanders and of the witness, in ms. */
function judged(bystanders: readonly number[], witness: readonly number[]): { p99: boolean; max: boolean } {
  const pace = new Pace();
  for (const ms of bystanders) pace.bystanders.record(ms);
  for (const ms of witness) pace.witness.record(ms);
  const { p99Ms, maxMs, p99BoundMs, maxBoundMs } = pace.verdict();
  return { p99: p99Ms < p99BoundMs, max: maxMs < maxBoundMs };
}

const calm = (count: number): number[] => Array.from({ length: count }, () => 3);

test('a stall of 4 s while the witness waits for nothing is found', () => {
  expect(judged([...calm(1_000), 4_000], calm(250))).toEqual({ p99: true, max: false });
});

test('waits of a second and a half for many are found', () => {
  expect(judged([...calm(1_000), ...calm(20).map(() => 1_500)], calm(250))).toEqual({ p99: false, max: true });
});

test('the same where the witness waited as long is the machine', () => {
  expect(judged([...calm(1_000), 4_000], [...calm(250), 1_000])).toEqual({ p99: true, max: true });
  expect(
    judged(
      calm(100).map(() => 1_500),
      calm(50).map(() => 600),
    ),
  ).toEqual({ p99: true, max: true });
});

test('what was before does not count', () => {
  const pace = new Pace();
  pace.bystanders.record(9_000);
  pace.reset();
  expect(pace.verdict()).toMatchObject({ maxMs: 0, p99Ms: 0 });
});
