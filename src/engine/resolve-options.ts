/** Checked options of listeners and connections, the same for every engine: defaults filled in, impossible values refused. */
import { isIP } from 'node:net';
import { RingwayError, shown } from '../errors.js';
import { type ResolvedFraming, resolveFraming } from '../framing/validate-framing.js';
import type { ConnectionOptions, ConnectOptions, ListenOptions } from './engine.js';
import { ENGINE_LIMITS } from './tables.gen.js';

const DEFAULT_HOST = '127.0.0.1';
/** The kernel's sun_path, with its final zero. */
const LONGEST_PATH = 107;
/** An abstract name has no final zero, but one in front. */
const LONGEST_ABSTRACT = 108;
/** Of timers: the largest number of ms that setTimeout and an int32 hold (24 days). */
const LONGEST_MS = 2 ** 31 - 1;
const LARGEST_COUNT = 2 ** 31 - 1;

export type ResolvedAddress = { readonly host: string; readonly port: number } | { readonly path: string };

/** Or a socket that somebody else has bound. */
export type ResolvedListenAddress = ResolvedAddress | { readonly fd: number };

export interface ResolvedConnectionOptions {
  readonly framing: ResolvedFraming;
  readonly idleTimeoutMs: number;
  readonly partialFrameTimeoutMs: number;
  readonly writeStallTimeoutMs: number;
  readonly highWaterMark: number;
  readonly lowWaterMark: number;
  readonly maxBufferedBytes: number;
  readonly isAccounted: boolean;
  readonly noDelay: boolean;
  readonly keepAliveMs: number;
}

export interface ResolvedListenOptions {
  readonly address: ResolvedListenAddress;
  readonly connection: ResolvedConnectionOptions;
  readonly backlog: number;
  readonly reusePort: boolean;
  readonly ipv6Only: boolean;
  /** 0: no limit. */
  readonly maxConnections: number;
  /** 0: no limit. */
  readonly maxConnectionsPerIp: number;
  /** False where `maxConnectionsPerIp` was given: it then holds for loopback too. */
  readonly loopbackExempt: boolean;
}

export interface ResolvedConnectOptions {
  readonly address: ResolvedAddress;
  readonly connection: ResolvedConnectionOptions;
  readonly connectTimeoutMs: number;
  /** Empty: any. */
  readonly localAddress: string;
  readonly localPort: number;
}

/** @throws RingwayError `ERR_INVALID_OPTION`, `ERR_INVALID_FRAMING` */
export function resolveListenOptions(options: ListenOptions): ResolvedListenOptions {
  return {
    address: options.fd === undefined ? resolveAddress(options, 0) : { fd: resolveFd(options.fd, options) },
    connection: resolveConnectionOptions(options),
    backlog: count('backlog', options.backlog, ENGINE_LIMITS.backlog, 1),
    reusePort: boolean('reusePort', options.reusePort, false),
    ipv6Only: boolean('ipv6Only', options.ipv6Only, false),
    maxConnections: count('maxConnections', options.maxConnections, ENGINE_LIMITS.maxConnections, 0),
    maxConnectionsPerIp: count(
      'maxConnectionsPerIp',
      options.maxConnectionsPerIp,
      ENGINE_LIMITS.maxConnectionsPerIp,
      0,
    ),
    loopbackExempt: options.maxConnectionsPerIp === undefined,
  };
}

/** @throws RingwayError `ERR_INVALID_OPTION`, `ERR_INVALID_FRAMING` */
export function resolveConnectOptions(options: ConnectOptions): ResolvedConnectOptions {
  const address = resolveAddress(options, 1);
  return {
    address,
    ...resolveLocal(options, address),
    connection: resolveConnectionOptions(options),
    connectTimeoutMs: milliseconds('connectTimeoutMs', options.connectTimeoutMs, ENGINE_LIMITS.connectTimeoutMs),
  };
}

export function resolveConnectionOptions(options: ConnectionOptions): ResolvedConnectionOptions {
  const highWaterMark = count('highWaterMark', options.highWaterMark, ENGINE_LIMITS.highWaterMark, 0);
  const lowWaterMark = count('lowWaterMark', options.lowWaterMark, Math.floor(highWaterMark / 2), 0);
  if (lowWaterMark > highWaterMark) {
    throw refuse('lowWaterMark', lowWaterMark, `it must be at most highWaterMark, ${highWaterMark}`);
  }
  return {
    framing: resolveFraming(options.framing),
    idleTimeoutMs: milliseconds('idleTimeoutMs', options.idleTimeoutMs, ENGINE_LIMITS.idleTimeoutMs),
    partialFrameTimeoutMs: milliseconds(
      'partialFrameTimeoutMs',
      options.partialFrameTimeoutMs,
      ENGINE_LIMITS.partialFrameTimeoutMs,
    ),
    writeStallTimeoutMs: milliseconds(
      'writeStallTimeoutMs',
      options.writeStallTimeoutMs,
      ENGINE_LIMITS.writeStallTimeoutMs,
    ),
    highWaterMark,
    lowWaterMark,
    maxBufferedBytes: resolveBytes('maxBufferedBytes', options.maxBufferedBytes, ENGINE_LIMITS.maxBufferedBytes),
    isAccounted: boolean('isAccounted', options.isAccounted, true),
    noDelay: boolean('noDelay', options.noDelay, true),
    keepAliveMs: milliseconds('keepAliveMs', options.keepAliveMs, ENGINE_LIMITS.keepAliveMs),
  };
}

/** Bytes of a bound (`maxEngineBytes`, `maxPartialBytes`, `maxBufferedBytes`). */
export function resolveBytes(name: string, value: number | undefined, otherwise: number): number {
  return integer(name, value ?? otherwise, 1, Number.MAX_SAFE_INTEGER);
}

function resolveAddress(
  options: { readonly host?: string; readonly port?: number; readonly path?: string },
  leastPort: number,
): ResolvedAddress {
  const { host, port, path } = options;
  if (path !== undefined) {
    if (port !== undefined || host !== undefined) throw refuse('path', path, 'give a path, or a host and a port');
    const longest = typeof path === 'string' && path.startsWith('\0') ? LONGEST_ABSTRACT : LONGEST_PATH;
    if (typeof path !== 'string' || path === '' || path === '\0' || Buffer.byteLength(path) > longest) {
      throw refuse('path', path, `it must be the path of a unix socket, 1 to ${LONGEST_PATH} bytes`);
    }
    return { path };
  }
  if (host !== undefined && (typeof host !== 'string' || isIP(host) === 0)) {
    throw refuse('host', host, 'it must be an IP address (names are resolved before the engine is asked)');
  }
  if (port === undefined) throw refuse('port', port, 'give a port, or a path');
  return { host: host ?? DEFAULT_HOST, port: integer('port', port, leastPort, 65535) };
}

/** Of a descriptor that the caller hands over. */
export function resolveFd(
  fd: number,
  rest: { readonly host?: string; readonly port?: number; readonly path?: string } = {},
) {
  const { host, port, path } = rest;
  if (host !== undefined || port !== undefined || path !== undefined) {
    throw refuse('fd', fd, 'give a descriptor, or an address');
  }
  return integer('fd', fd, 0, LARGEST_COUNT);
}

/** A port alone needs an address to be bound to: the wildcard of the peer's family. */
function resolveLocal(
  options: ConnectOptions,
  address: ResolvedAddress,
): Pick<ResolvedConnectOptions, 'localAddress' | 'localPort'> {
  const { localAddress, localPort = 0 } = options;
  if (localAddress === undefined && localPort === 0) return { localAddress: '', localPort: 0 };
  if ('path' in address)
    throw refuse('localAddress', localAddress ?? localPort, 'a unix socket is bound to no address');
  if (localAddress !== undefined && (typeof localAddress !== 'string' || isIP(localAddress) === 0)) {
    throw refuse('localAddress', localAddress, 'it must be an IP address');
  }
  const wildcard = isIP(address.host) === 6 ? '::' : '0.0.0.0';
  return { localAddress: localAddress ?? wildcard, localPort: integer('localPort', localPort, 0, 65535) };
}

function count(name: string, value: number | undefined, otherwise: number, least: number): number {
  return integer(name, value ?? otherwise, least, LARGEST_COUNT);
}

function milliseconds(name: string, value: number | undefined, otherwise: number): number {
  return integer(name, value ?? otherwise, 0, LONGEST_MS);
}

function integer(name: string, value: unknown, least: number, most: number): number {
  if (!Number.isInteger(value) || (value as number) < least || (value as number) > most) {
    throw refuse(name, value, `it must be an integer from ${least} to ${most}`);
  }
  return value as number;
}

function boolean(name: string, value: unknown, otherwise: boolean): boolean {
  if (value !== undefined && typeof value !== 'boolean') throw refuse(name, value, 'it must be true or false');
  return value ?? otherwise;
}

function refuse(name: string, value: unknown, right: string): RingwayError {
  return new RingwayError('ERR_INVALID_OPTION', [name, shown(value), right]);
}
