// The totals that `npm test` prints: what fails without a failed case must still count.
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const scripts = join(dirname(dirname(dirname(fileURLToPath(import.meta.url)))), 'scripts');
const { add, nativeTotals, print, vitestTotals } = await import(join(scripts, 'lib', 'totals.mjs'));

const none = { passed: 0, failed: 0, skipped: 0 };

function junit(...programs: [status: string, output: string][]): string {
  const cases = programs.map(
    ([status, output]) =>
      `<testcase name="x_test" classname="x_test" time="0.1" status="${status}">\n<system-out>${output}</system-out>\n</testcase>`,
  );
  return `<testsuite name="x" tests="${programs.length}">${cases.join('\n')}</testsuite>`;
}

function summary(ran: number, passed: number, failed: number, skipped: number): string {
  return `[doctest] test cases: ${ran} | ${passed} passed | ${failed} failed | ${skipped} skipped`;
}

test('native cases are added over programs', () => {
  const text = junit(['run', summary(12, 12, 0, 0)], ['fail', summary(3, 1, 2, 1)]);
  expect(nativeTotals(text)).toEqual({ passed: 13, failed: 2, skipped: 1 });
});

test('a native program that crashes, times out or runs nothing is one failure', () => {
  expect(nativeTotals(junit(['fail', 'Segmentation fault']))).toEqual({ ...none, failed: 1 });
  expect(nativeTotals(junit(['run', summary(0, 0, 0, 0)]))).toEqual({ ...none, failed: 1 });
  expect(nativeTotals(junit(['fail', summary(4, 4, 0, 0)]))).toEqual({ passed: 4, failed: 1, skipped: 0 });
  expect(nativeTotals('<testcase name="x_test" status="notrun"/>')).toEqual({ ...none, failed: 1 });
  expect(nativeTotals(undefined)).toEqual({ ...none, failed: 1 });
});

function report(counts: object, testResults: object[] = []) {
  return { numPassedTests: 0, numFailedTests: 0, numPendingTests: 0, numTodoTests: 0, testResults, ...counts };
}

test('vitest cases are counted as it counts them', () => {
  const counts = { numPassedTests: 7, numFailedTests: 1, numPendingTests: 2, numTodoTests: 1 };
  const file = { status: 'failed', assertionResults: [{ status: 'failed' }, { status: 'passed' }] };
  expect(vitestTotals(report(counts, [file]), 1)).toEqual({ passed: 7, failed: 1, skipped: 3 });
});

test('a file that does not load, an unhandled error and no report are failures', () => {
  const broken = { status: 'failed', assertionResults: [] };
  expect(vitestTotals(report({ numPassedTests: 2 }, [broken]), 1)).toEqual({ passed: 2, failed: 1, skipped: 0 });
  expect(vitestTotals(report({ numPassedTests: 2 }), 1)).toEqual({ passed: 2, failed: 1, skipped: 0 });
  expect(vitestTotals(undefined, 1)).toEqual({ ...none, failed: 1 });
});

test('the last line names skipped tests only where there are some', () => {
  expect(print(add({ passed: 1, failed: 0, skipped: 0 }, { passed: 2, failed: 1, skipped: 0 }))).toBe(
    '3 passed, 1 failed',
  );
  expect(print({ passed: 1, failed: 0, skipped: 4 })).toBe('1 passed, 0 failed, 4 skipped');
});
