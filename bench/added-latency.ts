/** What a gateway adds to a latency: with it minus without it, under one and the same load. */
import { isDirect } from './cases.js';
import type { Latency } from './load.js';
import type { Results } from './results.js';
import type { Series } from './rounds.js';
import { describeSubject, directOf } from './subjects.js';
import { answeredShare, latencyOf } from './summary.js';
import { figure, type Table } from './table.js';

/** Where less was answered in the time it was due in, a queue grew, and its length is no property of a gateway. */
export const LEAST_ANSWERED = 0.98;
const ADDED = ['p50', 'p90', 'p99'] as const satisfies readonly (keyof Latency)[];

/** With the gateway minus without it, under one and the same load: a lone client, and the rates that are common to all. */
export function addedLatencyTable({ series, arrivals }: Results): Table | undefined {
  const lone = series.filter((one) => one.case === 'relay-1x1');
  const rates = [...new Set(arrivals.filter(({ share }) => share === undefined).map((one) => one.ratePerSec))];
  const rows = [
    ...addedRows('one lone client', lone),
    ...rates.flatMap((rate) =>
      addedRows(
        `${figure(rate)} msg/s`,
        arrivals.filter((one) => one.share === undefined && one.ratePerSec === rate),
      ),
    ),
  ];
  if (rows.length === 0) return undefined;
  const note = 'medians of the percentiles with the gateway minus those of the same load straight on one backend';
  return { title: 'added latency', note, headings: ['load', 'gateway', 'p50 µs', 'p90', 'p99', ''], rows };
}

type Measured = Pick<Series, 'subject' | 'samples'>;

function addedRows(load: string, measured: readonly Measured[]): string[][] {
  return measured
    .filter(({ subject }) => !isDirect(subject))
    .flatMap((gateway) => {
      const direct = measured.find(({ subject }) => subject === directOf(gateway.subject));
      return direct === undefined ? [] : [[load, describeSubject('relay', gateway.subject), ...added(gateway, direct)]];
    });
}

/** The differences, or why there are none. */
function added(gateway: Measured, direct: Measured): string[] {
  const behind = [gateway, direct].find(({ samples }) => answeredShare(samples) < LEAST_ANSWERED);
  if (behind !== undefined) {
    const who = behind === gateway ? 'the gateway' : 'the backend alone';
    return [
      ...ADDED.map(() => ''),
      `${who} answered ${(100 * answeredShare(behind.samples)).toFixed(1)} % of what was due`,
    ];
  }
  const [withIt, without] = [gateway, direct].map(({ samples }) => latencyOf(samples));
  return [...ADDED.map((name) => figure(withIt[name] - without[name])), ''];
}
