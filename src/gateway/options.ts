/**
 * The configuration a gateway runs on: whole, checked, every default filled in. `src/config` makes it from what a user
 * writes; tests build it by hand. Defaults stand in `src/limits.ts` and, for what the engine does, `protocol/tables.json`.
 */
import type { StrategyName } from './allocator.js';

/** `rmp`: multiplexed, with statuses and streams. `plain`: a length and that many bytes. `lines`: text lines. The last two are answered in order. */
export type ClientProtocol = 'rmp' | 'plain' | 'lines';

/** Where clients connect, and what is asked of them. */
export interface ListenerConfig {
  /** For logs and metrics. */
  readonly name: string;
  /** What its clients speak. */
  readonly protocol: ClientProtocol;
  /** IP address; with `port`. */
  readonly host?: string;
  /** 0 to 65,535; 0 takes a free one. */
  readonly port?: number;
  /** A unix socket instead of host and port. */
  readonly path?: string;
  /** Where the requests of a `plain` or `lines` client go. */
  readonly route: number;
  /** `plain`, `lines`: a failed request closes the connection, or is answered `ERR STATUS sentence` in its place. */
  readonly errorReply: 'close' | 'text';
  /** Longest payload in bytes. */
  readonly maxFrameLength: number;
  /** Open at once; more are closed at accept. */
  readonly maxConnections: number;
  /** Undefined: the engine's default, loopback exempt. */
  readonly maxConnectionsPerIp?: number;
  /** ms without traffic or open task until a client is closed. 0: never. */
  readonly idleTimeoutMs: number;
  /** ms for one frame to become whole, plus its length at 16 KB/s. 0: no limit. */
  readonly partialFrameTimeoutMs: number;
  /** ms in which a client takes no byte until it is closed. 0: no limit. */
  readonly writeStallTimeoutMs: number;
  /** Bytes waiting for a client; more close it. */
  readonly maxBufferedBytes: number;
  /** Partial responses to a client with more than this unsent end its stream with RESOURCE_EXHAUSTED. Bytes. */
  readonly maxStreamBufferedBytes: number;
  /** Requests of one connection that wait for a backend. */
  readonly maxQueuedPerClient: number;
  /** listen(2)'s. */
  readonly backlog: number;
  /** Whether several processes may listen there (SO_REUSEPORT). */
  readonly reusePort: boolean;
}

/** One backend of a pool (several where its name has several addresses). */
export interface ServerConfig {
  /** As written: `host:port`, `[v6]:port` or `unix:/path`. */
  readonly address: string;
  /** Name or IP address; with `port`. */
  readonly host?: string;
  /** 1 to 65,535. */
  readonly port?: number;
  /** A unix socket instead of host and port. */
  readonly path?: string;
  /** Its share against others, 0.01 to 1,000. */
  readonly weight: number;
}

/** Connections to each backend; tasks are multiplexed on them. */
export interface LinksConfig {
  /** Connected ahead. */
  readonly min: number;
  /** At most, besides the one for long frames. */
  readonly max: number;
  /** ms. */
  readonly connectTimeoutMs: number;
  /** First pause before connecting again, in ms; doubled each time, halved at random. */
  readonly reconnectMinMs: number;
  /** Longest such pause, in ms. */
  readonly reconnectMaxMs: number;
  /** Say hello on connecting, which offers stream windows. A backend's own hello is answered if nothing was sent before it. */
  readonly hello: boolean;
}

/** When a backend is left alone, and when it is tried again. */
export interface HealthConfig {
  /** 0: no pings. */
  readonly pingIntervalMs: number;
  /** A link without any sign of life for so long after a ping is closed (`unhealthy`). */
  readonly pingTimeoutMs: number;
  /** So many in a row eject a backend. */
  readonly consecutiveFailures: number;
  /** ms before a trial; longer each time. */
  readonly ejectMs: number;
  /** ms over which a backend that came back gets its whole share. 0: at once. */
  readonly slowStartMs: number;
}

/** Second attempts: only of what provably was not begun, or says that it may run twice. */
export interface RetryConfig {
  /** Sends of one task at most, the first included. 1: no retries. */
  readonly maxAttempts: number;
  /** Retries per request over the last window. */
  readonly ratio: number;
  /** What the budget remembers, in ms. */
  readonly windowMs: number;
  /** Retries a second that are always allowed. */
  readonly minPerSecond: number;
}

/** Backends that do the same work, and how tasks are spread over them. */
export interface PoolConfig {
  /** What routes name it by. */
  readonly name: string;
  /** Who gets the next task. */
  readonly strategy: StrategyName;
  /** Consistent hashing: a backend takes at most this multiple of the average load. Undefined: the allocator's default. */
  readonly boundFactor?: number;
  /** Where the request brings no budget. */
  readonly deadlineMs: number;
  /** Per backend. */
  readonly maxInFlight: number;
  /** Longest answer taken from a backend, payload in bytes. */
  readonly maxFrameLength: number;
  /** Connections to each backend. */
  readonly links: LinksConfig;
  /** Ejection and trial. */
  readonly health: HealthConfig;
  /** Second attempts. */
  readonly retries: RetryConfig;
  /** 0: names are resolved once. */
  readonly resolveIntervalMs: number;
  /** The backends. */
  readonly servers: readonly ServerConfig[];
}

/** Which pool serves a route number. */
export interface RouteConfig {
  /** 0 to 65,535. */
  readonly route: number;
  /** Name of a pool. */
  readonly pool: string;
  /** `client`, `key`: one request in flight per connection, or per affinity key (per connection where there is none). */
  readonly orderBy: 'none' | 'client' | 'key';
}

/** All a gateway runs on, with every default filled in; `loadConfig` makes it. */
export interface GatewayConfig {
  /** Where clients connect. */
  readonly listeners: readonly ListenerConfig[];
  /** Groups of backends. */
  readonly pools: readonly PoolConfig[];
  /** Which pool serves what. */
  readonly routes: readonly RouteConfig[];
  /** Requests that wait for a backend, over all clients. */
  readonly maxQueuedTotal: number;
  /** ms that a drain gives what is in flight, where it is not told otherwise. */
  readonly drainGraceMs: number;
}

/** How grave an event is. */
export type LogLevel = 'debug' | 'info' | 'warn' | 'error';
/** `event` is a stable dotted name (`link.lost`), the fields what it is about. */
export type Log = (level: LogLevel, event: string, fields: Record<string, unknown>) => void;

/** Where a link connects to. */
export interface LinkAddress {
  readonly host?: string;
  readonly port?: number;
  readonly path?: string;
}
