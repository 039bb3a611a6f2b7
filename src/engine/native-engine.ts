/**
 * The engine on the addon: io_uring or epoll. Reactors put what happened into rings, `#takeEvents` takes it out and calls
 * handlers; what handlers want goes back through the command rings. Per batch, not per message, something crosses.
 */
import { performance } from 'node:perf_hooks';
import { getSystemErrorName } from 'node:util';
import { RingwayError } from '../errors.js';
import { AddressTexts } from './address-texts.js';
import { BatchKeeper } from './batch-keeper.js';
import { closeInfo, closeMessage } from './close-info.js';
import type { Created } from './create-native-engine.js';
import type {
  CloseInfo,
  Connection,
  ConnectionOptions,
  ConnectOptions,
  DriverName,
  Engine,
  Handler,
  Kept,
  Listener,
  ListenOptions,
} from './engine.js';
import { signedWide, wide, word } from './event-words.js';
import { isLanded, Landing } from './landing.js';
import { blockOf, closeBlock, openBlock } from './native-block.js';
import {
  type Addon,
  type allocateRings,
  Control,
  type EngineHandle,
  EVENT_BYTES,
  EVENT_DESCRIPTORS,
  EventKind,
  SLOTS,
  NO_LANDING,
  WANTS_LANDING,
} from './native.js';
import { type HandlerEntry, NativeConnection } from './native-connection.js';
import { boundAddress, NativeListener } from './native-listener.js';
import { toNativeAdopted, toNativeConnect, toNativeListen } from './native-options.js';
import { Opening } from './opening.js';
import { Openings } from './openings.js';
import { ReactorRings } from './reactor-rings.js';
import { SlabPool } from './slab-pool.js';
import { resolveConnectionOptions, resolveConnectOptions, resolveFd, resolveListenOptions } from './resolve-options.js';
import { adoptError, listenError, systemError } from './system-errors.js';
import { CLOSE_REASONS, type CloseReason, COUNTERS, type CounterName, ENGINE_LIMITS } from './tables.gen.js';

const BYTES_MASK = EVENT_BYTES - 1;
/** Of x86-64 and most of arm64; where it is 128, two records of the gateway share one. */
const CACHE_LINE_BYTES = 64;
const DESCRIPTOR_MASK = EVENT_DESCRIPTORS - 1;
const NO_MARKS = { highWaterMark: 0, lowWaterMark: 0 };

export class NativeEngine implements Engine {
  readonly name: DriverName;
  readonly reason: string;
  readonly reactors: number;

  // For connections:
  readonly addon: Addon;
  readonly handle: EngineHandle;
  readonly blockAddress = new Uint32Array(2);
  /** The bytes of the batch that is being delivered, and whose they are. */
  batchBytes: Uint8Array | undefined = undefined;
  batchReactor = 0;
  /** Connections whose kernel reads JavaScript's memory, of which no drain may tell that it does no longer. */
  readonly pinning = new Set<NativeConnection>();
  /** Commands refer to the batch's bytes. */
  batchPassedOn = false;
  /** Commands are published together at the end of the turn. */
  inTurn = false;

  readonly #rings: readonly ReactorRings[];
  readonly #listeners = new Map<number, NativeListener>();
  /** Listeners whose socket is closed while connections they accepted are still on their way through the rings. */
  readonly #closedListeners = new Map<number, NativeListener>();
  readonly #openings = new Openings();
  readonly #entries = new WeakMap<Handler, HandlerEntry>();
  readonly #addresses = new AddressTexts();
  readonly #keeper = new BatchKeeper();
  readonly #reusingKeeper = new BatchKeeper(new SlabPool());
  readonly #landing: Landing;
  /** Blocks of the turn, which are closed at its end but for those that somebody keeps. */
  readonly #blocks = new Set<ArrayBufferLike>();
  readonly #touched: HandlerEntry[] = [];
  /**
   * A connection of nobody's. V8 forgets the shape of a class with its last object, and throws away whatever it compiled for it: a
   * server that had no client for some seconds then took a tenth more CPU per message for seconds. Made anew with each one that
   * closes, as shapes change.
   */
  #spare: NativeConnection;
  /** Where the bytes of the batch end in the ring, for `keep`. */
  #batchEnd = 0;
  #turn = 0;
  /** Not 0 at first: V8 would take it for a field of doubles then, and box a copy for each of a gateway's calls that pass it on, four per message. */
  #nowMs: number | undefined = undefined;
  #refs = 0;
  #running: number;
  #closing: Promise<void> | undefined = undefined;
  #markStopped: () => void = () => {};
  #releaseScheduled = false;

  constructor(addon: Addon, created: Created, memory: readonly ReturnType<typeof allocateRings>[], reactors: number) {
    this.addon = addon;
    this.handle = created.handle;
    this.name = created.driver;
    this.reason = created.reason;
    this.reactors = reactors;
    this.#landing = new Landing(addon, created.handle);
    this.#spare = new NativeConnection(this.#entryOf({ frame: () => {} }), NO_MARKS, '', 0);
    // A command may stay behind; outside of a turn nothing else would come back for it.
    const flush = () => {
      if (this.#running === 0) return;
      addon.flushCommands(this.handle);
      if (!this.inTurn) this.#releaseLater();
    };
    this.#rings = memory.map((rings, index) => new ReactorRings(index, rings, flush));
    this.#running = memory.length;
    // Woken by the doorbell; where Node's loop drives the reactor nobody sleeps.
    if (reactors > 0) for (const { control } of this.#rings) Atomics.store(control, Control.jsSleeping, 1);
    created.events.take = () => this.#takeEvents();
  }

  async listen(options: ListenOptions, handler: Handler): Promise<Listener> {
    return this.listenNow(options, handler);
  }

  flush(): void {
    if (this.#running === 0) return;
    for (const { commands } of this.#rings) commands.publish();
    this.addon.finishSends(this.handle);
  }

  listenNow(options: ListenOptions, handler: Handler): Listener {
    if (this.#closing) throw new RingwayError('ERR_ENGINE_CLOSED');
    const resolved = resolveListenOptions(options);
    const most = SLOTS * this.#rings.length;
    if (resolved.maxConnections > most) {
      const right = `it must be at most ${most}, which is what ${this.#rings.length} reactors hold`;
      throw new RingwayError('ERR_INVALID_OPTION', ['maxConnections', resolved.maxConnections, right]);
    }
    const bound = this.addon.listen(this.handle, toNativeListen(resolved));
    if (typeof bound === 'number') throw listenError(bound, resolved);
    const address = boundAddress(bound, resolved);
    const listener = new NativeListener(this, bound.id, address, this.#entryOf(handler), resolved.connection);
    this.#listeners.set(bound.id, listener);
    this.addRef();
    return listener;
  }

  connect(options: ConnectOptions, handler: Handler): Connection {
    const resolved = resolveConnectOptions(options);
    const isPath = 'path' in resolved.address;
    const opening = new Opening();
    const connection = new NativeConnection(
      this.#entryOf(handler),
      resolved.connection,
      'path' in resolved.address ? resolved.address.path : resolved.address.host,
      'path' in resolved.address ? 0 : resolved.address.port,
      opening,
    );
    const token = this.#expect(connection);
    const reactor = this.#closing ? -1 : this.addon.connect(this.handle, toNativeConnect(resolved), token);
    if (reactor < 0) {
      this.#openings.take(token);
      this.closeUnopened(
        connection,
        this.#closing ? 'engine-closed' : 'connect-failed',
        this.#closing
          ? undefined
          : `${isPath ? 'the path' : 'the address'} cannot be used: ${getSystemErrorName(reactor)}`,
      );
    } else {
      opening.token = token;
      opening.reactor = reactor;
    }
    return connection;
  }

  adopt(fd: number, options: ConnectionOptions, handler: Handler): Connection {
    if (this.#closing) throw new RingwayError('ERR_ENGINE_CLOSED');
    const resolved = resolveConnectionOptions(options);
    const opening = new Opening();
    const connection = new NativeConnection(this.#entryOf(handler), resolved, '', 0, opening);
    const token = this.#expect(connection);
    const reactor = this.addon.adopt(this.handle, resolveFd(fd), toNativeAdopted(resolved), token);
    if (reactor < 0) {
      this.#openings.take(token);
      this.dropRef();
      throw adoptError(reactor, fd);
    }
    opening.token = token;
    opening.reactor = reactor;
    return connection;
  }

  /** An open or a close event with the answered token follows. */
  #expect(connection: NativeConnection): number {
    this.addRef();
    return this.#openings.add(connection);
  }

  keep(bytes: Uint8Array, start: number, end: number): Kept {
    return this.#keep(this.#keeper, bytes, start, end);
  }

  keepReusable(bytes: Uint8Array, start: number, end: number): Kept {
    return this.#keep(this.#reusingKeeper, bytes, start, end);
  }

  reuse(bytes: Uint8Array): void {
    if (blockOf(bytes) === undefined) this.#reusingKeeper.giveBack(bytes);
    else this.#blocks.add(bytes.buffer);
  }

  allocate(bytes: number): Uint8Array {
    const memory = new Uint8Array(bytes + CACHE_LINE_BYTES);
    const address = new Uint32Array(2);
    this.addon.addressOf(memory, 0, address);
    const start = -address[0] & (CACHE_LINE_BYTES - 1);
    return memory.subarray(start, start + bytes);
  }

  #keep(keeper: BatchKeeper, bytes: Uint8Array, start: number, end: number): Kept {
    if (bytes === this.batchBytes) {
      // A batch that goes on at the ring's start ends before this frame. Of an empty payload it may be the very end.
      return keeper.keep(bytes, start, end, this.#batchEnd >= start ? this.#batchEnd : EVENT_BYTES);
    }
    if (isLanded(bytes)) return { bytes, start };
    if (blockOf(bytes) !== undefined) {
      this.#blocks.delete(bytes.buffer);
      return { bytes, start, isReusable: keeper === this.#reusingKeeper };
    }
    return { bytes: bytes.slice(start, end), start: 0 };
  }

  now(): number {
    return this.inTurn ? this.#nowMs! : performance.now();
  }

  every(intervalMs: number, callback: () => void): () => void {
    const timer = setInterval(callback, intervalMs);
    timer.unref();
    return () => clearInterval(timer);
  }

  counters(): Record<CounterName, number> {
    const values = new Float64Array(COUNTERS.length);
    if (this.#running > 0) this.addon.counters(this.handle, values);
    return Object.fromEntries(COUNTERS.map(({ name }, i) => [name, values[i]])) as Record<CounterName, number>;
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    this.addRef();
    for (const { commands } of this.#rings) commands.publish();
    const stopped = new Promise<void>((resolve) => {
      this.#markStopped = resolve;
    });
    this.addon.shutdown(this.handle);
    await stopped;
    this.dropRef();
    this.addon.destroy(this.handle);
  }

  // --- for listeners and connections

  addRef(): void {
    if (++this.#refs === 1) this.addon.setRef(this.handle, true);
  }

  dropRef(): void {
    if (--this.#refs === 0) this.addon.setRef(this.handle, false);
  }

  connectionsOf(listener: number): number {
    return this.#running > 0 ? this.addon.listenerConnections(this.handle, listener) : 0;
  }

  closeListener(listener: number): void {
    if (this.#running === 0) return;
    this.addon.closeListener(this.handle, listener);
    // Where nobody else can do it meanwhile, the address is free when this returns.
    if (this.reactors === 0) this.addon.flushCommands(this.handle);
  }

  /** An outgoing connection ends before it opened; its owner is told outside of its own call. */
  closeUnopened(connection: NativeConnection, reason: CloseReason, message?: string): void {
    const { opening } = connection;
    if (this.#running > 0 && opening !== undefined && opening.token !== 0) {
      this.addon.abandonConnect(this.handle, opening.reactor, opening.token);
    }
    setImmediate(() => {
      this.#tellClosed(connection, closeInfo(reason, message ?? closeMessage(reason), undefined, 0));
      while (connection.entry.handler.nextScope?.());
    });
  }

  // --- events

  /**
   * Called by the addon; an exception that leaves it is an uncaught one, and what is left is offered again. Answers true to
   * be called again in a callback scope of its own.
   */
  #takeEvents(): boolean {
    this.inTurn = true;
    const rings = this.#rings;
    let isOver = false;
    try {
      if (this.#touched.length === 0) {
        this.#nowMs = performance.now();
        this.#turn++;
        if (this.reactors === 0) rings[0].commands.startOver();
        for (let i = 0; i < rings.length; i++) this.#takeFrom(rings[i]);
      }
      isOver = this.#endBatch();
    } finally {
      this.inTurn = false;
      this.batchBytes = undefined;
      for (let i = 0; i < rings.length; i++) rings[i].commands.publish();
      // Handlers may still look at the bytes of the turn.
      if (this.#touched.length === 0) {
        this.#release();
        if (this.pinning.size > 0) this.#releasePinned();
        if (this.reactors > 0) this.#fallAsleep();
      }
    }
    if (isOver && this.#running === 0) this.#markStopped();
    return !isOver;
  }

  /**
   * From now on reactors ring the doorbell. What they published before is seen by the addon, which looks once more when this
   * call has returned. Always, even if nothing was taken: a reactor that rang has put the flag down.
   */
  #fallAsleep(): void {
    for (const { control } of this.#rings) Atomics.store(control, Control.jsSleeping, 1);
  }

  #takeFrom(rings: ReactorRings): void {
    const { control, descriptors, bytes, connections } = rings;
    const head = Atomics.load(control, Control.eventHead);
    let tail = control[Control.eventTail];
    if (tail === head) return;
    this.batchBytes = bytes;
    this.batchReactor = rings.index;
    this.#keeper.reset();
    this.#reusingKeeper.reset();
    const last = ((head - 1) & DESCRIPTOR_MASK) << 2;
    this.#batchEnd = (descriptors[last + 2] & BYTES_MASK) + descriptors[last + 3];
    let budget = ENGINE_LIMITS.drainFrames;
    try {
      while (tail !== head && budget-- > 0) {
        const at = (tail & DESCRIPTOR_MASK) << 2;
        const slot = descriptors[at + 1];
        const position = descriptors[at + 2];
        const length = descriptors[at + 3];
        // Taken before the handler runs: if it throws, the next call goes on behind it.
        tail = (tail + 1) | 0;
        if (descriptors[at] === EventKind.frame) {
          const connection = connections[slot];
          if (connection === undefined || connection.state !== 'open') continue;
          const start = position & BYTES_MASK;
          const { entry } = connection;
          if (entry.turn !== this.#turn) this.#touch(entry);
          entry.handler.frame(connection, bytes, start, start + length);
        } else {
          this.#takeOther(rings, descriptors[at], slot, position & BYTES_MASK, length);
        }
      }
    } finally {
      const taken = ((tail - 1) & DESCRIPTOR_MASK) << 2;
      rings.position = (descriptors[taken + 2] + descriptors[taken + 3] + 7) & ~7;
      // Frames that were received into the ring lie close: the padding behind this one may be the next one's.
      if (tail !== head) rings.stopBefore(descriptors[((tail & DESCRIPTOR_MASK) << 2) + 2]);
      Atomics.store(control, Control.eventTail, tail);
    }
  }

  #touch(entry: HandlerEntry): void {
    entry.turn = this.#turn;
    if (entry.isScoped || entry.handler.batchEnd) this.#touched.push(entry);
  }

  /** False when a handler wants a further scope; it stays the last one touched, also when it threw. */
  #endBatch(): boolean {
    const touched = this.#touched;
    while (touched.length > 0) {
      const entry = touched[touched.length - 1];
      if (!entry.isScoped) {
        touched.pop();
        entry.handler.batchEnd?.();
      } else if (entry.handler.nextScope?.()) {
        return false;
      } else {
        touched.pop();
      }
    }
    return true;
  }

  #closeBlocks(): void {
    for (const memory of this.#blocks) closeBlock(this.addon, memory as ArrayBuffer);
    this.#blocks.clear();
  }

  #release(): void {
    if (this.#blocks.size > 0) this.#closeBlocks();
    const rings = this.#rings;
    let manyWait = false;
    for (let i = 0; i < rings.length; i++) {
      rings[i].release(this.batchPassedOn, rings);
      manyWait = rings[i].releaseTaken(rings) || manyWait || rings[i].commands.hasSpilled;
    }
    this.batchPassedOn = false;
    if (manyWait) this.#releaseLater();
  }

  #releasePinned(): void {
    for (const connection of this.pinning) {
      if (!connection.releasePinned()) this.pinning.delete(connection);
    }
  }

  #releaseLater(): void {
    if (this.#releaseScheduled) return;
    this.#releaseScheduled = true;
    setImmediate(() => {
      this.#releaseScheduled = false;
      if (this.#running === 0) return;
      for (let i = 0; i < this.#rings.length; i++) this.#rings[i].commands.publish();
      // A turn whose handler threw goes on: its bytes are still looked at, and released at its end.
      if (this.#touched.length === 0) this.#release();
    });
  }

  #takeOther(rings: ReactorRings, kind: number, slot: number, place: number, length: number): void {
    const connection = rings.connections[slot];
    if (connection?.entry.isScoped && connection.entry.turn !== this.#turn) this.#touch(connection.entry);
    switch (kind) {
      case EventKind.largeFrame:
        this.#takeLargeFrame(connection, rings.bytes, place);
        return;
      case EventKind.heldFrame:
        this.#takeHeldFrame(connection, rings.bytes, place);
        return;
      case EventKind.open:
        this.#takeOpen(rings, slot, place);
        return;
      case EventKind.close:
        this.#takeClose(rings, slot, place);
        return;
      case EventKind.fault:
        connection?.close(CLOSE_REASONS[word(rings.bytes, place)].name);
        return;
      case EventKind.end:
        if (connection?.state !== 'open') return;
        connection.beginEnding().peerEnded = true;
        if (connection.entry.handler.end) connection.entry.handler.end(connection);
        else connection.close('peer-closed');
        return;
      case EventKind.drain:
        if (connection?.state === 'open' && connection.drained()) connection.entry.handler.drain?.(connection);
        return;
      case EventKind.finish:
        if (connection?.state === 'open') connection.entry.handler.finish?.(connection);
        return;
      case EventKind.idle:
        if (connection?.state !== 'open') return;
        if (!connection.entry.handler.idle?.(connection)) connection.close('idle-timeout');
        return;
      case EventKind.detached:
        connection?.detached(word(rings.bytes, place) | 0, word(rings.bytes, place + 4));
        return;
      case EventKind.listenerClosed:
        this.#takeListenerClosed(slot);
        return;
      case EventKind.stopped:
        this.#running--;
        return;
      default:
        throw new Error(`unknown event ${kind} (${length} bytes) from the native engine`);
    }
  }

  /** A frame that lies behind the ring, in the same array. */
  #takeHeldFrame(connection: NativeConnection | undefined, bytes: Uint8Array, place: number): void {
    if (connection?.state !== 'open') return;
    const start = word(bytes, place);
    const length = word(bytes, place + 4);
    if (connection.entry.turn !== this.#turn) this.#touch(connection.entry);
    connection.entry.handler.frame(connection, bytes, start, start + length);
  }

  #takeLargeFrame(connection: NativeConnection | undefined, ring: Uint8Array, place: number): void {
    const low = word(ring, place);
    const high = word(ring, place + 4);
    const length = word(ring, place + 12);
    const landing = word(ring, place + 16);
    let bytes: Buffer;
    if (low !== 0 || high !== 0) {
      bytes = openBlock(this.addon, { low, high, offset: word(ring, place + 8) }, length);
      if (landing === WANTS_LANDING && this.reactors === 0) this.#landing.grow();
      if (landing === NO_LANDING && blockOf(bytes) !== undefined) this.#blocks.add(bytes.buffer);
    } else if (connection?.state === 'open') {
      bytes = this.#landing.take(landing, length);
    } else {
      this.#landing.putBack(landing);
      return;
    }
    if (connection?.state !== 'open') return;
    if (connection.entry.turn !== this.#turn) this.#touch(connection.entry);
    connection.entry.handler.frame(connection, bytes, 0, length);
  }

  #takeOpen(rings: ReactorRings, slot: number, place: number): void {
    const ring = rings.bytes;
    const generation = word(ring, place);
    const listenerId = word(ring, place + 4);
    const token = word(ring, place + 8);
    const port = word(ring, place + 12);
    const addressLength = word(ring, place + 16);
    const address = this.#addresses.take(ring, place + 20, place + 20 + addressLength);
    let connection: NativeConnection | undefined;
    if (listenerId === 0) {
      connection = this.#openings.take(token);
    } else {
      const listener = this.#listeners.get(listenerId) ?? this.#closedListeners.get(listenerId);
      if (listener) {
        connection = new NativeConnection(listener.entry, listener.marks, address, port);
        this.addRef();
      }
    }
    if (connection === undefined) throw new Error(`a connection of unknown origin (listener ${listenerId})`);
    rings.connections[slot] = connection;
    if (connection.entry.isScoped && connection.entry.turn !== this.#turn) this.#touch(connection.entry);
    connection.opened(rings, slot, generation, address, port);
    if (connection.opening?.abandoned) connection.abort();
    else connection.entry.handler.open?.(connection);
  }

  #takeClose(rings: ReactorRings, slot: number, place: number): void {
    const ring = rings.bytes;
    const code = word(ring, place);
    const error = word(ring, place + 4);
    const sent = wide(ring, place + 8);
    const token = word(ring, place + 32);
    const opened = word(ring, place + 36) !== 0;
    let connection: NativeConnection | undefined;
    if (opened) {
      connection = rings.connections[slot];
      rings.connections[slot] = undefined;
    } else {
      connection = this.#openings.take(token);
    }
    if (connection === undefined || connection.opening?.abandoned) return;
    if (connection.entry.isScoped && connection.entry.turn !== this.#turn) this.#touch(connection.entry);
    const reason = CLOSE_REASONS[code].name;
    const numbers = { declared: signedWide(ring, place + 16), limit: wide(ring, place + 24) };
    const cause = error === 0 ? undefined : systemError(-error, word(ring, place + 40));
    const ending = connection.beginEnding();
    const message = ending.message ?? closeMessage(reason, numbers) + (cause ? ` (${cause.errorCode})` : '');
    ending.bytesReceived = wide(ring, place + 44);
    const info = closeInfo(reason, message, cause, sent);
    this.#tellClosed(connection, word(ring, place + 52) === 0 ? info : { ...info, isBehindBytes: true });
  }

  #tellClosed(connection: NativeConnection, info: CloseInfo): void {
    if (connection.state === 'closed') return;
    connection.state = 'closed';
    connection.endDetaching(`it ended (${info.reason})`);
    this.pinning.delete(connection);
    connection.releasePinned();
    if (connection.referenced) this.dropRef();
    this.#spare = new NativeConnection(this.#spare.entry, NO_MARKS, '', 0);
    connection.entry.handler.close?.(connection, info);
  }

  #takeListenerClosed(id: number): void {
    const listener = this.#listeners.get(id);
    if (listener === undefined) return;
    this.#listeners.delete(id);
    if (this.#rings.length > 1) this.#closedListeners.set(id, listener);
    if (listener.referenced) this.dropRef();
    listener.referenced = false;
    listener.markClosed();
  }

  #entryOf(handler: Handler): HandlerEntry {
    let entry = this.#entries.get(handler);
    if (entry === undefined) {
      entry = { engine: this, handler, turn: 0, isScoped: handler.nextScope !== undefined };
      this.#entries.set(handler, entry);
    }
    return entry;
  }
}
