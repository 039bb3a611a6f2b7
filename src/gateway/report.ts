/** What a gateway has counted and holds now, as plain numbers made at the moment of asking: for metrics and the admin server. */
import type { Engine } from '../engine/engine.js';
import type { CounterName } from '../engine/tables.gen.js';
import { statusName } from '../protocol/status-error.js';
import type { BackendState } from './backend.js';
import type { Pool } from './pool.js';
import type { Relay } from './relay.js';
import type { ClientCounters, Session } from './session.js';
import { LATENCY_BOUNDS_MS, Outcome, type OutcomeName } from './tracker.js';

/** One backend, as it is now; counts are of its whole life. */
export interface BackendReport {
  /** Its pool's name. */
  readonly pool: string;
  /** `host:port`, or the path of a unix socket. */
  readonly name: string;
  /** Whether it gets tasks. */
  readonly state: BackendState;
  /** Established links. */
  readonly links: number;
  /** Tasks sent and unanswered. */
  readonly inFlight: number;
  /** Most that it is given at once. */
  readonly maxInFlight: number;
  /** As configured. */
  readonly weight: number;
  /** Less than `weight` during slow start. */
  readonly effectiveWeight: number;
  /** Average over the last answers, in ms. */
  readonly latencyMs: number;
  /** Answers that do not count against it: OK, and errors that are the request's. RESOURCE_EXHAUSTED counts as neither. */
  readonly successes: number;
  /** Answers and ends that count against it. */
  readonly failures: number;
  /** How often it was left alone. */
  readonly ejections: number;
}

/** The engine under a gateway. */
export interface EngineReport {
  /** Which driver runs. */
  readonly name: string;
  /** Why this one. */
  readonly reason: string;
  /** Threads; 0: inside the main loop. */
  readonly reactors: number;
}

/** Clients of one listener. */
export interface ListenerReport {
  /** The listener's name. */
  readonly listener: string;
  /** Open now. */
  readonly connections: number;
}

/** A histogram. */
export interface LatencyReport {
  /** Upper bounds of the buckets, in ms; the last bucket has none. */
  readonly boundsMs: readonly number[];
  /** Tasks in each bucket, one more than there are bounds. */
  readonly buckets: ArrayLike<number>;
  /** Of all tasks together, in ms. */
  readonly sumMs: number;
}

/** Counts, by the names that they have in `/metrics`. */
export interface EventsReport {
  /** Second and further attempts. */
  readonly retries: number;
  /** Attempts that the budget did not allow. */
  readonly retries_denied: number;
  /** Responses to tasks that had ended. */
  readonly late_responses: number;
  /** Responses to nothing that was ever asked. */
  readonly unknown_responses: number;
  /** Frames of kinds that are passed over. */
  readonly ignored_frames: number;
  /** Connections closed because the peer broke the protocol. */
  readonly protocol_errors: number;
  /** Partial responses passed on. */
  readonly partial_responses: number;
  /** Times reading from a client was stopped: it does not take its answers, or has too much waiting. */
  readonly client_pauses: number;
  /** Connections of `plain` and `lines` clients closed because a request failed (`errorReply: close`). */
  readonly failures_closed: number;
}

/** What a gateway has counted and holds at the moment of asking. */
export interface GatewayReport {
  /** What moves the bytes. */
  readonly engine: EngineReport;
  /** Counts of the engine's whole life. */
  readonly engineCounters: Readonly<Record<CounterName, number>>;
  /** Since `drain` was called. */
  readonly draining: boolean;
  /** Open connections of clients, by listener. */
  readonly clients: readonly ListenerReport[];
  /** Tasks; at any moment the sum of `outcomes` and `open`. */
  readonly received: number;
  /** Tasks without an outcome. */
  readonly open: number;
  /** Of those, the ones that wait for a backend. */
  readonly queued: number;
  /** How many tasks ended how. */
  readonly outcomes: Readonly<Record<OutcomeName, number>>;
  /** How many responses had which status, by its name. */
  readonly statuses: Readonly<Record<string, number>>;
  /** From a task's arrival to its outcome. */
  readonly latency: LatencyReport;
  /** Of clients and links together. */
  readonly closeReasons: Readonly<Record<string, number>>;
  /** What happened beside the ordinary. */
  readonly events: EventsReport;
  /** Of all pools. */
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
      partial_responses: counters.partials,
      client_pauses: clientCounters.pauses,
      failures_closed: clientCounters.failuresClosed,
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
