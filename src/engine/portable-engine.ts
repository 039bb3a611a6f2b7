/**
 * The engine over `node:net`: used where the addon cannot load, or when asked for. The same contract as the native ones.
 *
 * A turn is one pass of Node's loop: it begins with the first bytes received (or the first send outside of that) and ends
 * in `setImmediate`, where every connection that has something to say writes once.
 */
import { connect as netConnect, Socket, type TcpNetConnectOpts } from 'node:net';
import { performance } from 'node:perf_hooks';
import { RingwayError } from '../errors.js';
import { BlockPool } from './block-pool.js';
import type { ConnectionHost } from './connection-host.js';
import type {
  Connection,
  ConnectionOptions,
  ConnectOptions,
  Engine,
  EngineOptions,
  Handler,
  Kept,
  Listener,
  ListenOptions,
} from './engine.js';
import { makeCounters } from './engine-counters.js';
import { FrameKeeper, SHARED_FRAME_BYTES, SLAB_BYTES } from './frame-keeper.js';
import { PortableConnection } from './portable-connection.js';
import { type ListenerHost, PortableListener } from './portable-listener.js';
import {
  type ResolvedConnectionOptions,
  type ResolvedConnectOptions,
  resolveBytes,
  resolveConnectionOptions,
  resolveConnectOptions,
  resolveFd,
  resolveListenOptions,
} from './resolve-options.js';
import { surface } from './surface.js';
import { type CounterName, ENGINE_LIMITS } from './tables.gen.js';
import { TimingWheel } from './timing-wheel.js';

/** An outgoing connection carries the answers for many clients: its share of maxPartialBytes is no less than one in so many. */
const OUTGOING_SHARE = 16;

export class PortableEngine implements Engine, ConnectionHost, ListenerHost {
  readonly name = 'portable';
  readonly reason: string;
  readonly reactors = 0;

  // What connections and listeners share; not part of the seam.
  readonly counts = makeCounters();
  readonly blocks = new BlockPool();
  readonly wheel = new TimingWheel();
  readonly maxEngineBytes: number;
  readonly maxPartialBytes: number;
  bufferedBytes = 0;
  partialBytes = 0;
  delivering: PortableConnection | undefined = undefined;
  deliveredBytes: Uint8Array | undefined = undefined;
  deliveredPinned = false;

  readonly #keeper = new FrameKeeper();
  readonly #connections = new Map<PortableConnection, PortableListener | undefined>();
  readonly #listeners = new Set<PortableListener>();
  readonly #intervals = new Set<NodeJS.Timeout>();
  readonly #freeIds: number[] = [];
  #nextId = 0;
  #turning = false;
  #turnClock = 0;
  #turnNow = 0;
  #toFlush: PortableConnection[] = [];
  #flushing: PortableConnection[] = [];
  #batchEnds: Handler[] = [];
  #closing: Promise<void> | undefined;
  #allClosed: (() => void) | undefined;

  constructor(options: EngineOptions = {}, reason = 'the portable engine was asked for') {
    this.reason = reason;
    this.maxEngineBytes = resolveBytes('maxEngineBytes', options.maxEngineBytes, ENGINE_LIMITS.maxEngineBytes);
    this.maxPartialBytes = resolveBytes('maxPartialBytes', options.maxPartialBytes, ENGINE_LIMITS.maxPartialBytes);
  }

  async listen(options: ListenOptions, handler: Handler): Promise<Listener> {
    this.#checkOpen();
    const listener = new PortableListener(this, resolveListenOptions(options), handler);
    await listener.listen();
    this.#listeners.add(listener);
    if (this.#closing !== undefined) await listener.close();
    return listener;
  }

  connect(options: ConnectOptions, handler: Handler): Connection {
    this.#checkOpen();
    const resolved = resolveConnectOptions(options);
    const socket = netConnect(socketOptions(resolved));
    const connection = this.#add(socket, resolved.connection, handler, undefined);
    if ('path' in resolved.address) connection.remoteAddress = resolved.address.path;
    else {
      connection.remoteAddress = resolved.address.host;
      connection.remotePort = resolved.address.port;
    }
    connection.awaitConnect(resolved.connectTimeoutMs);
    socket.once('connect', () => {
      this.counts.connects++;
      connection.opened();
    });
    return connection;
  }

  adopt(fd: number, options: ConnectionOptions, handler: Handler): Connection {
    this.#checkOpen();
    const resolved = resolveConnectionOptions(options);
    const socket = takeOver(resolveFd(fd), resolved);
    const connection = this.#add(socket, resolved, handler, undefined);
    connection.remoteAddress = socket.remoteAddress ?? '';
    connection.remotePort = socket.remotePort ?? 0;
    // Not from inside the caller's call, and no byte before it.
    socket.pause();
    setImmediate(() => {
      if (connection.state !== 'connecting') return;
      this.counts.adopted++;
      connection.opened();
      socket.resume();
    });
    return connection;
  }

  keep(bytes: Uint8Array, start: number, end: number): Kept {
    const whole = bytes.length;
    if (bytes === this.deliveredBytes && whole === bytes.buffer.byteLength) {
      // Received memory is never written again: where it is small, or little more than this frame, it is kept as it is.
      const small = end - start <= SHARED_FRAME_BYTES ? whole <= SLAB_BYTES : whole <= end - start + SHARED_FRAME_BYTES;
      if (small && !this.blocks.owns(bytes)) {
        this.deliveredPinned = true;
        return { bytes, start };
      }
    }
    return this.#keeper.keep(bytes, start, end);
  }

  /** Never reusable: `node:net` may still write from it. */
  keepReusable(bytes: Uint8Array, start: number, end: number): Kept {
    return this.keep(bytes, start, end);
  }

  reuse(): void {}

  allocate(bytes: number): Uint8Array {
    return new Uint8Array(bytes);
  }

  now(): number {
    return this.#turning ? this.#turnNow : performance.now();
  }

  every(intervalMs: number, callback: () => void): () => void {
    const interval = setInterval(callback, intervalMs);
    interval.unref();
    this.#intervals.add(interval);
    return () => {
      this.#intervals.delete(interval);
      clearInterval(interval);
    };
  }

  counters(): Record<CounterName, number> {
    return { ...this.counts };
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    for (const interval of this.#intervals) clearInterval(interval);
    this.#intervals.clear();
    await Promise.all([...this.#listeners].map((listener) => listener.close()));
    for (const connection of [...this.#connections.keys()]) connection.close('engine-closed');
    if (this.#connections.size > 0) await this.#closeConnections();
    this.wheel.stop();
  }

  /** What is queued gets as long as a linger; then the rest is reset. */
  async #closeConnections(): Promise<void> {
    const closed = new Promise<void>((resolve) => (this.#allClosed = resolve));
    const cut = setTimeout(() => {
      for (const connection of [...this.#connections.keys()]) connection.abort('engine-closed');
    }, ENGINE_LIMITS.lingerTimeoutMs);
    await closed;
    clearTimeout(cut);
  }

  // --- For connections and listeners -----------------------------------------------------------------------------

  turn(): number {
    if (this.#turning) return this.#turnClock;
    this.#turning = true;
    this.#turnNow = performance.now();
    this.#turnClock = this.wheel.clock();
    setImmediate(this.#endTurn);
    return this.#turnClock;
  }

  flushAtTurnEnd(connection: PortableConnection): void {
    this.turn();
    this.#toFlush.push(connection);
  }

  batchEndAtTurnEnd(handler: Handler): void {
    const ends = this.#batchEnds;
    if (ends.length > 0 && ends[ends.length - 1] === handler) return;
    if (handler.batchEnd !== undefined && !ends.includes(handler)) ends.push(handler);
  }

  readonly #endTurn = (): void => {
    this.#endBatches();
    const flushing = this.#toFlush;
    // What handlers send from here on (on drain) leaves with the next turn: nobody can keep this one from ending.
    this.#toFlush = this.#flushing;
    this.#flushing = flushing;
    for (let i = 0; i < flushing.length; i++) {
      const connection = flushing[i];
      connection.awaitsFlush = false;
      connection.flush();
    }
    flushing.length = 0;
    this.#turning = false;
    if (this.#toFlush.length > 0) this.turn();
  };

  #endBatches(): void {
    const ends = this.#batchEnds;
    for (let i = 0; i < ends.length; i++) {
      try {
        ends[i].batchEnd!();
      } catch (error) {
        surface(error);
      }
    }
    ends.length = 0;
  }

  accepted(socket: Socket, listener: PortableListener): void {
    this.counts.accepted++;
    const connection = this.#add(socket, listener.options.connection, listener.handler, listener);
    connection.remoteAddress = socket.remoteAddress ?? '';
    connection.remotePort = socket.remotePort ?? 0;
    listener.count(connection);
    connection.opened();
    if (this.#closing !== undefined) connection.close('engine-closed');
  }

  partialShare(connection: PortableConnection): number {
    const share = this.maxPartialBytes / this.#connections.size;
    const isOutgoing = this.#connections.get(connection) === undefined;
    return isOutgoing ? Math.max(share, this.maxPartialBytes / OUTGOING_SHARE) : share;
  }

  #add(
    socket: Socket,
    options: ResolvedConnectionOptions,
    handler: Handler,
    listener: PortableListener | undefined,
  ): PortableConnection {
    const connection = new PortableConnection(this, this.#freeIds.pop() ?? this.#nextId++, socket, options, handler);
    this.#connections.set(connection, listener);
    return connection;
  }

  closed(connection: PortableConnection): void {
    this.#connections.get(connection)?.uncount(connection);
    this.#connections.delete(connection);
    this.#freeIds.push(connection.id);
    if (this.#connections.size === 0) this.#allClosed?.();
  }

  listenerClosed(listener: PortableListener): void {
    this.#listeners.delete(listener);
  }

  #checkOpen(): void {
    if (this.#closing !== undefined) throw new RingwayError('ERR_ENGINE_CLOSED');
  }
}

/** @throws the system's error: not a stream socket, or not connected. */
function takeOver(fd: number, options: ResolvedConnectionOptions): Socket {
  let socket: Socket;
  try {
    socket = new Socket({ fd, allowHalfOpen: true, readable: true, writable: true });
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    throw Object.assign(new Error(`adopt ${code}: ${message}`), { code, syscall: 'adopt' });
  }
  socket.setNoDelay(options.noDelay);
  if (options.keepAliveMs > 0) socket.setKeepAlive(true, options.keepAliveMs);
  return socket;
}

function socketOptions(options: ResolvedConnectOptions): TcpNetConnectOpts {
  const { noDelay, keepAliveMs } = options.connection;
  const { localAddress, localPort } = options;
  return {
    ...(options.address as { host: string; port: number }),
    ...(localAddress === '' ? {} : { localAddress, localPort }),
    allowHalfOpen: true,
    noDelay,
    keepAlive: keepAliveMs > 0,
    keepAliveInitialDelay: keepAliveMs,
  };
}
