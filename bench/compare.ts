/**
 * `npm run bench:compare A.json B.json`: what changed from A to B beyond the noise: CPU time, latency in the closed loop and at constant
 * arrival rates, connections per second, memory.
 *
 * Two kinds of noise are told from a change. Within a run the samples of a series scatter: the Mann–Whitney test (exact, two-sided,
 * p ≤ 0.05) asks whether B's samples could have come from where A's did. Between runs a machine is not the same machine twice: in the
 * same case also the servers whose code cannot have changed (peers, floors) were measured, and whatever they moved is what two runs differ
 * by anyway. A series has changed when its samples are told apart and it moved further than every peer of its case, and by 2 % at least.
 * Three samples against three can never reach p ≤ 0.05: when they lie wholly apart, and by 5 %, the answer carries a question mark.
 */
import { type Figure, figuresOf, isPeer, type Measure } from './figures.js';
import { readResults, type Results } from './results.js';
import { type Interval, leastP, mannWhitneyP, median, ratioInterval } from './statistics.js';
import { describeSubject } from './subjects.js';
import { figure, renderText, type Table } from './table.js';

const SIGNIFICANT = 0.05;
const LEAST_CHANGE = 1.02;
const LEAST_UNPROVEN_CHANGE = 1.05;
/** Latencies at rates further apart than this say nothing about each other. */
const SAME_RATE = 1.1;

export type Change = 'better' | 'worse' | 'better?' | 'worse?' | 'same' | 'too few rounds';

export interface Compared {
  readonly case: string;
  readonly subject: string;
  readonly measure: Measure;
  readonly before: number;
  readonly after: number;
  readonly ratio: number;
  readonly interval: Interval;
  readonly p: number;
  /** The furthest that a peer moved in the same case and measure, as a factor; 1 where none was measured. */
  readonly peersMoved: number;
  readonly change: Change;
}

interface Pair {
  readonly before: Figure;
  readonly after: Figure;
}

export function compareResults(a: Results, b: Results): Compared[] {
  const pairs = pairUp(figuresOf(a), figuresOf(b));
  return pairs
    .filter(({ before }) => !isPeer(before.subject))
    .map(({ before, after }) => {
      const { case: name, subject, measure, isRate } = before;
      const peersMoved = movementOfPeers(pairs, name, measure);
      return { case: name, subject, measure, ...compareSamples(before.values, after.values, peersMoved, isRate) };
    });
}

/** What both measured, under loads that compare. */
function pairUp(before: readonly Figure[], after: readonly Figure[]): Pair[] {
  const keyOf = ({ case: name, subject, measure }: Figure) => `${name} ${subject} ${measure}`;
  const later = new Map(after.map((one) => [keyOf(one), one]));
  return before.flatMap((one) => {
    const other = later.get(keyOf(one));
    return other === undefined || !sameRate(one, other) ? [] : [{ before: one, after: other }];
  });
}

function sameRate({ ratePerSec: a = 1 }: Figure, { ratePerSec: b = 1 }: Figure): boolean {
  return Math.max(a / b, b / a) <= SAME_RATE;
}

/** @param isRate more is better */
export function compareSamples(before: readonly number[], after: readonly number[], peersMoved = 1, isRate = false) {
  const ratio = median(after) / median(before);
  const p = mannWhitneyP(before, after);
  const change = judge(isRate ? 1 / ratio : ratio, p, leastP(before.length, after.length), peersMoved);
  const interval = ratioInterval(after, before);
  return { before: median(before), after: median(after), ratio, interval, p, peersMoved, change };
}

/** @param ratio below 1 is better */
function judge(ratio: number, p: number, least: number, peersMoved: number): Change {
  const moved = Math.max(ratio, 1 / ratio);
  const enough = least <= SIGNIFICANT;
  const apart = p <= (enough ? SIGNIFICANT : least);
  if (apart && moved > Math.max(enough ? LEAST_CHANGE : LEAST_UNPROVEN_CHANGE, peersMoved) && least < 0.2) {
    const direction = ratio < 1 ? 'better' : 'worse';
    return enough ? direction : `${direction}?`;
  }
  return enough || least < 0.2 ? 'same' : 'too few rounds';
}

function movementOfPeers(pairs: readonly Pair[], name: string, measure: Measure): number {
  const moves = pairs
    .filter(({ before: one }) => one.case === name && one.measure === measure && isPeer(one.subject))
    .map(({ before, after }) => median(after.values) / median(before.values));
  return Math.max(1, ...moves.map((ratio) => Math.max(ratio, 1 / ratio)));
}

/** One line a series is enough to say that it was not judged. */
const NAMED_WHEN_TOO_FEW: readonly Measure[] = ['CPU-µs/msg', 'bytes/connection'];

export function comparisonTables(compared: readonly Compared[]): Table[] {
  const rows = (of: readonly Compared[]) =>
    of.map((one) => [
      one.case,
      describeSubject(one.case.startsWith('relay') ? 'relay' : 'echo', one.subject),
      one.measure,
      figure(one.before),
      figure(one.after),
      one.ratio.toFixed(2),
      `${one.interval.low.toFixed(2)}–${one.interval.high.toFixed(2)}`,
      one.p.toFixed(3),
      one.peersMoved.toFixed(2),
      one.change,
    ]);
  const headings = ['case', 'server', 'figure', 'before', 'after', 'ratio', '95 %', 'p', 'peers moved', ''];
  const changed = compared.filter(({ change }) => /better|worse/.test(change));
  const tooFew = compared.filter(
    ({ change, measure }) => change === 'too few rounds' && NAMED_WHEN_TOO_FEW.includes(measure),
  );
  const title = `changed beyond the noise: ${changed.length} of ${compared.length}`;
  const tables: Table[] = [{ title, headings, rows: rows(changed) }];
  if (tooFew.length > 0) {
    const note = 'not judged: with one or two rounds no test can tell chance from change';
    tables.push({ title: `too few rounds: ${tooFew.length}`, note, headings, rows: rows(tooFew) });
  }
  return tables;
}

/** What makes two runs hard to compare. */
export function differencesOfMachines(a: Results, b: Results): string[] {
  const fields = ['cpu', 'cores', 'kernel', 'node', 'congestionControl'] as const;
  const machines = fields
    .filter((field) => a.machine[field] !== b.machine[field])
    .map((field) => `${field}: ${a.machine[field]} and ${b.machine[field]}`);
  const settings = (['seconds', 'backends'] as const)
    .filter((field) => a[field] !== b[field])
    .map((field) => `${field}: ${a[field]} and ${b[field]}`);
  return [...machines, ...settings];
}

export function renderComparison(fileA: string, fileB: string): string {
  const [a, b] = [readResults(fileA), readResults(fileB)];
  const different = differencesOfMachines(a, b).map((sentence) => `not the same in both: ${sentence}\n`);
  const told = (results: Results) => `${results.machine.commit ?? 'unknown'} of ${results.at}`;
  const compared = compareResults(a, b);
  if (compared.length === 0) return `${different.join('')}nothing of Ringway was measured in both\n`;
  const text = comparisonTables(compared).map(renderText).join('\n');
  return `from ${told(a)} to ${told(b)}; a ratio below 1 is better, of connects/s one above\n${different.join('')}\n${text}`;
}
