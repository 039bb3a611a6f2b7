/**
 * Latency at a constant arrival rate: a message is due at its time, whether or not earlier ones were answered, and its latency counts
 * from then. A closed loop would stop asking while the server stalls, and so hide what the stall did to everybody else.
 */
import type { Bench } from './bench.js';
import { ARRIVAL_SHARES, type ArrivalCase, COMMON_RATES } from './cases.js';
import type { Sample } from './load.js';
import { ARRIVAL_ROUNDS, ARRIVAL_SECONDS } from './plan.js';
import { seededRandom, shuffle } from './random.js';
import { measureOnce, type Series } from './rounds.js';
import { median } from './statistics.js';
import type { SubjectPool } from './subjects.js';

export interface ArrivalSeries {
  readonly case: string;
  readonly subject: string;
  /** Of the server's own capacity; undefined: a rate that is the same for all. */
  readonly share: number | undefined;
  readonly ratePerSec: number;
  readonly samples: Sample[];
}

export async function measureArrivals(
  bench: Bench,
  plan: ArrivalCase,
  closed: readonly Series[],
  pool: SubjectPool,
): Promise<ArrivalSeries[]> {
  const series = planSeries(bench, plan, closed);
  const rounds = Math.min(ARRIVAL_ROUNDS, bench.options.rounds);
  const random = seededRandom(bench.options.seed);
  for (let round = 1; round <= rounds; round++) {
    bench.say(`${plan.name}: round ${round} of ${rounds}`);
    for (const one of shuffle(series, random)) {
      const subject = await pool.get(one.subject);
      if (subject === undefined) continue;
      const times = { seconds: ARRIVAL_SECONDS, warmupSeconds: bench.options.warmupSeconds, rate: one.ratePerSec };
      const sample = await measureOnce(bench, subject, { ...plan, behind: 'echo' }, times);
      if (sample !== undefined) one.samples.push(sample);
    }
  }
  return series.filter(({ samples }) => samples.length > 0);
}

function planSeries(bench: Bench, plan: ArrivalCase, closed: readonly Series[]): ArrivalSeries[] {
  return plan.subjects.flatMap((subject) => {
    const at = (ratePerSec: number, share?: number): ArrivalSeries => ({
      ...{ case: plan.name, subject, share, ratePerSec, samples: [] },
    });
    if (plan.capacityOf === undefined) return COMMON_RATES.map((rate) => at(rate));
    const measured = closed.find((one) => one.case === plan.capacityOf && one.subject === subject);
    if (measured === undefined) {
      bench.note(`${plan.name}, ${subject}: its capacity is measured by ${plan.capacityOf}, which did not run`);
      return [];
    }
    const capacity = median(measured.samples.map(({ msgPerSec }) => msgPerSec));
    return ARRIVAL_SHARES.map((share) => at(share * capacity, share));
  });
}
