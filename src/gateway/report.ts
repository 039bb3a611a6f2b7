/** What a gateway has counted and holds now, as plain numbers made at the moment of asking: for metrics and the admin server. */
import type { Engine } from '../engine/engine.js';
import type { CounterName } from '../engine/tables.gen.js';
import { statusName } from '../protocol/status-error.js';
import type { BackendState } from './backend.js';
import type { Pool } from './pool.js';
import type { Relay } from './relay.js';
import type { ClientCounters, Session } from './session.js';
import { LATENCY_BOUNDS_MS, Outcome, type OutcomeName } from './tracker.js';

export interface BackendReport {
  readonly pool: string;
  readonly name: string;
  readonly state: BackendState;
  /** Established links. */
  readonly links: number;
  readonly inFlight: number;
  readonly maxInFlight: number;
  readonly weight: number;
  /** Less than `weight` during slow start. */
  readonly effectiveWeight: number;
  /** Average over the last answers, in ms. */
  readonly latencyMs: number;
  readonly successes: number;
  readonly failures: number;
  readonly ejections: number;
}

export interface GatewayReport {
  readonly engine: { readonly name: string; readonly reason: string; readonly reactors: number };
  readonly engineCounters: Readonly<Record<CounterName, number>>;
  readonly draining: boolean;
  readonly clients: readonly { readonly listener: string; readonly connections: number }[];
  /** Tasks; at any moment the sum of `outcomes` and `open`. */
  readonly received: number;
  readonly open: number;
  readonly queued: number;
  readonly outcomes: Readonly<Record<OutcomeName, number>>;
  readonly statuses: Readonly<Record<string, number>>;
  readonly latency: {
    readonly boundsMs: readonly number[];
    readonly buckets: ArrayLike<number>;
    readonly sumMs: number;
  };
  /** Of clients and links together. */
  readonly closeReasons: Readonly<Record<string, number>>;
  readonly events: {
    readonly retries: number;
    readonly retries_denied: number;
    readonly late_responses: number;
    readonly unknown_responses: number;
    readonly ignored_frames: number;
    readonly protocol_errors: number;
  };
  readonly backends: readonly BackendReport[];
}

export interface ReportSources {
  readonly engine: Engine;
  readonly relay: Relay;
  readonly pools: readonly Pool[];
  readonly listeners: readonly { readonly name: string; readonly sessions: ReadonlySet<Session> }[];
  readonly clientCounters: ClientCounters;
  readonly draining: boolean;
}

export function makeReport(sources: ReportSources): GatewayReport {
  const { engine, relay, clientCounters } = sources;
  const { tracker, counters } = relay;
  return {
    engine: { name: engine.name, reason: engine.reason, reactors: engine.reactors },
    engineCounters: engine.counters(),
    draining: sources.draining,
    clients: sources.listeners.map(({ name, sessions }) => ({ listener: name, connections: sessions.size })),
    received: tracker.received,
    open: tracker.open,
    queued: relay.queued,
    outcomes: outcomesOf(tracker.outcomes),
    statuses: statusesOf(tracker.statuses),
    latency: { boundsMs: LATENCY_BOUNDS_MS, buckets: tracker.latencyBuckets.slice(), sumMs: tracker.latencySumMs },
    closeReasons: Object.fromEntries(clientCounters.closeReasons),
    events: {
      retries: counters.retries,
      retries_denied: counters.retriesDenied,
      late_responses: counters.lateResponses,
      unknown_responses: counters.unknownResponses,
      ignored_frames: counters.ignoredFrames + clientCounters.ignoredFrames,
      protocol_errors: counters.protocolErrors + clientCounters.protocolErrors,
    },
    backends: sources.pools.flatMap((pool) => backendsOf(pool, engine.now())),
  };
}

function backendsOf(pool: Pool, now: number): BackendReport[] {
  return pool.links.map(({ backend }) => ({
    pool: pool.config.name,
    name: backend.name,
    state: backend.state(now),
    links: backend.connected,
    inFlight: backend.outstanding,
    maxInFlight: backend.maxInFlight,
    weight: backend.weight,
    effectiveWeight: backend.effectiveWeight(now),
    latencyMs: backend.latencyMs,
    successes: backend.successes,
    failures: backend.failures,
    ejections: backend.ejections,
  }));
}

function outcomesOf(counts: Float64Array): Record<OutcomeName, number> {
  const names = Object.keys(Outcome) as OutcomeName[];
  return Object.fromEntries(names.map((name) => [name, counts[Outcome[name]]])) as Record<OutcomeName, number>;
}

/** The last place counts all codes beyond the table. */
function statusesOf(counts: Float64Array): Record<string, number> {
  const statuses: Record<string, number> = {};
  for (let code = 0; code < counts.length; code++) {
    if (counts[code] > 0) statuses[code === counts.length - 1 ? 'OTHER' : statusName(code)] = counts[code];
  }
  return statuses;
}
