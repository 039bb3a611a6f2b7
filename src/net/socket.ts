/**
 * `net.Socket`: a Duplex on a connection of the engine. Names, the order of events and errors are Node's.
 *
 * A function and not a class, because Node's may be called without `new` and inherited from by `Socket.call(this)`.
 */
import { AsyncResource } from 'node:async_hooks';
import { Socket as NodeSocket } from 'node:net';
import { Duplex, type DuplexOptions } from 'node:stream';
import type { Connection } from '../engine/engine.js';
import { type SocketName, localName, remoteName } from './address.js';
import { adoptDescriptor, foreignSocket } from './adopt.js';
import { kNormalized, type NormalizedArguments, normalizeArguments } from './arguments.js';
import { connectSocket } from './connect-socket.js';
import { invalidValue, nodeError } from './errors.js';
import {
  kBlockList,
  kFinalBytes,
  kIsReset,
  kKeepAliveDelayS,
  kLastWriteQueueSize,
  kNoDelay,
  kOnRead,
  kTimer,
  kTransport,
} from './fields.js';
import { likeNode } from './like-node.js';
import { OnRead } from './on-read.js';
import { Transport } from './transport.js';
import { checkFunction, checkNumber, timerDuration } from './validate.js';

type Done = (error?: Error | null) => void;

interface Encoded {
  readonly chunk: Uint8Array | string;
  readonly encoding: BufferEncoding;
}

/** What a Duplex has and its types do not name. */
interface DuplexInside {
  _undestroy(): void;
}

/** What a socket's server is to it. */
export interface SocketServer {
  _connections: number;
  _emitCloseIfDrained?(): void;
}

/** What Node's documentation names, and what only its own servers give. */
export interface SocketOptions extends DuplexOptions {
  fd?: number;
  /** Ours: one that is open, or will be. */
  connection?: Connection;
  /** Ours: nobody asked for it, so that its events belong to no store of an `AsyncLocalStorage`. */
  isAccepted?: boolean;
  handle?: unknown;
  onread?: unknown;
  noDelay?: boolean;
  keepAlive?: boolean;
  keepAliveInitialDelay?: number;
  blockList?: unknown;
  readable?: boolean;
  writable?: boolean;
  pauseOnCreate?: boolean;
  manualStart?: boolean;
}

export class SocketMethods extends Duplex {
  declare connecting: boolean;
  declare timeout: number | undefined;
  declare server: unknown;
  declare autoSelectFamilyAttemptedAddresses: string[] | undefined;
  declare _hadError: boolean;
  declare _host: string | null;
  declare _parent: SocketMethods | null;
  declare _peername: SocketName | null | undefined;
  declare _sockname: SocketName | null | undefined;
  declare _pendingData: unknown;
  declare _pendingEncoding: string;
  declare _server: SocketServer | null;
  declare [kTransport]: Transport | null;
  declare [kTimer]: NodeJS.Timeout | null;
  declare [kLastWriteQueueSize]: number;
  declare [kNoDelay]: boolean;
  declare [kKeepAliveDelayS]: number | undefined;
  /** The prototype has none, whose getters some programs read. */
  declare [kFinalBytes]?: { readonly read: number; readonly written: number };
  declare [kOnRead]: OnRead | undefined;
  declare [kIsReset]: boolean;
  declare [kBlockList]?: unknown;

  // --- connecting

  connect(...args: unknown[]): this {
    const [first] = args;
    const isNormalized = Array.isArray(first) && (first as NormalizedArguments)[kNormalized] === true;
    const [options, callback] = isNormalized ? (first as NormalizedArguments) : normalizeArguments(args);
    if (callback !== null) this.once('connect', callback);
    if (this._parent?.connecting) return this;
    if (options.port === undefined && options.path == null) {
      const message = 'The "options" or "port" or "path" argument must be specified';
      throw nodeError(TypeError, 'ERR_MISSING_ARGS', message);
    }
    // A peer's FIN had replaced it.
    if (this.write !== SocketMethods.prototype.write) this.write = SocketMethods.prototype.write;
    if (this.destroyed) {
      this[kTransport] = null;
      this._peername = null;
      this._sockname = null;
    }
    if (this[kTransport] === null) {
      this[kTransport] = new Transport(this, Boolean(options.path));
      beginTransport(this);
    }
    this._unrefTimer();
    this.connecting = true;
    connectSocket(this, options);
    return this;
  }

  // --- reading

  override _read(size: number): void {
    const transport = this[kTransport];
    if (this.connecting || transport === null) {
      this.once('connect', () => this._read(size));
    } else {
      transport.startReading();
    }
  }

  override pause(): this {
    if (this[kOnRead] !== undefined && !this.connecting) this[kTransport]?.stopReading();
    return super.pause();
  }

  override resume(): this {
    resumeOnRead(this);
    return super.resume();
  }

  override read(size?: number): unknown {
    resumeOnRead(this);
    return super.read(size);
  }

  // --- writing

  override _write(chunk: Uint8Array | string, encoding: BufferEncoding, done: Done): void {
    if (this.connecting) {
      writeOnceConnected(this, chunk, encoding, done, () => this._write(chunk, encoding, done));
      return;
    }
    const transport = beginWrite(this, done);
    if (transport === undefined) return;
    transport.write(typeof chunk === 'string' ? Buffer.from(chunk, encoding) : chunk, done);
    if (transport.isWriting) this[kLastWriteQueueSize] = transport.writeQueueSize;
    if (!transport.reading) transport.holdLoop();
  }

  override _writev(chunks: Encoded[], done: Done): void {
    if (this.connecting) {
      writeOnceConnected(this, chunks, '', done, () => this._writev(chunks, done));
      return;
    }
    const transport = beginWrite(this, done);
    if (transport === undefined) return;
    const parts = chunks.map(({ chunk, encoding }) => {
      return typeof chunk === 'string' ? Buffer.from(chunk, encoding) : chunk;
    });
    transport.writeAll(parts, done);
    if (transport.isWriting) this[kLastWriteQueueSize] = transport.writeQueueSize;
    if (!transport.reading) transport.holdLoop();
  }

  override _final(done: Done): void {
    if (this.pending) {
      this.once('connect', () => this._final(done));
      return;
    }
    const transport = this[kTransport];
    if (transport === null) done();
    else transport.shutdown(done);
  }

  destroySoon(): void {
    if (this.writable) this.end();
    if (this.writableFinished) this.destroy();
    else this.once('finish', this.destroy);
  }

  // --- the end

  resetAndDestroy(): this {
    const transport = this[kTransport];
    if (transport === null) {
      this.destroy(nodeError(Error, 'ERR_SOCKET_CLOSED', 'Socket is closed'));
      return this;
    }
    if (transport.isPipe) {
      throw nodeError(TypeError, 'ERR_INVALID_HANDLE_TYPE', 'This handle type cannot be sent');
    }
    if (this.connecting) this.once('connect', () => this._reset());
    else this._reset();
    return this;
  }

  _reset(): this {
    this[kIsReset] = true;
    return this.destroy();
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    this.connecting = false;
    for (let socket: SocketMethods | null = this; socket !== null; socket = socket._parent) {
      if (socket[kTimer] !== null) clearTimeout(socket[kTimer]);
    }
    const transport = this[kTransport];
    if (transport !== null) {
      this[kFinalBytes] = { read: transport.bytesRead, written: transport.bytesWritten };
      const hadError = Boolean(error);
      const { attempt } = transport;
      const closed = () => {
        attempt?.cancelled?.();
        this.emit('close', hadError);
      };
      if (this[kIsReset]) {
        this[kIsReset] = false;
        transport.reset(closed);
      } else {
        transport.close(closed);
      }
      this[kTransport] = null;
      this._sockname = null;
      done(error);
    } else {
      done(error);
      process.nextTick(emitClose, this);
    }
    const server = this._server;
    if (server) {
      server._connections--;
      server._emitCloseIfDrained?.();
    }
  }

  // --- time

  setTimeout(msecs: number, callback?: () => void): this {
    if (this.destroyed) return this;
    this.timeout = msecs;
    const duration = timerDuration('msecs', msecs);
    if (this[kTimer] !== null) clearTimeout(this[kTimer]);
    this[kTimer] = null;
    if (duration > 0) this[kTimer] = setTimeout(this._onTimeout.bind(this), duration).unref();
    if (callback === undefined) return this;
    checkFunction('callback', callback);
    if (duration === 0) this.removeListener('timeout', callback);
    else this.once('timeout', callback);
    return this;
  }

  _onTimeout(): void {
    const transport = this[kTransport];
    const lastSize = this[kLastWriteQueueSize];
    if (lastSize > 0 && transport !== null) {
      const size = transport.writeQueueSize;
      // The peer takes what was written, if slowly.
      if (size !== lastSize) {
        this[kLastWriteQueueSize] = size;
        this._unrefTimer();
        return;
      }
    }
    this.emit('timeout');
  }

  _unrefTimer(): void {
    for (let socket: SocketMethods | null = this; socket !== null; socket = socket._parent) {
      if (socket[kTimer] !== null) socket[kTimer].refresh();
    }
  }

  // --- the system's options

  setNoDelay(enable?: boolean): this {
    const on = enable === undefined ? true : Boolean(enable);
    const transport = this[kTransport];
    if (transport !== null && !transport.isPipe && on !== this[kNoDelay]) transport.connection?.setNoDelay(on);
    if (transport === null || !transport.isPipe) this[kNoDelay] = on;
    return this;
  }

  setKeepAlive(enable?: boolean, initialDelayMs?: number): this {
    const delayS = enable ? ~~((initialDelayMs as number) / 1000) : undefined;
    const transport = this[kTransport];
    if (transport?.isPipe || this[kKeepAliveDelayS] === delayS) return this;
    this[kKeepAliveDelayS] = delayS;
    transport?.connection?.setKeepAlive(delayS !== undefined, (delayS ?? 0) * 1000);
    return this;
  }

  ref(): this {
    const transport = this[kTransport];
    if (transport === null) this.once('connect', this.ref);
    else transport.ref();
    return this;
  }

  unref(): this {
    const transport = this[kTransport];
    if (transport === null) this.once('connect', this.unref);
    else transport.unref();
    return this;
  }

  // --- what it is

  address(): SocketName {
    return this._getsockname();
  }

  _getpeername(): SocketName {
    const connection = this[kTransport]?.connection;
    if (connection === undefined || this.connecting) return this._peername ?? {};
    // Not known yet of a descriptor that was just taken over.
    if (!this._peername?.address) this._peername = remoteName(connection);
    return this._peername;
  }

  _getsockname(): SocketName {
    const connection = this[kTransport]?.connection;
    if (connection === undefined) return {};
    if (!this._sockname?.address) this._sockname = localName(connection);
    return this._sockname;
  }

  get _handle(): Transport | null {
    return this[kTransport];
  }

  set _handle(transport: Transport | null) {
    this[kTransport] = transport;
  }

  get _connecting(): boolean {
    return this.connecting;
  }

  get pending(): boolean {
    return this[kTransport] === null || this.connecting;
  }

  get readyState(): string {
    if (this.connecting) return 'opening';
    if (this.readable) return this.writable ? 'open' : 'readOnly';
    return this.writable ? 'writeOnly' : 'closed';
  }

  get bufferSize(): number | undefined {
    return this[kTransport] === null ? undefined : this.writableLength;
  }

  get bytesRead(): number {
    return this[kTransport]?.bytesRead ?? (this[kFinalBytes] ?? NO_BYTES).read;
  }

  get _bytesDispatched(): number {
    return this[kTransport]?.bytesWritten ?? (this[kFinalBytes] ?? NO_BYTES).written;
  }

  get bytesWritten(): number | undefined {
    const { writableBuffer } = this as unknown as { writableBuffer: Encoded[] | undefined };
    if (!writableBuffer) return undefined;
    const pending = this._pendingData;
    let bytes = this._bytesDispatched;
    for (const { chunk, encoding } of writableBuffer) bytes += byteLength(chunk, encoding);
    if (Array.isArray(pending)) {
      for (const { chunk, encoding } of pending as Encoded[]) bytes += byteLength(chunk, encoding);
    } else if (pending) {
      bytes += byteLength(pending as Uint8Array | string, this._pendingEncoding as BufferEncoding);
    }
    return bytes;
  }

  get remoteAddress(): string | undefined {
    return this._getpeername().address;
  }

  get remoteFamily(): string | undefined {
    return this._getpeername().family;
  }

  get remotePort(): number | undefined {
    return this._getpeername().port;
  }

  get localAddress(): string | undefined {
    return this._getsockname().address;
  }

  get localPort(): number | undefined {
    return this._getsockname().port;
  }

  get localFamily(): string | undefined {
    return this._getsockname().family;
  }
}

function byteLength(chunk: Uint8Array | string, encoding: BufferEncoding): number {
  return typeof chunk === 'string' ? Buffer.byteLength(chunk, encoding) : chunk.length;
}

function emitClose(socket: SocketMethods): void {
  socket.emit('close');
}

function resumeOnRead(socket: SocketMethods): void {
  if (socket[kOnRead] !== undefined && !socket.connecting) socket[kTransport]?.startReading();
}

function beginWrite(socket: SocketMethods, done: Done): Transport | undefined {
  socket._pendingData = null;
  socket._pendingEncoding = '';
  const transport = socket[kTransport];
  if (transport === null) {
    done(nodeError(Error, 'ERR_SOCKET_CLOSED', 'Socket is closed'));
    return undefined;
  }
  if (socket[kTimer] !== null || socket._parent !== null) socket._unrefTimer();
  return transport;
}

function writeOnceConnected(
  socket: SocketMethods,
  data: unknown,
  encoding: string,
  done: Done,
  write: () => void,
): void {
  socket._pendingData = data;
  socket._pendingEncoding = encoding;
  const closed = () => {
    done(
      nodeError(Error, 'ERR_SOCKET_CLOSED_BEFORE_CONNECTION', 'Socket closed before the connection was established'),
    );
  };
  socket.once('connect', () => {
    socket.off('close', closed);
    write();
  });
  socket.once('close', closed);
}

/** The peer ended; so did we, with the default `allowHalfOpen: false`: writing is then an error of its own. */
function writeAfterFin(
  this: SocketMethods,
  chunk: Uint8Array | string,
  encoding?: BufferEncoding | Done,
  callback?: Done,
): boolean {
  if (!this.writableEnded) {
    return Duplex.prototype.write.call(this, chunk, encoding as BufferEncoding, callback);
  }
  const done = typeof encoding === 'function' ? encoding : callback;
  const error: NodeJS.ErrnoException = new Error('This socket has been ended by the other party');
  error.code = 'EPIPE';
  if (typeof done === 'function') process.nextTick(done, error);
  this.destroy(error);
  return false;
}

function onEnd(this: SocketMethods): void {
  if (!this.allowHalfOpen) this.write = writeAfterFin as SocketMethods['write'];
}

/** A transport takes its place under the socket, also after the socket was destroyed. */
function beginTransport(socket: SocketMethods): void {
  (socket as unknown as DuplexInside)._undestroy();
  socket._sockname = null;
  socket[kOnRead]?.begin();
}

/** @throws TypeError ERR_INVALID_ARG_VALUE, ERR_INVALID_ARG_TYPE */
function resolveOptions(given: SocketOptions | number | undefined): SocketOptions {
  if (typeof given === 'number') return { fd: given };
  // Not by `{ ...given }`: V8 gives what is added to such a copy a new shape each time, 1.4 KB of them per socket.
  const options: SocketOptions = Object.assign({}, given);
  for (const name of ['objectMode', 'readableObjectMode', 'writableObjectMode'] as const) {
    if (options[name]) throw invalidValue(`options.${name}`, options[name], 'is not supported');
  }
  if (options.keepAliveInitialDelay !== undefined) {
    checkNumber('options.keepAliveInitialDelay', options.keepAliveInitialDelay);
  }
  return options;
}

const NO_BYTES = { read: 0, written: 0 } as const;

/** Where no store is. */
const OUTSIDE = new AsyncResource('TCPSERVERWRAP');

function transportOf(socket: SocketMethods, connection: Connection): Transport {
  return new Transport(socket, connection.state === 'open' && connection.remoteFamily === 'unix', connection);
}

function construct(socket: SocketMethods, options: SocketOptions): void {
  socket.connecting = false;
  socket._hadError = false;
  socket[kTransport] = null;
  socket._parent = null;
  socket._host = null;
  socket[kLastWriteQueueSize] = 0;
  socket[kTimer] = null;
  socket[kOnRead] = undefined;
  socket[kIsReset] = false;
  options.allowHalfOpen = Boolean(options.allowHalfOpen);
  options.emitClose = false;
  options.autoDestroy = true;
  options.decodeStrings = false;
  (Duplex as unknown as (this: Duplex, options: DuplexOptions) => void).call(socket, options);
  socket[kOnRead] = OnRead.from(options.onread);
  socket[kNoDelay] = Boolean(options.noDelay);
  socket[kKeepAliveDelayS] = options.keepAlive
    ? ~~(Math.max(0, options.keepAliveInitialDelay as number) / 1000)
    : undefined;
  if (options.blockList !== undefined) socket[kBlockList] = options.blockList;
  const { connection } = options;
  if (connection !== undefined) {
    socket[kTransport] = options.isAccepted
      ? OUTSIDE.runInAsyncScope(transportOf, undefined, socket, connection)
      : transportOf(socket, connection);
  }
  socket.on('end', onEnd);
  socket._sockname = null;
  socket._peername = null;
  socket._pendingData = null;
  socket._pendingEncoding = '';
  socket.server = null;
  socket._server = null;
  socket[kFinalBytes] = NO_BYTES;
  // Node does so even without a handle: a signal that was aborted before leaves the socket usable.
  (socket as unknown as DuplexInside)._undestroy();
  if (socket[kTransport] === null) return;
  socket[kOnRead]?.begin();
  if (options.readable !== false) {
    if (options.pauseOnCreate) (socket as { readableFlowing: boolean | null }).readableFlowing = false;
    else if (!options.manualStart) socket.read(0);
  }
  if (!socket[kTransport].reading) socket[kTransport].stopReading();
}

interface SocketFunction {
  new (options?: SocketOptions | number): SocketMethods;
  (options?: SocketOptions | number): SocketMethods;
  readonly prototype: SocketMethods;
}

export const Socket = function (this: unknown, given?: SocketOptions | number): unknown {
  if (!(this instanceof SocketMethods)) return new Socket(given);
  const options = resolveOptions(given);
  if (options.fd !== undefined) options.connection = adoptDescriptor(options.fd);
  const isForeign = options.connection === undefined && (options.fd !== undefined || Boolean(options.handle));
  if (isForeign) return foreignSocket(options);
  construct(this, options);
  return this;
} as unknown as SocketFunction;
Object.defineProperty(Socket, 'prototype', { value: SocketMethods.prototype, writable: true });
Object.defineProperty(SocketMethods.prototype, 'constructor', { value: Socket, writable: true, configurable: true });
Object.defineProperty(Socket, 'name', { value: 'Socket', configurable: true });
Object.setPrototypeOf(Socket, Duplex);
likeNode(Socket, SocketMethods.prototype, NodeSocket, [
  '_connecting',
  'pending',
  'readyState',
  'bufferSize',
  '_handle',
]);
