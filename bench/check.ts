/**
 * `npm run bench:check`: the ratios that matter, in under a minute. It warns and never fails: a shared machine is no place for a timed
 * test that fails, but a ratio that fell far behind should not wait for the next whole run to be seen.
 */
import type { Bench } from './bench.js';
import { CASES, type Case, HAPROXY, NODE_NET, NODE_NET_GATEWAY, C_URING } from './cases.js';
import { GOALS, type GoalLine, judgeGoals } from './goals.js';
import type { BenchOptions } from './options.js';
import { byRoom, estimateRounds } from './plan.js';
import { runRounds, type Series } from './rounds.js';
import { SubjectPool, describeSubject } from './subjects.js';
import { goalTable } from './report.js';
import { renderText } from './table.js';

/** Short rounds scatter: only a ratio so much over what it must be is worth a warning. */
export const CHECK_TOLERANCE = 1.25;
const SUBJECTS = [NODE_NET, C_URING, 'io_uring', 'epoll', HAPROXY, NODE_NET_GATEWAY];
const CHECKED = ['echo-500x1', 'echo-500x16', 'relay-500x1', 'relay-500x16'];

const CHECK_CASES: readonly Case[] = CASES.filter(({ name }) => CHECKED.includes(name)).map((one) => ({
  ...one,
  subjects: one.subjects.filter((name) => SUBJECTS.includes(name)),
}));

export function estimateCheckSeconds(options: BenchOptions): number {
  return estimateRounds(CHECK_CASES, options);
}

export async function checkRatios(bench: Bench): Promise<number> {
  const series: Series[] = [];
  bench.say(`this takes about ${Math.ceil(estimateCheckSeconds(bench.options))} s`);
  for (const room of ['echo', 'relay'] as const) {
    const cases = byRoom(CHECK_CASES, room);
    const pool = new SubjectPool(bench, room, new Set(['echo']));
    try {
      series.push(...(await runRounds(bench, cases, pool)));
    } finally {
      await pool.stop();
    }
  }
  const lines = judgeGoals(series, [], GOALS);
  const table = goalTable(lines);
  if (table !== undefined) process.stdout.write(`\n${renderText(table)}\n`);
  for (const warning of checkWarnings(lines, bench.failures)) process.stdout.write(`warning: ${warning}\n`);
  const judged = lines.filter(({ verdict }) => verdict !== 'shown');
  process.stdout.write(`${judged.length} ratios checked, ${checkWarnings(lines, []).length} warnings\n`);
  return 0;
}

export function checkWarnings(lines: readonly GoalLine[], failures: readonly string[]): string[] {
  const over = lines.filter(({ value, must }) => must !== undefined && value > must * CHECK_TOLERANCE);
  const sentences = over.map(({ row, subject, against, value, must }) => {
    const room = row.startsWith('relay') ? 'relay' : 'echo';
    const other = against === undefined ? '' : ` over ${describeSubject(room, against)}`;
    return `${row}, ${describeSubject(room, subject)}${other}: ${value.toFixed(2)}, must be ${must} at most`;
  });
  return [...sentences, ...failures];
}
