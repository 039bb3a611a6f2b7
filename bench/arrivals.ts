/**
 * Latency at a constant arrival rate: a message is due at its time, whether or not earlier ones were answered, and its latency counts
 * from then. A closed loop would stop asking while the server stalls, and so hide what the stall did to everybody else.
 */
import type { Bench } from './bench.js';
import { ARRIVAL_SHARES, type ArrivalCase } from './cases.js';
import type { Sample } from './load.js';
import { ARRIVAL_ROUNDS, ARRIVAL_SECONDS, directSubjects } from './plan.js';
import { measureOnce, type Series } from './rounds.js';
import { median } from './statistics.js';
import type { SubjectPool } from './subjects.js';

export interface ArrivalSeries {
  readonly case: string;
  readonly subject: string;
  /** Of the capacity of the server named in `capacityOf`. */
  readonly share: number;
  readonly capacityOf: string;
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
  const times = { seconds: ARRIVAL_SECONDS, warmupSeconds: bench.options.warmupSeconds };
  for (let round = 1; round <= rounds; round++) {
    for (const share of ARRIVAL_SHARES) {
      bench.say(`${plan.name}: ${100 * share} % of capacity, round ${round} of ${rounds}`);
      for (const one of series.filter((its) => its.share === share)) {
        const subject = await pool.get(one.subject);
        if (subject === undefined) continue;
        const sample = await measureOnce(
          bench,
          subject,
          { ...plan, behind: 'echo' },
          { ...times, rate: one.ratePerSec },
        );
        if (sample !== undefined) one.samples.push(sample);
      }
    }
  }
  return series.filter(({ samples }) => samples.length > 0);
}

/** Each server at shares of its own capacity; the load without a gateway at those of the io_uring gateway. */
function planSeries(bench: Bench, plan: ArrivalCase, closed: readonly Series[]): ArrivalSeries[] {
  const wanted: [subject: string, capacityOf: string][] = plan.subjects.map((name) => [name, name]);
  if (plan.room === 'relay') {
    for (const direct of directSubjects(plan.subjects)) {
      wanted.push([direct, direct.endsWith(':rmp') ? 'io_uring:rmp' : 'io_uring']);
    }
  }
  return wanted.flatMap(([subject, capacityOf]) => {
    const measured = closed.find((one) => one.case === plan.capacityOf && one.subject === capacityOf);
    if (measured === undefined) {
      if (subject !== 'bun')
        bench.note(`${plan.name}, ${subject}: its capacity is measured by ${plan.capacityOf}, which did not run`);
      return [];
    }
    const capacity = median(measured.samples.map(({ msgPerSec }) => msgPerSec));
    return ARRIVAL_SHARES.map((share) => ({
      ...{ case: plan.name, subject, share, capacityOf, ratePerSec: share * capacity, samples: [] },
    }));
  });
}
