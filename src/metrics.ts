/**
 * Metrics in Prometheus' text format, by prom-client. Nothing is counted here: the gateway and the engine count in plain
 * arrays on their way, and a scrape reads them. So a metric costs nothing until somebody asks.
 */
import { collectDefaultMetrics, type Metric, Registry } from 'prom-client';
import { COUNTERS } from './engine/tables.gen.js';
import type { BackendState } from './gateway/backend.js';
import type { BackendReport, GatewayReport } from './gateway/report.js';

/** What else a gateway counts. */
export const EVENTS = {
  retries: 'times a request was sent again',
  retries_denied: 'times a request was not sent again because the retry budget was used up',
  late_responses: 'responses to tasks that had their outcome',
  unknown_responses: 'responses that nobody asked for',
  ignored_frames: 'frames of unknown kinds of 128 and above, and others that were passed over',
  protocol_errors: 'connections closed because the peer broke the protocol',
  partial_responses: 'partial responses passed on',
  client_pauses: 'times reading from a client was stopped: it does not take its answers, or has too much waiting',
  failures_closed: 'connections of plain and lines clients closed because a request failed',
} as const satisfies Record<EventName, string>;

export type EventName = keyof GatewayReport['events'];

export type ReadReport = () => GatewayReport;

const STATES: readonly BackendState[] = ['up', 'down', 'ejected', 'trial', 'draining'];

type Labels = Readonly<Record<string, string>>;
/** One value of a metric, with its labels. */
type Sample = readonly [value: number, labels?: Labels];

interface MetricRow {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge';
  readonly labels?: readonly string[];
  readonly read: (report: GatewayReport) => readonly Sample[];
}

const one =
  (read: (report: GatewayReport) => number) =>
  (report: GatewayReport): Sample[] => [[read(report)]];
const byKey =
  (label: string, read: (report: GatewayReport) => Readonly<Record<string, number>>) =>
  (report: GatewayReport): Sample[] =>
    Object.entries(read(report)).map(([key, value]) => [value, { [label]: key }]);
const byBackend =
  (read: (backend: BackendReport) => number) =>
  (report: GatewayReport): Sample[] =>
    report.backends.map((backend) => [read(backend), { pool: backend.pool, backend: backend.name }]);

const BACKEND = ['pool', 'backend'] as const;

/** Every metric of the gateway itself, but the histogram. Names are stable: dashboards depend on them. */
const METRICS: readonly MetricRow[] = [
  {
    name: 'ringway_engine_info',
    help: 'the engine that runs, and why; always 1',
    type: 'gauge',
    labels: ['engine', 'reactors', 'reason'],
    read: ({ engine }) => [[1, { engine: engine.name, reactors: String(engine.reactors), reason: engine.reason }]],
  },
  {
    name: 'ringway_draining',
    help: '1 while the gateway drains',
    type: 'gauge',
    read: one((report) => Number(report.draining)),
  },
  {
    name: 'ringway_client_connections',
    help: 'open connections of clients',
    type: 'gauge',
    labels: ['listener'],
    read: ({ clients }) => clients.map(({ listener, connections }) => [connections, { listener }]),
  },
  {
    name: 'ringway_tasks_received_total',
    help: 'requests received',
    type: 'counter',
    read: one((report) => report.received),
  },
  {
    name: 'ringway_tasks_open',
    help: 'requests without an outcome',
    type: 'gauge',
    read: one((report) => report.open),
  },
  {
    name: 'ringway_tasks_queued',
    help: 'requests that wait for a backend',
    type: 'gauge',
    read: one((report) => report.queued),
  },
  {
    name: 'ringway_tasks_total',
    help: 'requests by their outcome',
    type: 'counter',
    labels: ['outcome'],
    read: byKey('outcome', (report) => report.outcomes),
  },
  {
    name: 'ringway_responses_total',
    help: 'final responses by their status',
    type: 'counter',
    labels: ['status'],
    read: byKey('status', (report) => report.statuses),
  },
  {
    name: 'ringway_connections_closed_total',
    help: 'connections closed, by reason',
    type: 'counter',
    labels: ['reason'],
    read: byKey('reason', (report) => report.closeReasons),
  },
  ...Object.entries(EVENTS).map(
    ([name, help]): MetricRow => ({
      name: `ringway_${name}_total`,
      help,
      type: 'counter',
      read: one((report) => report.events[name as EventName]),
    }),
  ),
  {
    name: 'ringway_backend_state',
    help: '1 for the state a backend is in',
    type: 'gauge',
    labels: [...BACKEND, 'state'],
    read: ({ backends }) =>
      backends.flatMap(({ pool, name, state }) =>
        STATES.map((its): Sample => [Number(its === state), { pool, backend: name, state: its }]),
      ),
  },
  {
    name: 'ringway_backend_links',
    help: 'established links',
    type: 'gauge',
    labels: BACKEND,
    read: byBackend((backend) => backend.links),
  },
  {
    name: 'ringway_backend_in_flight',
    help: 'requests sent and unanswered',
    type: 'gauge',
    labels: BACKEND,
    read: byBackend((backend) => backend.inFlight),
  },
  {
    name: 'ringway_backend_latency_seconds',
    help: 'average over the last answers',
    type: 'gauge',
    labels: BACKEND,
    read: byBackend((backend) => backend.latencyMs / 1000),
  },
  {
    name: 'ringway_backend_successes_total',
    help: 'requests it answered, errors that are not its fault included',
    type: 'counter',
    labels: BACKEND,
    read: byBackend((backend) => backend.successes),
  },
  {
    name: 'ringway_backend_failures_total',
    help: 'requests that failed by its fault',
    type: 'counter',
    labels: BACKEND,
    read: byBackend((backend) => backend.failures),
  },
  {
    name: 'ringway_backend_ejections_total',
    help: 'times it was ejected',
    type: 'counter',
    labels: BACKEND,
    read: byBackend((backend) => backend.ejections),
  },
  ...COUNTERS.map(
    ({ name, help }): MetricRow => ({
      name: `ringway_engine_${name}_total`,
      help,
      type: 'counter',
      read: one((report) => report.engineCounters[name]),
    }),
  ),
];

/**
 * Node's own, of the library. Not the distribution of the event loop's delay: its timer of 10 ms alone keeps an idle gateway at
 * 2.4 % of a core, and with a longer one it would say the timer's length. `nodejs_eventloop_lag_seconds` is measured at each scrape.
 */
function collectProcessMetrics(register: Registry): void {
  collectDefaultMetrics({ register, eventLoopMonitoringPrecision: 60_000 });
  for (const name of ['min', 'max', 'mean', 'stddev', 'p50', 'p90', 'p99']) {
    register.removeSingleMetric(`nodejs_eventloop_lag_${name}_seconds`);
  }
}

/** A registry whose values are read at each scrape. Node's own process metrics come along. */
export function createMetrics(read: ReadReport): Registry {
  const registry = new Registry();
  collectProcessMetrics(registry);
  const current = oncePerScrape(read);
  for (const row of METRICS) {
    const { name, help, type } = row;
    register(registry, {
      name,
      help,
      type,
      read: () => row.read(current()).map(([value, labels = {}]) => ({ value, labels })),
    });
  }
  register(registry, {
    name: LATENCY,
    help: 'from receipt to outcome, of requests that were answered or failed',
    type: 'histogram',
    read: () => latencyValues(current()),
  });
  return registry;
}

/** A scrape asks every metric within one turn: they share one report. */
function oncePerScrape(read: ReadReport): ReadReport {
  let report: GatewayReport | undefined;
  return () => {
    if (report === undefined) {
      report = read();
      queueMicrotask(() => {
        report = undefined;
      });
    }
    return report;
  };
}

interface Value {
  readonly metricName?: string;
  readonly value: number;
  readonly labels: Readonly<Record<string, string | number>>;
}

interface ReadMetric {
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge' | 'histogram';
  readonly read: () => Value[];
}

/** prom-client's own metrics count by themselves; ours are counted already, so only what a registry asks for is given. */
function register(registry: Registry, { name, help, type, read }: ReadMetric): void {
  const metric = { name, help, type, get: async () => ({ name, help, type, values: read(), aggregator: 'sum' }) };
  registry.registerMetric(metric as unknown as Metric);
}

const LATENCY = 'ringway_task_seconds';

/** Cumulative, as Prometheus wants it. */
function latencyValues({ latency }: GatewayReport): Value[] {
  const { boundsMs, buckets, sumMs } = latency;
  const values: Value[] = [];
  let count = 0;
  for (let i = 0; i <= boundsMs.length; i++) {
    count += buckets[i];
    const le = i < boundsMs.length ? boundsMs[i] / 1000 : '+Inf';
    values.push({ metricName: `${LATENCY}_bucket`, value: count, labels: { le } });
  }
  values.push({ metricName: `${LATENCY}_sum`, value: sumMs / 1000, labels: {} });
  values.push({ metricName: `${LATENCY}_count`, value: count, labels: {} });
  return values;
}
