/** What must be reached, what is aimed at, and whether this run reached it. A ratio is that of medians of interleaved rounds. */
import {
  C_EPOLL,
  C_URING,
  HAPROXY,
  MANY,
  NATIVE_ENGINES,
  NODE_NET,
  NODE_NET_GATEWAY,
  NODE_NET_GATEWAY_PER_CHUNK,
} from './cases.js';
import { serverCpu } from './load.js';
import type { MemorySeries } from './memory.js';
import type { Series } from './rounds.js';
import { type Interval, median, ratioInterval } from './statistics.js';

export interface Goal {
  readonly row: string;
  /** CPU per message; p50 of latency; CPU per message at many connections over that at 500; bytes per idle connection. */
  readonly measure: 'cpu' | 'p50' | 'growth' | 'bytes';
  readonly case: string;
  readonly of: readonly string[];
  /**
   * The value is a ratio to this server's, of several to the best one's; none: the value itself counts. `portable` means: with the
   * same client protocol.
   */
  readonly against: readonly string[];
  /** Undefined: shown, not judged. */
  readonly must: number | undefined;
  readonly aim?: number;
}

export type Verdict = 'aim met' | 'must met' | 'MISSED' | 'shown';

export interface GoalLine {
  readonly row: string;
  readonly measure: Goal['measure'];
  readonly subject: string;
  readonly against: string | undefined;
  readonly value: number;
  /** 95 % bootstrap interval of a ratio of medians; of single samples there is none. */
  readonly interval: Interval | undefined;
  readonly must: number | undefined;
  readonly aim: number | undefined;
  readonly verdict: Verdict;
}

const ENGINES: readonly string[] = NATIVE_ENGINES;
/** The better one of a row is as little as this machine can do. */
const FLOORS = [C_URING, C_EPOLL];
const JS_GATEWAYS = [NODE_NET_GATEWAY, NODE_NET_GATEWAY_PER_CHUNK];
const GATEWAYS = NATIVE_ENGINES.flatMap((engine) => [engine, `${engine}:rmp`]);

const cpu = (
  row: string,
  of: readonly string[],
  name: string,
  against: string | readonly string[],
  must?: number,
  aim?: number,
): Goal => ({ row, measure: 'cpu', case: name, of, against: [against].flat(), must, aim });

export const GOALS: readonly Goal[] = [
  cpu('echo 500 × 1', ENGINES, 'echo-500x1', NODE_NET, 0.6, 0.5),
  cpu('echo 500 × 1', ['io_uring'], 'echo-500x1', C_URING, 1.25, 1.05),
  cpu('echo 500 × 1, the better floor', ENGINES, 'echo-500x1', FLOORS),
  cpu('echo 500 × 16', ENGINES, 'echo-500x16', NODE_NET, 0.5),
  cpu('echo 50 × 16', ['io_uring'], 'echo-50x16', C_URING, 2.2, 1.5),
  cpu('echo 50 × 16, the better floor', ENGINES, 'echo-50x16', FLOORS),
  { row: 'echo 1 × 1, p50', measure: 'p50', case: 'echo-1x1', of: ENGINES, against: [NODE_NET], must: 1, aim: 0.7 },
  cpu('echo 50 × 1, 4 KB', ENGINES, 'echo-50x1-4k', NODE_NET, 0.85),
  cpu('echo 50 × 1, 16 KB', ENGINES, 'echo-50x1-16k', NODE_NET, 0.8, 0.6),
  cpu('relay 500 × 1', GATEWAYS, 'relay-500x1', HAPROXY, 0.55, 0.4),
  cpu('relay 500 × 16', GATEWAYS, 'relay-500x16', HAPROXY, 0.7, 0.5),
  cpu('relay 50 × 1, 16 KB', ENGINES, 'relay-50x1-16k', HAPROXY, 1, 0.8),
  cpu('relay 500 × 1', ENGINES, 'relay-500x1', JS_GATEWAYS, 0.4, 0.33),
  cpu('relay 500 × 1', GATEWAYS, 'relay-500x1', 'portable', 0.5),
  cpu('relay 500 × 16', GATEWAYS, 'relay-500x16', 'portable', 0.5),
  {
    row: 'CPU per message at 10,000 connections over 500',
    ...{ measure: 'growth', case: 'echo-10000x1', of: ['io_uring'], against: [C_URING], must: 1.15, aim: 1.05 },
  },
  {
    row: 'CPU per message at 10,000 connections over 500, the better floor',
    ...{ measure: 'growth', case: 'echo-10000x1', of: ENGINES, against: FLOORS, must: undefined },
  },
  {
    row: 'bytes per idle connection',
    measure: 'bytes',
    case: 'memory',
    of: ENGINES,
    against: [],
    must: 1024,
    aim: 512,
  },
  {
    row: 'MB of 10,000 idle connections',
    measure: 'bytes',
    case: 'memory',
    of: ENGINES,
    against: [],
    must: 15e6,
  },
];

const GROWTH_BASE = 'echo-500x1';

/** Lines of goals that were measured; what was not is not judged. */
export function judgeGoals(series: readonly Series[], memory: readonly MemorySeries[], goals = GOALS): GoalLine[] {
  return goals.flatMap((goal) => goal.of.flatMap((subject) => judge(goal, subject, series, memory) ?? []));
}

function judge(
  goal: Goal,
  subject: string,
  series: readonly Series[],
  memory: readonly MemorySeries[],
): GoalLine | undefined {
  if (goal.measure === 'bytes') return judgeBytes(goal, subject, memory);
  const own = measured(goal, subject, series);
  const others = goal.against
    .map((name) => (name === 'portable' && subject.endsWith(':rmp') ? 'portable:rmp' : name))
    .flatMap((name) => {
      const values = measured(goal, name, series);
      return values === undefined ? [] : [{ name, values }];
    });
  if (own === undefined || others.length === 0) return undefined;
  const best = others.reduce((a, b) => (median(b.values) < median(a.values) ? b : a));
  const interval = Math.min(own.length, best.values.length) < 2 ? undefined : ratioInterval(own, best.values);
  return line(goal, subject, best.name, median(own) / median(best.values), interval);
}

function measured({ measure, case: name }: Goal, subject: string, series: readonly Series[]): number[] | undefined {
  const samplesOf = (its: string) => series.find((one) => one.case === its && one.subject === subject)?.samples;
  const samples = samplesOf(name);
  if (measure !== 'growth') {
    return samples?.map(measure === 'p50' ? ({ latencyUs }) => latencyUs.p50 : serverCpu);
  }
  const base = samplesOf(GROWTH_BASE);
  if (samples === undefined || base === undefined) return undefined;
  const baseCpu = median(base.map(serverCpu));
  return samples.map((sample) => serverCpu(sample) / baseCpu);
}

/** A limit over a million is one of all connections together. */
function judgeBytes(goal: Goal, subject: string, memory: readonly MemorySeries[]): GoalLine | undefined {
  const its = memory.find((one) => one.subject === subject);
  if (its === undefined) return undefined;
  const together = (goal.must ?? 0) > 1e6;
  if (together && its.connections !== MANY) return undefined;
  const added = median(its.addedBytes);
  return line(goal, subject, undefined, together ? added : added / its.connections);
}

function line(goal: Goal, subject: string, against: string | undefined, value: number, interval?: Interval): GoalLine {
  const { row, measure, must, aim } = goal;
  return { row, measure, subject, against, value, interval, must, aim, verdict: verdictOf(value, must, aim) };
}

function verdictOf(value: number, must: number | undefined, aim: number | undefined): Verdict {
  if (must === undefined) return 'shown';
  if (value > must) return 'MISSED';
  return aim !== undefined && value <= aim ? 'aim met' : 'must met';
}
