/** Made-up reports of a gateway, for metrics and the admin server. */
import { COUNTERS, type CounterName } from '../../src/engine/tables.gen.js';
import type { BackendReport, GatewayReport } from '../../src/gateway/report.js';

const NO_EVENTS = {
  retries: 0,
  retries_denied: 0,
  late_responses: 0,
  unknown_responses: 0,
  ignored_frames: 0,
  protocol_errors: 0,
  partial_responses: 0,
  client_pauses: 0,
  failures_closed: 0,
};

export function makeBackendReport(parts: Partial<BackendReport> = {}): BackendReport {
  return {
    pool: 'chat',
    name: '127.0.0.1:9101',
    state: 'up',
    links: 1,
    inFlight: 0,
    maxInFlight: 1024,
    weight: 1,
    effectiveWeight: 1,
    latencyMs: 0,
    successes: 0,
    failures: 0,
    ejections: 0,
    ...parts,
  };
}

export type ReportParts = Partial<Omit<GatewayReport, 'outcomes' | 'events'>> & {
  readonly outcomes?: Partial<GatewayReport['outcomes']>;
  readonly events?: Partial<GatewayReport['events']>;
};

export function makeReport({ outcomes, events, ...parts }: ReportParts = {}): GatewayReport {
  return {
    engine: { name: 'epoll', reason: 'asked for', reactors: 2 },
    engineCounters: Object.fromEntries(COUNTERS.map(({ name }) => [name, 0])) as Record<CounterName, number>,
    draining: false,
    clients: [{ listener: 'public', connections: 7 }],
    received: 0,
    open: 0,
    queued: 0,
    outcomes: { answered: 0, failed: 0, timedOut: 0, cancelled: 0, refused: 0, ...outcomes },
    statuses: {},
    latency: { boundsMs: [], buckets: [0], sumMs: 0 },
    closeReasons: {},
    events: { ...NO_EVENTS, ...events },
    backends: [makeBackendReport()],
    ...parts,
  };
}
