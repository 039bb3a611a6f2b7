/** From samples to lines: medians, ratios, and whether they reach what they must. */
import type { Series } from './bench.js';
import { NODE_NET, onEngine } from './echo.js';
import type { IdleSeries } from './idle.js';
import type { Sample } from './load.js';
import { median } from './median.js';
import { gatewayName, PROTOCOLS } from './relay.js';
import { ECHO_ROWS, IDLE_LIMIT_BYTES, RELAY_ROWS, shapeName } from './rows.js';

export type Verdict = 'met' | 'MISSED';

export interface Comparison {
  readonly against: string;
  readonly ratio: number;
  readonly limit?: number;
  readonly verdict?: Verdict;
}

/** One server in one row; numbers are medians over the rounds. */
export interface Line {
  readonly row: string;
  readonly server: string;
  readonly cpuUsPerMessage: number;
  readonly cpuLowest: number;
  readonly cpuHighest: number;
  readonly msgPerSec: number;
  readonly p50Us: number;
  readonly p99Us: number;
  /** Of the servers behind a relay, together. */
  readonly backendsCpuUsPerMessage?: number;
  readonly loadCpuUsPerMessage: number;
  readonly comparisons: readonly Comparison[];
}

export interface IdleLine {
  readonly row: string;
  readonly server: string;
  readonly addedBytes: number;
  readonly addedPerConnection: number;
  readonly touchedBytes: number | undefined;
  readonly limitBytes?: number;
  readonly verdict?: Verdict;
}

const NATIVE = ['io_uring', 'epoll'] as const;

export function echoLines(series: readonly Series[]): Line[] {
  return ECHO_ROWS.flatMap(({ shape, limit }) => {
    const inRow = series.filter((one) => one.shape === shape);
    const judged: readonly string[] = NATIVE.map(onEngine);
    return inRow.map((one) =>
      line(one, [compare(one, inRow, NODE_NET, judged.includes(one.subject) ? limit : undefined)]),
    );
  });
}

export function relayLines(series: readonly Series[]): Line[] {
  return RELAY_ROWS.flatMap(({ shape, limit, portableLimit }) => {
    const inRow = series.filter((one) => one.shape === shape);
    return inRow.map((one) => {
      const protocol = PROTOCOLS.find((name) => one.subject.endsWith(`, ${name}`));
      if (protocol === undefined) return line(one, [compare(one, inRow, 'haproxy')]);
      const native = NATIVE.some((engine) => one.subject === gatewayName(engine, protocol));
      return line(one, [
        compare(one, inRow, 'haproxy', native ? limit : undefined),
        compare(one, inRow, gatewayName('portable', protocol), native ? portableLimit : undefined),
      ]);
    });
  });
}

export function idleLines(series: readonly IdleSeries[]): IdleLine[] {
  return series.map(({ subject, connections, addedBytes, touchedBytes }) => {
    const added = median(addedBytes);
    const judged = NATIVE.some((engine) => subject === onEngine(engine));
    return {
      row: `${connections} idle connections`,
      server: subject,
      addedBytes: added,
      addedPerConnection: added / connections,
      touchedBytes: touchedBytes.length > 0 ? median(touchedBytes) : undefined,
      ...(judged ? { limitBytes: IDLE_LIMIT_BYTES, verdict: verdict(added, IDLE_LIMIT_BYTES) } : {}),
    };
  });
}

function line({ part, shape, subject, samples }: Series, comparisons: (Comparison | undefined)[]): Line {
  const cpu = samples.map(serverCpu);
  const of = (field: 'msgPerSec' | 'p50Us' | 'p99Us' | 'loadCpuUsPerMessage') =>
    median(samples.map((one) => one[field]));
  const behind = samples.map(({ cpu: [, ...backends] }) => backends.reduce((sum, one) => sum + one.cpuUsPerMessage, 0));
  return {
    row: `${part} ${shapeName(shape)}`,
    server: subject,
    cpuUsPerMessage: median(cpu),
    cpuLowest: Math.min(...cpu),
    cpuHighest: Math.max(...cpu),
    msgPerSec: of('msgPerSec'),
    p50Us: of('p50Us'),
    p99Us: of('p99Us'),
    ...(samples[0].cpu.length > 1 ? { backendsCpuUsPerMessage: median(behind) } : {}),
    loadCpuUsPerMessage: of('loadCpuUsPerMessage'),
    comparisons: comparisons.filter((one) => one !== undefined),
  };
}

/** Nothing when the other was not measured, or is the same. */
function compare(one: Series, inRow: readonly Series[], against: string, limit?: number): Comparison | undefined {
  const other = inRow.find(({ subject }) => subject === against);
  if (other === undefined || other === one) return undefined;
  const ratio = median(one.samples.map(serverCpu)) / median(other.samples.map(serverCpu));
  return { against, ratio, ...(limit === undefined ? {} : { limit, verdict: verdict(ratio, limit) }) };
}

const serverCpu = (sample: Sample): number => sample.cpu[0].cpuUsPerMessage;
const verdict = (value: number, limit: number): Verdict => (value <= limit ? 'met' : 'MISSED');
