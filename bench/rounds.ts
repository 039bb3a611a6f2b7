/**
 * Interleaved rounds: within a round every server is measured once in every shape, and the next round begins with another
 * server. What drifts (clock speed, a neighbour's load) then meets all of them alike, and medians of rounds compare.
 */
import type { Bench, Series, Subject } from './bench.js';
import type { Shape } from './load.js';
import { shapeName } from './rows.js';

/**
 * Whole rounds for every server before the counted ones: V8 goes on compiling for some seconds under load. A gateway's second
 * 2 s run cost 0.66 µs per message, its fourth 0.55; HAProxy's the same in all.
 */
const WARM_UP_ROUNDS = 2;

export async function runRounds(
  bench: Bench,
  part: string,
  shapes: readonly Shape[],
  subjects: readonly Subject[],
): Promise<Series[]> {
  const series = shapes.flatMap((shape) =>
    subjects.map((subject): Series => ({ part, shape, subject: subject.name, samples: [] })),
  );
  const failed = new Set<Subject>();
  for (let round = 1 - WARM_UP_ROUNDS; round <= bench.options.rounds; round++) {
    for (const shape of shapes) {
      const which = round > 0 ? `round ${round} of ${bench.options.rounds}` : 'warm-up, not counted';
      bench.say(`${part} ${shapeName(shape)}, ${which}`);
      for (const subject of rotate(subjects, round + WARM_UP_ROUNDS)) {
        if (failed.has(subject)) continue;
        const into = series.find((one) => one.shape === shape && one.subject === subject.name);
        const discarded = { ...into!, samples: [] };
        if (!(await measureOnce(bench, subject, shape, round > 0 ? into! : discarded))) failed.add(subject);
      }
    }
  }
  return series.filter(({ samples }) => samples.length > 0);
}

async function measureOnce(bench: Bench, subject: Subject, shape: Shape, into: Series): Promise<boolean> {
  const sample = await bench.attempt(`${subject.name}, ${shapeName(shape)}`, async () => {
    const taken = await bench.load.run(subject.target, shape, bench.options);
    if (subject.server.process.failure !== undefined) throw new Error(subject.server.process.failure);
    return taken;
  });
  if (sample === undefined) return false;
  into.samples.push(sample);
  const rate = Math.round(sample.msgPerSec).toLocaleString('en-US');
  bench.say(`  ${subject.name.padEnd(28)} ${sample.cpu[0].cpuUsPerMessage.toFixed(3).padStart(8)} µs  ${rate} msg/s`);
  return true;
}

function rotate<Item>(items: readonly Item[], by: number): Item[] {
  return items.map((_, index) => items[(index + by) % items.length]);
}
