/**
 * Frames to a handler: the API that other people's servers and clients are built on.
 *
 *     const server = createServer({ framing: 'length', port: 9000 }, {
 *       frame: (connection, frame) => connection.send(frame),
 *     });
 *     await server.listen();
 */
import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import type {
  CloseInfo,
  Connection,
  ConnectionOptions,
  ConnectOptions,
  Engine,
  EngineName,
  EngineOptions,
  Listener,
  ListenOptions,
} from './engine/engine.js';
import { leaseEngine, type EngineLease } from './engine/shared-engine.js';
import { type CloseReason, ENGINE_LIMITS } from './engine/tables.gen.js';
import { RingwayError } from './errors.js';
import { FrameChannel, type FrameHandlers } from './frame-channel.js';
import { FrameConnection } from './frame-connection.js';
import type { Framing } from './framing/framing.js';
import { type FramingName, framingOf } from './framing/shorthand.js';

/** What servers and outgoing connections have in common. */
interface FrameOptions extends Omit<ConnectionOptions, 'framing'> {
  /** How bytes become frames: a name (`length`, `line`, `varint`, `raw`) or every option of a format. */
  readonly framing: Framing | FramingName;
  /** Longest payload where `framing` is a name. Default 16 MiB. */
  readonly maxFrameLength?: number;
  /**
   * An engine (it stays its owner's), options for one of its own, or the name of one that all in the process share who name it.
   * Default `auto`.
   */
  readonly engine?: Engine | EngineOptions | EngineName;
  /** IP address or name. Default 127.0.0.1. */
  readonly host?: string;
  /** 0 to 65,535. A server given 0 takes a free one. Default 0; an outgoing connection needs one, or a `path`. */
  readonly port?: number;
  /** Of a unix socket, instead of host and port. */
  readonly path?: string;
}

/** Options of `createServer`. */
export interface FrameServerOptions
  extends FrameOptions,
    Pick<ListenOptions, 'backlog' | 'reusePort' | 'ipv6Only' | 'maxConnections' | 'maxConnectionsPerIp'> {
  /** Of a socket that somebody else has bound (systemd, a parent process), instead of an address; it is the server's then. */
  readonly fd?: number;
}

/** Options of `connect`. */
export interface FrameConnectOptions extends FrameOptions, Pick<ConnectOptions, 'connectTimeoutMs'> {}

/** Where a frame server listens, where that is said later than at its making. */
export interface ServerAddressOptions {
  /** IP address or name. Default 127.0.0.1. */
  readonly host?: string;
  /** 0 to 65,535; 0 takes a free one. Default 0. */
  readonly port?: number;
  /** Of a unix socket, instead of host and port. */
  readonly path?: string;
  /** Of a socket that somebody else has bound, instead of an address. */
  readonly fd?: number;
}

/**
 * A server of frames. It listens once `listen` is called.
 *
 * @throws RingwayError `ERR_INVALID_FRAMING`; `ERR_ENGINE_UNAVAILABLE` when a named engine cannot run here.
 */
export function createServer(options: FrameServerOptions, handlers: FrameHandlers): FrameServer {
  return new FrameServer(options, handlers);
}

/** Frames in, frames out. Made by `createServer`; accepts nothing before `listen`. */
export class FrameServer {
  readonly #options: FrameServerOptions;
  readonly #framing: Framing;
  readonly #lease: EngineLease;
  readonly #channel: FrameChannel;
  readonly #connections = new Set<Connection>();
  #listener: Listener | undefined;
  #listening: Promise<Listener['address']> | undefined;
  #closing: Promise<void> | undefined;
  #allClosed: (() => void) | undefined;

  /** Use `createServer`. */
  constructor(options: FrameServerOptions, handlers: FrameHandlers) {
    this.#options = options;
    this.#framing = framingOf(options.framing, options.maxFrameLength);
    this.#lease = leaseEngine(options.engine);
    this.#channel = new FrameChannel(this.#lease.engine, this.#framing, handlers, {
      opened: (connection) => this.#opened(connection),
      closed: (connection, info) => this.#closed(connection, info),
    });
  }

  /** The engine that moves its bytes. */
  get engine(): Engine {
    return this.#lease.engine;
  }

  /** The bound address, with the real port; undefined before `listen` is done. */
  get address(): Listener['address'] | undefined {
    return this.#listener?.address;
  }

  /** Open connections. */
  get connections(): number {
    return this.#connections.size;
  }

  /**
   * @param address Overrides what was given to `createServer`; a host or a port that is left out is the one given there.
   * @throws the system's error (`EADDRINUSE`, `EACCES`, …); RingwayError `ERR_INVALID_OPTION`, `ERR_SERVER_LISTENING`,
   *   `ERR_SERVER_CLOSED`
   */
  listen(address?: ServerAddressOptions): Promise<Listener['address']> {
    if (this.#closing !== undefined) return Promise.reject(new RingwayError('ERR_SERVER_CLOSED'));
    if (this.#listening !== undefined) return Promise.reject(new RingwayError('ERR_SERVER_LISTENING'));
    this.#listening = this.#listen(address ?? this.#options);
    // A failed attempt may be followed by another one.
    this.#listening.catch(() => (this.#listening = undefined));
    return this.#listening;
  }

  async #listen(address: ServerAddressOptions): Promise<Listener['address']> {
    const {
      engine: _engine,
      maxFrameLength: _length,
      host: _host,
      port: _port,
      path: _path,
      fd: _fd,
      ...limits
    } = this.#options;
    const { fd, path } = address;
    const { host = this.#options.host, port = this.#options.port } = address;
    const where = fd !== undefined ? { fd } : path !== undefined ? { path } : await ipAddress(host, port);
    const options = { ...limits, ...where, framing: this.#framing } as ListenOptions;
    this.#listener = await this.engine.listen(options, this.#channel);
    return this.#listener.address;
  }

  #opened(connection: Connection): void {
    this.#connections.add(connection);
  }

  #closed(connection: Connection, info: CloseInfo): void {
    this.#connections.delete(connection);
    if (this.#connections.size === 0) this.#allClosed?.();
    this.#channel.ended(connection.context as FrameConnection, connection.remoteAddress, info);
  }

  /**
   * Stops accepting. Open connections may go on for `graceMs` (default 0) or until they have all ended; then what is queued
   * is sent and they are closed with `going-away`. A peer that has not taken its bytes 2 s later is reset.
   */
  close(options: { readonly graceMs?: number } = {}): Promise<void> {
    this.#closing ??= this.#close(options.graceMs ?? 0);
    return this.#closing;
  }

  async #close(graceMs: number): Promise<void> {
    await this.#listening?.catch(() => undefined);
    await this.#listener?.close();
    const gone = new Promise<void>((resolve) => (this.#allClosed = resolve));
    if (this.#connections.size > 0 && graceMs > 0) await within(gone, graceMs);
    for (const connection of this.#connections) connection.close('going-away');
    // A linger and a little more: it ends by itself.
    if (this.#connections.size > 0) await within(gone, 2 * ENGINE_LIMITS.lingerTimeoutMs);
    for (const connection of this.#connections) connection.abort('going-away');
    if (this.#connections.size > 0) await gone;
    await this.#lease.release();
  }
}

/**
 * An outgoing connection. Never throws for the network: `open` or `close` follows. A host name is resolved to all its
 * addresses, which are tried one after another. What is sent before the connection is there leaves first.
 *
 * @throws RingwayError `ERR_INVALID_OPTION`, `ERR_INVALID_FRAMING`, `ERR_ENGINE_UNAVAILABLE`
 */
export function connect(options: FrameConnectOptions, handlers: FrameHandlers): FrameConnection {
  const framing = framingOf(options.framing, options.maxFrameLength);
  const lease = leaseEngine(options.engine);
  try {
    return new Connecting(options, framing, lease, handlers).connection;
  } catch (error) {
    void lease.release();
    throw error;
  }
}

class Connecting {
  readonly connection: FrameConnection;
  readonly #options: FrameConnectOptions;
  readonly #framing: Framing;
  readonly #lease: EngineLease;
  readonly #channel: FrameChannel;
  /** Still to be tried. */
  #addresses: string[] = [];
  #attempt: Connection | undefined;
  #ended = false;

  constructor(options: FrameConnectOptions, framing: Framing, lease: EngineLease, handlers: FrameHandlers) {
    this.#options = options;
    this.#framing = framing;
    this.#lease = lease;
    this.#channel = new FrameChannel(lease.engine, framing, handlers, {
      opened: (connection) => this.#opened(connection),
      closed: (connection, info) => this.#closed(connection, info),
    });
    const { host } = options;
    const named = host !== undefined && options.path === undefined && isIP(host) === 0;
    this.connection = new FrameConnection(this.#channel, undefined, (reason) => this.#endEarly(reason));
    if (named) void this.#resolve(host);
    else this.connection.attach(this.#try(host));
  }

  async #resolve(host: string): Promise<void> {
    try {
      this.#addresses = (await lookup(host, { all: true })).map(({ address }) => address);
      if (!this.#ended) this.#attempt = this.#try(this.#addresses.shift());
    } catch (error) {
      const { code, message } = error as NodeJS.ErrnoException;
      this.#end({ reason: 'connect-failed', message, errorCode: code, bytesHandedToKernel: 0 });
    }
  }

  #try(host: string | undefined): Connection {
    const { engine: _engine, maxFrameLength: _length, host: _host, ...limits } = this.#options;
    const options = { ...limits, ...(host === undefined ? {} : { host }), framing: this.#framing } as ConnectOptions;
    const connection = this.#lease.engine.connect(options, this.#channel);
    connection.context = this.connection;
    return connection;
  }

  #opened(connection: Connection): void {
    if (connection === this.#attempt) this.connection.attach(connection);
    this.#attempt = undefined;
  }

  #closed(connection: Connection, info: CloseInfo): void {
    if (connection !== this.#attempt || this.#ended) {
      if (!this.#ended) this.#end(info, connection.remoteAddress);
      return;
    }
    const next = this.#addresses.shift();
    if (next === undefined) this.#end(info, connection.remoteAddress);
    else this.#attempt = this.#try(next);
  }

  #endEarly(reason: CloseReason): void {
    this.#attempt?.abort(reason);
    // Not from inside the caller's `close`.
    const message = 'closed before it was established';
    setImmediate(() => this.#end({ reason, message, bytesHandedToKernel: 0 }));
  }

  #end(info: CloseInfo, remote = this.#options.host ?? ''): void {
    if (this.#ended) return;
    this.#ended = true;
    this.connection.detach();
    void this.#lease.release();
    this.#channel.ended(this.connection, remote, info);
  }
}

/** @throws the resolver's error (`ENOTFOUND`, …) */
async function ipAddress(host: string | undefined, port = 0): Promise<{ host?: string; port: number }> {
  if (host === undefined) return { port };
  return { host: isIP(host) === 0 ? (await lookup(host)).address : host, port };
}

async function within(promise: Promise<void>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<void>((resolve) => (timer = setTimeout(resolve, ms)));
  await Promise.race([promise, timeout]);
  clearTimeout(timer);
}
