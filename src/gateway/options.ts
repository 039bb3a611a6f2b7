/**
 * The configuration a gateway runs on: whole, checked, every default filled in. `src/config` makes it from what a user
 * writes; tests build it by hand. Defaults stand in `src/limits.ts` and, for what the engine does, `protocol/tables.json`.
 */
import type { StrategyName } from './allocator.js';

export type ClientProtocol = 'rmp' | 'plain' | 'lines';

export interface ListenerConfig {
  readonly name: string;
  readonly protocol: ClientProtocol;
  /** IP address; with `port`. */
  readonly host?: string;
  readonly port?: number;
  /** A unix socket instead of host and port. */
  readonly path?: string;
  /** Where the requests of a `plain` or `lines` client go. */
  readonly route: number;
  /** `plain`, `lines`: a failed request closes the connection, or is answered `ERR STATUS sentence` in its place. */
  readonly errorReply: 'close' | 'text';
  /** Longest payload in bytes. */
  readonly maxFrameLength: number;
  readonly maxConnections: number;
  /** Undefined: the engine's default, loopback exempt. */
  readonly maxConnectionsPerIp?: number;
  readonly idleTimeoutMs: number;
  readonly partialFrameTimeoutMs: number;
  readonly writeStallTimeoutMs: number;
  readonly maxBufferedBytes: number;
  /** Partial responses to a client with more than this unsent end its stream with RESOURCE_EXHAUSTED. Bytes. */
  readonly maxStreamBufferedBytes: number;
  /** Requests of one connection that wait for a backend. */
  readonly maxQueuedPerClient: number;
  readonly backlog: number;
  readonly reusePort: boolean;
}

export interface ServerConfig {
  /** As written: `host:port`, `[v6]:port` or `unix:/path`. */
  readonly address: string;
  /** Name or IP address; with `port`. */
  readonly host?: string;
  readonly port?: number;
  /** A unix socket instead of host and port. */
  readonly path?: string;
  readonly weight: number;
}

export interface LinksConfig {
  /** Connected ahead. */
  readonly min: number;
  /** At most, besides the one for long frames. */
  readonly max: number;
  readonly connectTimeoutMs: number;
  readonly reconnectMinMs: number;
  readonly reconnectMaxMs: number;
  /** Say hello on connecting, which offers stream windows. A backend's own hello is answered either way. */
  readonly hello: boolean;
}

export interface HealthConfig {
  /** 0: no pings. */
  readonly pingIntervalMs: number;
  /** A link without any sign of life for so long after a ping is closed (`unhealthy`). */
  readonly pingTimeoutMs: number;
  readonly consecutiveFailures: number;
  readonly ejectMs: number;
  readonly slowStartMs: number;
}

export interface RetryConfig {
  /** Sends of one task at most, the first included. 1: no retries. */
  readonly maxAttempts: number;
  readonly ratio: number;
  readonly windowMs: number;
  readonly minPerSecond: number;
}

export interface PoolConfig {
  readonly name: string;
  readonly strategy: StrategyName;
  /** Consistent hashing: a backend takes at most this multiple of the average load. Undefined: the allocator's default. */
  readonly boundFactor?: number;
  /** Where the request brings no budget. */
  readonly deadlineMs: number;
  /** Per backend. */
  readonly maxInFlight: number;
  /** Longest answer taken from a backend, payload in bytes. */
  readonly maxFrameLength: number;
  readonly links: LinksConfig;
  readonly health: HealthConfig;
  readonly retries: RetryConfig;
  /** 0: names are resolved once. */
  readonly resolveIntervalMs: number;
  readonly servers: readonly ServerConfig[];
}

export interface RouteConfig {
  /** 0 to 65,535. */
  readonly route: number;
  /** Name of a pool. */
  readonly pool: string;
  /** `client`, `key`: one request in flight per connection, or per affinity key (per connection where there is none). */
  readonly orderBy: 'none' | 'client' | 'key';
}

export interface GatewayConfig {
  readonly listeners: readonly ListenerConfig[];
  readonly pools: readonly PoolConfig[];
  readonly routes: readonly RouteConfig[];
  /** Requests that wait for a backend, over all clients. */
  readonly maxQueuedTotal: number;
  readonly drainGraceMs: number;
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';
/** `event` is a stable dotted name (`link.lost`), the fields what it is about. */
export type Log = (level: LogLevel, event: string, fields: Record<string, unknown>) => void;

/** Where a link connects to. */
export interface LinkAddress {
  readonly host?: string;
  readonly port?: number;
  readonly path?: string;
}
