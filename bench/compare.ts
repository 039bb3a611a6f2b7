/**
 * `npm run bench:compare A.json B.json`: what changed from A to B beyond the noise.
 *
 * Two kinds of noise are told from a change. Within a run the samples of a series scatter: the Mann–Whitney test (exact, two-sided,
 * p ≤ 0.05) asks whether B's samples could have come from where A's did. Between runs a machine is not the same machine twice: in the
 * same case also the servers whose code cannot have changed (peers, floors) were measured, and whatever they moved is what two runs differ
 * by anyway. A series has changed when its samples are told apart and it moved further than every peer of its case, and by 2 % at least.
 * Three samples against three can never reach p ≤ 0.05: when they lie wholly apart, and by 5 %, the answer carries a question mark.
 */
import { type Sample, serverCpu } from './load.js';
import { readResults, type Results } from './results.js';
import { type Interval, leastP, mannWhitneyP, median, ratioInterval } from './statistics.js';
import { describeSubject, parseEngine } from './subjects.js';
import { figure, renderText, type Table } from './table.js';

const SIGNIFICANT = 0.05;
const LEAST_CHANGE = 1.02;
const LEAST_UNPROVEN_CHANGE = 1.05;

const MEASURES = {
  'CPU-µs/msg': serverCpu,
  'p50 µs': ({ latencyUs }: Sample) => latencyUs.p50,
  'p99 µs': ({ latencyUs }: Sample) => latencyUs.p99,
} as const satisfies Record<string, (sample: Sample) => number>;
export type Measure = keyof typeof MEASURES;

export type Change = 'better' | 'worse' | 'better?' | 'worse?' | 'same' | 'too few rounds';

export interface ComparedSeries {
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

export function compareResults(a: Results, b: Results): ComparedSeries[] {
  return a.series.flatMap(({ case: name, subject, samples }) => {
    const later = b.series.find((one) => one.case === name && one.subject === subject)?.samples;
    if (later === undefined || isPeer(subject)) return [];
    return (Object.keys(MEASURES) as Measure[]).map((measure) => {
      const peersMoved = movementOfPeers(a, b, name, measure);
      const values = (its: readonly Sample[]) => its.map(MEASURES[measure]);
      return { case: name, subject, measure, ...compareSamples(values(samples), values(later), peersMoved) };
    });
  });
}

export function compareSamples(before: readonly number[], after: readonly number[], peersMoved = 1) {
  const ratio = median(after) / median(before);
  const p = mannWhitneyP(before, after);
  const change = judge(ratio, p, leastP(before.length, after.length), peersMoved);
  return {
    ...{
      before: median(before),
      after: median(after),
      ratio,
      interval: ratioInterval(after, before),
      p,
      peersMoved,
      change,
    },
  };
}

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

/** Everything that is not ours to change. */
function isPeer(subject: string): boolean {
  return parseEngine(subject) === undefined;
}

function movementOfPeers(a: Results, b: Results, name: string, measure: Measure): number {
  const moves = a.series
    .filter((one) => one.case === name && isPeer(one.subject))
    .flatMap(({ subject, samples }) => {
      const later = b.series.find((one) => one.case === name && one.subject === subject)?.samples;
      if (later === undefined) return [];
      const ratio = median(later.map(MEASURES[measure])) / median(samples.map(MEASURES[measure]));
      return [Math.max(ratio, 1 / ratio)];
    });
  return Math.max(1, ...moves);
}

export function comparisonTables(compared: readonly ComparedSeries[]): Table[] {
  const rows = (of: readonly ComparedSeries[]) =>
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
  const tooFew = compared.filter(({ change, measure }) => change === 'too few rounds' && measure === 'CPU-µs/msg');
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
  return `from ${told(a)} to ${told(b)}; a ratio below 1 is better\n${different.join('')}\n${text}`;
}
