/**
 * Interleaved rounds: within a round every server is measured once in every case, in an order that is drawn afresh each time. What
 * drifts (clock speed, a neighbour's load), and what one server leaves behind for the next, then meets all of them alike, and medians
 * of rounds compare.
 */
import type { Bench } from './bench.js';
import type { Behind, Case } from './cases.js';
import { descriptorLimit, descriptorsOf } from './descriptors.js';
import { generatorShare, type LoadTimes, type Sample, serverCpu } from './load.js';
import type { BenchOptions } from './options.js';
import { firstWarmUp, isMeasuredIn, warmUpAnswers } from './plan.js';
import { seededRandom, shuffle } from './random.js';
import { ROUTES } from './servers.js';
import { describeShape, shape } from './shape.js';
import { describeSubject, type Subject, type SubjectPool } from './subjects.js';

/** What one server did in one case: a sample per round. */
export interface Series {
  readonly case: string;
  readonly subject: string;
  readonly samples: Sample[];
}

/** Many messages in little time: what warms a server up most. */
const WARM_UP_SHAPE = shape(100, 16, 64);

/** What streams, cancels and short connections run through was not part of that. */
const COLD_WARM_UP_SECONDS = 1;

export async function runRounds(bench: Bench, cases: readonly Case[], pool: SubjectPool): Promise<Series[]> {
  const subjects = await startAll(bench, cases, pool);
  const series = cases.flatMap((one) =>
    one.subjects
      .filter((name) => subjects.has(name) && hasDescriptors(bench, one, name))
      .map((subject): Series => ({ case: one.name, subject, samples: [] })),
  );
  const failed = new Set<string>();
  const random = seededRandom(bench.options.seed);
  for (let round = 1; round <= bench.options.rounds; round++) {
    for (const one of cases) {
      bench.say(`${one.name}: ${describeShape(one.shape)}, round ${round} of ${bench.options.rounds}`);
      for (const name of shuffle(one.subjects, random)) {
        const subject = subjects.get(name);
        const into = series.find((its) => its.case === one.name && its.subject === name);
        const cell = `${one.name} ${name}`;
        if (subject === undefined || into === undefined || failed.has(cell) || !isMeasuredIn(round, one, name))
          continue;
        const sample = await measureOnce(bench, subject, one, timesOf(round, one, bench.options));
        if (sample === undefined) failed.add(cell);
        else into.samples.push(sample);
      }
    }
  }
  return series.filter(({ samples }) => samples.length > 0);
}

function hasDescriptors(bench: Bench, { name, room, shape }: Case, subject: string): boolean {
  const [needed, limit] = [descriptorsOf(subject, shape), descriptorLimit()];
  const enough = needed <= limit;
  if (!enough) {
    bench.note(
      `${name}, ${describeSubject(room, subject)}: ${needed} descriptors, this machine allows ${limit} (ulimit -n)`,
    );
  }
  return enough;
}

function timesOf(round: number, { shape: { mode } }: Case, options: BenchOptions): LoadTimes {
  const { seconds, warmupSeconds, quick } = options;
  const cold = round === 1 && mode !== 'request' && !quick;
  const warmupAnswers = warmUpAnswers(options);
  return { seconds, warmupSeconds: cold ? COLD_WARM_UP_SECONDS : warmupSeconds, warmupAnswers };
}

async function startAll(bench: Bench, cases: readonly Case[], pool: SubjectPool): Promise<Map<string, Subject>> {
  const subjects = new Map<string, Subject>();
  for (const name of new Set(cases.flatMap((one) => one.subjects))) {
    const subject = await pool.get(name);
    if (subject === undefined) continue;
    const times = { seconds: 0.3, warmupSeconds: firstWarmUp(bench.options) };
    const warm = await bench.attempt(name, () => bench.load.run(subject.target, WARM_UP_SHAPE, times));
    if (warm !== undefined) subjects.set(name, subject);
  }
  return subjects;
}

/** Undefined: it failed, which is recorded. */
export async function measureOnce(
  bench: Bench,
  subject: Subject,
  { name, room, shape: its, behind }: Pick<Case, 'name' | 'room' | 'shape' | 'behind'>,
  times: LoadTimes,
): Promise<Sample | undefined> {
  const label = describeSubject(room, subject.name);
  const sample = await bench.attempt(`${name}, ${label}`, async () => {
    const taken = await bench.load.run(onRoute(subject, behind), its, times);
    if (subject.server.process.failure !== undefined) throw new Error(subject.server.process.failure);
    return taken;
  });
  if (sample === undefined) return undefined;
  const rate = Math.round(sample.msgPerSec).toLocaleString('en-US').padStart(11);
  const load = Math.round(100 * generatorShare(sample));
  bench.say(`  ${label.padEnd(32)} ${serverCpu(sample).toFixed(3).padStart(9)} µs ${rate} msg/s, load ${load} %`);
  return sample;
}

function onRoute({ target }: Subject, behind: Behind) {
  return { ...target, route: ROUTES[behind] };
}
