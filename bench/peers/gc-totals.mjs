/**
 * Preloaded (--import) into a Node server when the bench asks for garbage-collection time: adds up what V8 reports, and on SIGUSR2
 * prints the totals since the start as one JSON line on stderr. Only for separate runs: watching costs a little.
 */
import { writeSync } from 'node:fs';
import { constants, PerformanceObserver } from 'node:perf_hooks';

const totals = { gcMs: 0, minor: 0, major: 0 };

function add(entries) {
  for (const { duration, detail } of entries) {
    totals.gcMs += duration;
    if (detail.kind === constants.NODE_PERFORMANCE_GC_MINOR) totals.minor++;
    else if (detail.kind === constants.NODE_PERFORMANCE_GC_MAJOR) totals.major++;
  }
}

const observer = new PerformanceObserver((list) => add(list.getEntries()));
observer.observe({ entryTypes: ['gc'] });

process.on('SIGUSR2', () => {
  add(observer.takeRecords());
  writeSync(2, `${JSON.stringify({ gcTotals: totals })}\n`);
});
