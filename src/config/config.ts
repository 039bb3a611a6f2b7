/** A whole configuration: the gateway's own and what the command needs around it. Every default is filled in. */
import type { EngineName } from '../engine/engine.js';
import type { GatewayConfig } from '../gateway/options.js';
import type { LOG_LEVELS } from './names.js';

export type LogLevel = (typeof LOG_LEVELS)[number];

export interface EngineConfig {
  readonly kind: EngineName;
  readonly reactors: number | 'auto';
  readonly maxEngineBytes: number;
  readonly maxPartialBytes: number;
}

export interface AdminConfig {
  /** Default 127.0.0.1. */
  readonly host: string;
  readonly port: number;
}

export interface Config extends GatewayConfig {
  readonly engine: EngineConfig;
  readonly log: { readonly level: LogLevel };
  /** Undefined: no admin server. */
  readonly admin?: AdminConfig;
}
