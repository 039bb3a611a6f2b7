/** A whole configuration: the gateway's own and what the command needs around it. Every default is filled in. */
import type { EngineName } from '../engine/engine.js';
import type { GatewayConfig } from '../gateway/options.js';

/** The least grave event that is logged; `silent`: none. */
export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent';

/** What moves the bytes. */
export interface EngineConfig {
  /** Only `auto` falls back. */
  readonly kind: EngineName;
  /** Threads; 0: inside the main loop. */
  readonly reactors: number | 'auto';
  /** Bytes waiting to be sent, over all connections. */
  readonly maxEngineBytes: number;
  /** Bytes held by incomplete frames, over all connections. */
  readonly maxPartialBytes: number;
}

/** What is logged. */
export interface LogConfig {
  /** The least grave event that is. */
  readonly level: LogLevel;
}

/** The server of `/health`, `/ready`, `/metrics` and `/backends`. */
export interface AdminConfig {
  /** Default 127.0.0.1. */
  readonly host: string;
  /** 0 to 65,535; 0 takes a free one. */
  readonly port: number;
}

/** What `loadConfig` gives: a gateway's configuration and what the command needs around it. */
export interface Config extends GatewayConfig {
  /** What moves the bytes. */
  readonly engine: EngineConfig;
  /** What is logged. */
  readonly log: LogConfig;
  /** Undefined: no admin server. */
  readonly admin?: AdminConfig;
}
