/** Counts of test cases: {passed, failed, skipped}. */
export function add(a, b) {
  return { passed: a.passed + b.passed, failed: a.failed + b.failed, skipped: a.skipped + b.skipped };
}

export function print({ passed, failed, skipped }) {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}

/**
 * Counts doctest's cases in ctest's JUnit file, which holds each program's output. A program that fails without a failed
 * case (a crash, a time-out, a sanitizer's report) or that runs no case counts as one failure.
 *
 * @param junit the file's text, or undefined when ctest wrote none
 */
export function nativeTotals(junit) {
  let totals = { passed: 0, failed: 0, skipped: 0 };
  if (junit === undefined) return { ...totals, failed: 1 };
  for (const [, status, body] of junit.matchAll(/<testcase\b[^>]*\bstatus="(\w+)"[^>]*?(?:\/>|>(.*?)<\/testcase>)/gs)) {
    totals = add(totals, programTotals(status, body ?? ''));
  }
  return totals;
}

function programTotals(status, output) {
  const summary = /test cases:\s*(\d+)\s*\|\s*(\d+) passed\s*\|\s*(\d+) failed\s*\|\s*(\d+) skipped/.exec(output);
  if (!summary) return { passed: 0, failed: 1, skipped: 0 };
  const [, ran, passed, failed, skipped] = summary.map(Number);
  const unexplained = (status !== 'run' && failed === 0) || ran + skipped === 0;
  return { passed, failed: failed + (unexplained ? 1 : 0), skipped };
}

/**
 * Counts vitest's cases in its JSON report. A file that fails without a failed case (it does not load), and a run that
 * fails without a failed file (an unhandled error), count as one failure each.
 *
 * @param report the parsed report, or undefined when vitest wrote none
 * @param exitStatus vitest's
 */
export function vitestTotals(report, exitStatus) {
  if (!report) return { passed: 0, failed: 1, skipped: 0 };
  const brokenFiles = report.testResults.filter(
    (file) => file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed'),
  ).length;
  const failed = report.numFailedTests + brokenFiles;
  return {
    passed: report.numPassedTests,
    failed: failed === 0 && exitStatus !== 0 ? 1 : failed,
    skipped: report.numPendingTests + report.numTodoTests,
  };
}
