/** Every figure of a run that another run can be compared with: what was measured, on whom, and its samples. */
import type { ArrivalSeries } from './arrivals.js';
import { type Sample, serverCpu } from './load.js';
import type { MemorySeries } from './memory.js';
import type { Results } from './results.js';
import type { Series } from './rounds.js';
import { parseEngine } from './subjects.js';

export type Measure = 'CPU-µs/msg' | 'p50 µs' | 'p99 µs' | 'connects/s' | 'bytes/connection' | 'bytes/connection used';

export interface Figure {
  readonly case: string;
  readonly subject: string;
  readonly measure: Measure;
  readonly values: readonly number[];
  /** More is better. */
  readonly isRate: boolean;
  /** At a constant arrival rate. */
  readonly ratePerSec?: number;
}

/** Everything that is not ours to change. */
export function isPeer(subject: string): boolean {
  return parseEngine(subject) === undefined;
}

export function figuresOf({ series, arrivals, memory }: Results): Figure[] {
  return [...series.flatMap(ofClosedLoop), ...arrivals.flatMap(ofArrivals), ...memory.flatMap(ofMemory)];
}

const latencies = (samples: readonly Sample[]): [Measure, number[]][] => [
  ['p50 µs', samples.map(({ latencyUs }) => latencyUs.p50)],
  ['p99 µs', samples.map(({ latencyUs }) => latencyUs.p99)],
];

function ofClosedLoop({ case: name, subject, samples }: Series): Figure[] {
  const costs: [Measure, number[]][] = [['CPU-µs/msg', samples.map(serverCpu)], ...latencies(samples)];
  const connects = samples.flatMap(({ connectsPerSec }) => connectsPerSec ?? []);
  return [
    ...costs.map(([measure, values]) => ({ case: name, subject, measure, values, isRate: false })),
    ...(connects.length === 0
      ? []
      : [{ case: name, subject, measure: 'connects/s' as const, values: connects, isRate: true }]),
  ];
}

function ofArrivals({ case: name, subject, share, ratePerSec, samples }: ArrivalSeries): Figure[] {
  const at = share === undefined ? `${ratePerSec} msg/s` : `${Math.round(100 * share)} %`;
  return latencies(samples).map(([measure, values]) => ({
    ...{ case: `${name} at ${at}`, subject, measure, values, isRate: false, ratePerSec },
  }));
}

function ofMemory({ subject, connections, addedBytes, touchedBytes }: MemorySeries): Figure[] {
  const each = (measure: Measure, bytes: readonly number[]): Figure[] =>
    bytes.length === 0
      ? []
      : [{ case: 'memory', subject, measure, values: bytes.map((one) => one / connections), isRate: false }];
  return [...each('bytes/connection', addedBytes), ...each('bytes/connection used', touchedBytes)];
}
