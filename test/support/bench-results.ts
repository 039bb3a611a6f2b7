/** Results of a bench that never ran: what tables, goals and comparisons are tested with. */
import type { CpuTime, Sample } from '../../bench/load.js';
import { FORMAT, type Results } from '../../bench/results.js';
import type { Series } from '../../bench/rounds.js';

/** One second in which a server used so many CPU-µs per message, four fifths of them in the kernel. */
export function sample(cpuUs: number, more: Partial<Sample> = {}): Sample {
  const messages = 100_000;
  return {
    ...{ messages, seconds: 1, msgPerSec: messages, generatorUs: 500_000 },
    latencyUs: { p50: 10 * cpuUs, p90: 20 * cpuUs, p99: 40 * cpuUs, p999: 80 * cpuUs, max: 160 * cpuUs },
    cpu: [cpuTime(cpuUs * messages)],
    ...more,
  };
}

/** A fifth of it user time, as far as ticks of 10 ms say. */
export function cpuTime(totalUs: number): CpuTime {
  return {
    totalUs,
    userTicks: Math.round((0.2 * totalUs) / 10_000),
    systemTicks: Math.round((0.8 * totalUs) / 10_000),
  };
}

export function series(name: string, subject: string, cpuUs: readonly number[]): Series {
  return { case: name, subject, samples: cpuUs.map((each) => sample(each)) };
}

export function results(of: readonly Series[], more: Partial<Results> = {}): Results {
  return {
    ...{
      format: FORMAT,
      at: '2026-01-02T03:04:05.678Z',
      rounds: 5,
      seconds: 1,
      seed: 7,
      backends: 'native',
      minutes: 12,
    },
    machine: {
      ...{ cpu: 'a processor', cores: 2, memoryGiB: 8, kernel: '6.1', node: 'v20.19.0', v8: '11.3', commit: 'abc1234' },
      ...{ congestionControl: 'cubic', peers: { haproxy: '2.6', nginx: null }, load: 0.1 },
    },
    ...{ notes: [], failures: [], series: of, shapes: { 'echo-500x1': '500 × 1, 64 B' } },
    ...{ arrivals: [], memory: [], inside: [], ...more },
  };
}
