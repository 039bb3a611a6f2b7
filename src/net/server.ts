/**
 * `net.Server`: a listener of the engine that makes sockets. Names, the order of events and errors are Node's.
 *
 * A function and not a class, for the reason that `Socket` is one.
 */
import { AsyncResource } from 'node:async_hooks';
import { channel, tracingChannel } from 'node:diagnostics_channel';
import { EventEmitter } from 'node:events';
import { chmodSync, statSync } from 'node:fs';
import { Server as NodeServer } from 'node:net';
import { getDefaultHighWaterMark } from 'node:stream';
import { promisify } from 'node:util';
import type { Connection, Listener, ListenOptions as EngineListenOptions } from '../engine/engine.js';
import { type SocketName, localName, remoteName } from './address.js';
import { type Callback, normalizeArguments, type Options } from './arguments.js';
import { isBlocked } from './block-list.js';
import { netEngine, SOCKET_OPTIONS } from './engine.js';
import { invalidType, listenError, nodeError } from './errors.js';
import { Inbox, type Notice, type Scope } from './inbox.js';
import { likeNode } from './like-node.js';
import { type ListenTarget, listenTarget } from './listen-arguments.js';
import { resolveHost } from './resolve-host.js';
import { Socket } from './socket.js';
import { checkNumber, checkSignal } from './validate.js';

const socketChannel = channel('net.server.socket');
const listenChannel = tracingChannel('net.server.listen');
const DEFAULT_BACKLOG = 511;
/** listen(2) takes a negative one for as many as the system allows. */
const LARGEST_BACKLOG = 65_535;
/** Until Node 21 a limit of 0 was none. */
const NOBODY_AT_ZERO = Number.parseInt(process.versions.node, 10) >= 21;

export interface ServerOptions {
  allowHalfOpen?: boolean;
  pauseOnConnect?: boolean;
  noDelay?: boolean;
  keepAlive?: boolean;
  keepAliveInitialDelay?: number;
  highWaterMark?: number;
  blockList?: unknown;
}

/** What a server listens on, where a user looks for a handle. */
export class ListenHandle extends AsyncResource implements Scope {
  readonly listener: Listener;
  isClosed = false;

  constructor(listen: (inbox: Inbox) => Listener, accept: (connection: Connection) => void) {
    super('TCPSERVERWRAP', { requireManualDestroy: true });
    this.listener = listen(
      new Inbox(this, (connection) => {
        // What the kernel had accepted before the server closed.
        if (this.isClosed) connection.abort();
        else accept(connection);
      }),
    );
  }

  take(notice: Notice): void {
    if (typeof notice === 'function') this.runInAsyncScope(notice);
  }

  ref(): void {
    this.listener.ref();
  }

  unref(): void {
    this.listener.unref();
  }

  close(): void {
    this.isClosed = true;
    void this.listener.close();
    this.emitDestroy();
  }
}

export class ServerMethods extends EventEmitter {
  declare allowHalfOpen: boolean;
  declare pauseOnConnect: boolean;
  declare noDelay: boolean;
  declare keepAlive: boolean;
  declare keepAliveInitialDelay: number;
  declare highWaterMark: number;
  declare blockList: unknown;
  declare maxConnections: number | undefined;
  declare dropMaxConnection: boolean | undefined;
  declare _connections: number;
  declare _handle: ListenHandle | null;
  declare _unref: boolean;
  declare _listeningId: number;
  declare _pipeName: string | undefined;
  declare _connectionKey: string | undefined;

  listen(...args: unknown[]): this {
    const [options, callback] = normalizeArguments(args);
    if (this._handle) {
      throw nodeError(
        Error,
        'ERR_SERVER_ALREADY_LISTEN',
        'Listen method has been called more than once without closing.',
      );
    }
    if (listenChannel.asyncStart.hasSubscribers) listenChannel.asyncStart.publish({ server: this, options });
    if (callback !== null) this.once('listening', callback);
    this._listeningId++;
    closeOnAbort(this, options);
    const target = listenTarget(args, options);
    if (target.name === undefined) {
      listenNow(this, target);
      return this;
    }
    const { _listeningId } = this;
    resolveHost(target.name, (error, address) => {
      if (_listeningId !== this._listeningId) return;
      if (error) this.emit('error', error);
      else listenNow(this, { ...target, host: address });
    });
    return this;
  }

  close(callback?: Callback): this {
    this._listeningId++;
    if (typeof callback === 'function') {
      if (this._handle) {
        this.once('close', callback);
      } else {
        this.once('close', () => callback(nodeError(Error, 'ERR_SERVER_NOT_RUNNING', 'Server is not running.')));
      }
    }
    if (this._handle) {
      this._handle.close();
      this._handle = null;
    }
    this._emitCloseIfDrained();
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this._handle) return;
    await promisify(this.close as (callback: (error?: Error) => void) => void).call(this);
  }

  _emitCloseIfDrained(): void {
    if (this._handle || this._connections) return;
    process.nextTick(() => this.emit('close'));
  }

  get listening(): boolean {
    return Boolean(this._handle);
  }

  address(): SocketName | string | null {
    const address = this._handle?.listener.address;
    if (address === undefined) return this._pipeName ?? null;
    if ('path' in address) return this._pipeName ?? address.path;
    return { address: address.host, family: address.host.includes(':') ? 'IPv6' : 'IPv4', port: address.port };
  }

  getConnections(callback: (error: Error | null, count: number) => void): this {
    process.nextTick(callback, null, this._connections);
    return this;
  }

  ref(): this {
    this._unref = false;
    this._handle?.ref();
    return this;
  }

  unref(): this {
    this._unref = true;
    this._handle?.unref();
    return this;
  }

  override [EventEmitter.captureRejectionSymbol](error: Error, event: string, socket: { destroy(error: Error): void }) {
    if (event === 'connection') socket.destroy(error);
    else this.emit('error', error);
  }
}

// --- listening

function listenNow(server: ServerMethods, target: ListenTarget): void {
  if (target.path !== undefined) server._pipeName = target.path;
  try {
    server._handle = new ListenHandle(
      (inbox) => listenOn(target, inbox),
      (connection) => accept(server, connection),
    );
  } catch (error) {
    const failure = failureOf(error as NodeJS.ErrnoException, target);
    if (listenChannel.error.hasSubscribers) {
      listenChannel.error.publish({ server, error: failure } as never);
    }
    process.nextTick(() => server.emit('error', failure));
    return;
  }
  if (target.readableAll || target.writableAll) openToAll(target);
  if (listenChannel.asyncEnd.hasSubscribers) listenChannel.asyncEnd.publish({ server } as never);
  const { host, port, path } = target;
  server._connectionKey = path === undefined ? `${host?.includes(':') ? 6 : 4}:${host}:${port}` : `-1:${path}:-1`;
  if (server._unref) server.unref();
  process.nextTick(() => {
    if (server._handle) server.emit('listening');
  });
}

/** Without a host: `::`, which takes IPv4 too, or 0.0.0.0 where there is no IPv6. */
function listenOn(target: ListenTarget, inbox: Inbox): Listener {
  const { host, port, path, fd, ipv6Only, backlog, reusePort } = target;
  const engine = netEngine();
  const options = {
    ...SOCKET_OPTIONS,
    backlog: (backlog < 0 ? LARGEST_BACKLOG : Math.trunc(backlog)) || DEFAULT_BACKLOG,
    maxConnections: 0,
    maxConnectionsPerIp: 0,
    reusePort,
    ipv6Only,
  };
  const listen = (address: object): Listener => {
    const listener = engine.listenNow?.({ ...options, ...address } as unknown as EngineListenOptions, inbox);
    if (listener === undefined) throw new TypeError(`the ${engine.name} engine cannot listen at once`);
    return listener;
  };
  if (fd !== undefined) return listen({ fd });
  if (path !== undefined) return listen({ path });
  if (host !== undefined) return listen({ host, port });
  try {
    return listen({ host: '::', port });
  } catch {
    return listen({ host: '0.0.0.0', port });
  }
}

/** libuv adds to what the mask left; from 1.51 at the latest (1.46 is Node 20's) it sets just what was asked for. */
const ADDS_TO_MODE = Number(process.versions.uv.split('.')[1]) <= 46;

function openToAll({ path, readableAll, writableAll }: ListenTarget): void {
  if (path === undefined) return;
  const before = ADDS_TO_MODE ? statSync(path).mode & 0o777 : 0;
  chmodSync(path, before | (readableAll ? 0o444 : 0) | (writableAll ? 0o222 : 0));
}

/** Node names the address it tried last. */
function failureOf(error: NodeJS.ErrnoException, { host, port, path, fd }: ListenTarget): Error {
  // A path that is too long, which no engine of ours takes.
  if (error.code === 'ERR_INVALID_OPTION') return listenError('EINVAL', 'listen', path ?? host ?? '::', port ?? -1);
  if (error.code === undefined || error.code.startsWith('ERR_')) return error;
  // libuv's way of saying that a socket's folder is not there.
  if (path !== undefined) return listenError(error.code === 'ENOENT' ? 'EACCES' : error.code, 'listen', path, -1);
  if (fd !== undefined) return listenError(error.code, 'listen', null, undefined);
  return listenError(error.code, 'listen', host ?? '::', port);
}

function closeOnAbort(server: ServerMethods, { signal }: Options): void {
  if (signal === undefined) return;
  checkSignal('options.signal', signal);
  const abort = () => server.close();
  if (signal.aborted) {
    process.nextTick(abort);
    return;
  }
  signal.addEventListener('abort', abort, { once: true });
  server.once('close', () => signal.removeEventListener('abort', abort));
}

// --- accepting

function accept(server: ServerMethods, connection: Connection): void {
  if (isFull(server) || isRefused(server, connection)) {
    if (connection.remoteFamily === 'unix') server.emit('drop');
    else server.emit('drop', dropDataOf(connection));
    connection.destroy();
    return;
  }
  const socket = new Socket({
    connection,
    isAccepted: true,
    allowHalfOpen: server.allowHalfOpen,
    pauseOnCreate: server.pauseOnConnect,
    readable: true,
    writable: true,
    readableHighWaterMark: server.highWaterMark,
    writableHighWaterMark: server.highWaterMark,
  });
  if (server.noDelay) socket.setNoDelay(true);
  if (server.keepAlive) socket.setKeepAlive(true, server.keepAliveInitialDelay * 1000);
  server._connections++;
  socket.server = server;
  socket._server = server;
  server.emit('connection', socket);
  if (socketChannel.hasSubscribers) socketChannel.publish({ socket });
}

function isFull({ maxConnections, _connections }: ServerMethods): boolean {
  if (maxConnections == null || (maxConnections === 0 && !NOBODY_AT_ZERO)) return false;
  return _connections >= maxConnections;
}

function isRefused({ blockList }: ServerMethods, { remoteAddress, remoteFamily }: Connection): boolean {
  return remoteFamily !== 'unix' && isBlocked(blockList, remoteAddress, remoteFamily);
}

function dropDataOf(connection: Connection): Record<string, unknown> {
  const local = localName(connection);
  const remote = remoteName(connection);
  return Object.assign(Object.create(null), {
    localAddress: local.address,
    localPort: local.port,
    localFamily: local.family,
    remoteAddress: remote.address,
    remotePort: remote.port,
    remoteFamily: remote.family,
  });
}

// --- the function

function construct(server: ServerMethods, given: unknown, connectionListener: unknown): void {
  (EventEmitter as unknown as (this: EventEmitter) => void).call(server);
  const isListener = typeof given === 'function';
  if (!isListener && given != null && typeof given !== 'object') {
    throw invalidType('options', 'of type object', given);
  }
  const options: ServerOptions = isListener || given == null ? {} : { ...(given as ServerOptions) };
  const listener = isListener ? given : connectionListener;
  if (typeof listener === 'function') server.on('connection', listener as (socket: unknown) => void);
  if (options.keepAliveInitialDelay !== undefined) {
    checkNumber('options.keepAliveInitialDelay', options.keepAliveInitialDelay);
  }
  if (options.highWaterMark !== undefined) checkNumber('options.highWaterMark', options.highWaterMark);
  server._connections = 0;
  server._handle = null;
  server._unref = false;
  server._listeningId = 1;
  server.allowHalfOpen = options.allowHalfOpen || false;
  server.pauseOnConnect = Boolean(options.pauseOnConnect);
  server.noDelay = Boolean(options.noDelay);
  server.keepAlive = Boolean(options.keepAlive);
  server.keepAliveInitialDelay = ~~(Math.max(0, options.keepAliveInitialDelay as number) / 1000);
  const { highWaterMark } = options;
  server.highWaterMark =
    highWaterMark === undefined || highWaterMark < 0 ? getDefaultHighWaterMark(false) : highWaterMark;
  if (options.blockList !== undefined) server.blockList = options.blockList;
}

interface ServerFunction {
  new (options?: unknown, connectionListener?: unknown): ServerMethods;
  (options?: unknown, connectionListener?: unknown): ServerMethods;
  readonly prototype: ServerMethods;
}

export const Server = function (this: unknown, options?: unknown, connectionListener?: unknown): unknown {
  if (!(this instanceof ServerMethods)) return new Server(options, connectionListener);
  construct(this, options, connectionListener);
  return this;
} as unknown as ServerFunction;
Object.defineProperty(Server, 'prototype', { value: ServerMethods.prototype, writable: true });
Object.defineProperty(ServerMethods.prototype, 'constructor', { value: Server, writable: true, configurable: true });
Object.defineProperty(Server, 'name', { value: 'Server', configurable: true });
Object.setPrototypeOf(Server, EventEmitter);
likeNode(Server, ServerMethods.prototype, NodeServer, []);
