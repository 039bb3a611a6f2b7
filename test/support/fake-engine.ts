/**
 * A fake Engine for tests of everything above the seam: connections in memory, a clock that is told the time, and a seed that
 * decides in which order and in which pieces bytes arrive. The other ends of its connections are `FakePeer`s, puppets of the
 * test. Frames are delivered inside a larger buffer that is overwritten after the call, so that nothing can rely on borrowed bytes.
 */
import type {
  CloseInfo,
  Connection,
  ConnectionOptions,
  ConnectOptions,
  Engine,
  Handler,
  Kept,
  Listener,
  ListenOptions,
} from '../../src/engine/engine.js';
import { type CloseReason, COUNTERS, type CounterName } from '../../src/engine/tables.gen.js';

const LINGER_MS = 2_000;
const POISON = 0xee;

/** Mulberry32: 32 bits of state, enough to shuffle events. */
export function seededRandom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}

type Event =
  | { kind: 'open' }
  | { kind: 'refuse' }
  | { kind: 'bytes'; bytes: Buffer }
  | { kind: 'fin' }
  | { kind: 'rst' };

/** The other end of a connection. */
export class FakePeer {
  readonly connection: FakeConnection;
  /** Takes no bytes while true. */
  stalled = false;
  /** Bytes taken per turn at most. */
  takesPerTurn = Infinity;
  /** Everything taken so far and not yet looked at by the test. */
  received: Buffer = Buffer.alloc(0);
  sawFin = false;
  sawRst = false;
  /** Told after bytes came. */
  onReceive: () => void = () => {};

  constructor(connection: FakeConnection) {
    this.connection = connection;
  }

  get gone(): boolean {
    return this.sawFin || this.sawRst;
  }

  send(...parts: Uint8Array[]): void {
    this.connection.push({ kind: 'bytes', bytes: Buffer.concat(parts) });
  }

  fin(): void {
    this.connection.push({ kind: 'fin' });
  }

  rst(): void {
    this.connection.push({ kind: 'rst' });
  }

  take(bytes: Buffer): void {
    this.received = Buffer.concat([this.received, bytes]);
    this.onReceive();
  }
}

export class FakeConnection implements Connection {
  context: unknown;
  readonly id: number;
  state: 'connecting' | 'open' | 'closing' | 'closed';
  readonly remoteAddress: string;
  readonly remotePort = 1;
  readonly remoteFamily = 'IPv4';
  readonly localAddress = '127.0.0.1';
  readonly localPort = 2;
  readonly localFamily = 'IPv4';
  readonly peer = new FakePeer(this);
  readonly handler: Handler;
  readonly options: ConnectionOptions;
  bytesQueued = 0;
  bytesReceived = 0;
  paused = false;
  lastActiveMs: number;
  closingSinceMs = 0;

  readonly #engine: FakeEngine;
  #events: Event[] = [];
  #outgoing: Buffer[] = [];
  #buffered = 0;
  #received: Buffer = Buffer.alloc(0);
  #needsDrain = false;
  #finQueued = false;
  #ending: { reason: CloseReason; message: string; reset: boolean } | undefined;

  constructor(engine: FakeEngine, id: number, options: ConnectionOptions, handler: Handler, address: string) {
    this.#engine = engine;
    this.id = id;
    this.options = options;
    this.handler = handler;
    this.remoteAddress = address;
    this.state = 'connecting';
    this.lastActiveMs = engine.now();
  }

  get bufferedAmount(): number {
    return this.#buffered;
  }

  get idle(): boolean {
    return this.#events.length === 0 && this.#buffered === 0 && this.#ending === undefined;
  }

  send(...parts: Uint8Array[]): boolean {
    for (const part of parts) this.#queue(part, 0, part.length);
    return this.#belowMark();
  }

  sendPinned(bytes: Uint8Array): boolean {
    return this.send(bytes);
  }

  sendNow(header: Uint8Array, headerLength: number, bytes: Uint8Array, start: number, end: number): boolean {
    return this.sendFrame(header, headerLength, bytes, start, end);
  }

  sendFrame(header: Uint8Array, headerLength: number, bytes: Uint8Array, start: number, end: number): boolean {
    this.#queue(header, 0, headerLength);
    this.#queue(bytes, start, end);
    return this.#belowMark();
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
  }

  shutdown(): void {
    this.#finQueued = true;
  }

  close(reason: CloseReason = 'closed', message = ''): void {
    this.#end(reason, message, false);
  }

  /** The peer takes all that is queued, or, stalled, nothing. */
  destroy(reason: CloseReason = 'closed', message = ''): void {
    if (!this.peer.stalled) this.#flush();
    this.#end(reason, message, true);
  }

  reset(reason: CloseReason = 'aborted', message = ''): void {
    this.destroy(reason, message);
  }

  abort(reason: CloseReason = 'aborted', message = ''): void {
    this.#end(reason, message, true);
  }

  setFraming(): void {
    throw new Error('the fake engine has one framing per connection');
  }

  detach(): Promise<number> {
    return Promise.reject(new Error('a fake connection has no descriptor'));
  }

  setNoDelay(): void {}
  setKeepAlive(): void {}
  ref(): void {}
  unref(): void {}

  push(event: Event): void {
    if (this.state !== 'closed') this.#events.push(event);
  }

  /** Sends and delivers what this turn allows. Answers whether anything happened. */
  turn(): boolean {
    if (this.state === 'closed') return false;
    if (this.#ending?.reset) return this.#finish('aborted');
    const moved = this.#flush();
    if (this.#ending !== undefined) return this.#linger() || moved;
    return this.#deliver() || moved;
  }

  fail(reason: CloseReason, message = ''): void {
    if (this.state !== 'closed' && this.#ending === undefined) this.#end(reason, message, true);
  }

  #queue(bytes: Uint8Array, start: number, end: number): void {
    if (this.state !== 'open' || this.#finQueued) return;
    const copy = Buffer.from(bytes.subarray(start, end));
    this.#outgoing.push(copy);
    this.#buffered += copy.length;
    this.bytesQueued += copy.length;
    if (this.#buffered > (this.options.maxBufferedBytes ?? 2 ** 25)) this.fail('send-buffer-full');
  }

  #belowMark(): boolean {
    if (this.state !== 'open') return false;
    if (this.#buffered <= (this.options.highWaterMark ?? 65_536)) return true;
    this.#needsDrain = true;
    return false;
  }

  #end(reason: CloseReason, message: string, reset: boolean): void {
    if (this.state === 'closed' || this.#ending?.reset) return;
    if (this.#ending !== undefined && !reset) return;
    this.#ending = { reason, message, reset };
    this.closingSinceMs = this.#engine.now();
    if (this.state === 'open') this.state = 'closing';
  }

  #flush(): boolean {
    const { peer } = this;
    if (peer.stalled || this.#buffered === 0) {
      if (this.#finQueued && this.#buffered === 0) peer.sawFin = true;
      return false;
    }
    const all = Buffer.concat(this.#outgoing);
    const taken = all.subarray(0, Math.min(all.length, peer.takesPerTurn));
    const left = all.subarray(taken.length);
    this.#outgoing = left.length > 0 ? [left] : [];
    this.#buffered = left.length;
    this.lastActiveMs = this.#engine.now();
    peer.take(taken);
    const low = this.options.lowWaterMark ?? (this.options.highWaterMark ?? 65_536) / 2;
    if (this.#needsDrain && this.#buffered <= low && this.state === 'open') {
      this.#needsDrain = false;
      this.handler.drain?.(this);
    }
    return true;
  }

  #linger(): boolean {
    if (this.#buffered > 0 && this.#engine.now() - this.closingSinceMs < LINGER_MS) return false;
    return this.#finish('closed');
  }

  #deliver(): boolean {
    const event = this.#events[0];
    if (event === undefined || (this.paused && event.kind !== 'rst' && event.kind !== 'open')) return false;
    this.#events.shift();
    switch (event.kind) {
      case 'open':
        this.state = 'open';
        this.handler.open?.(this);
        break;
      case 'refuse':
        this.#ending = { reason: 'connect-failed', message: 'refused', reset: true };
        this.#finish('connect-failed', 'ECONNREFUSED');
        break;
      case 'bytes':
        this.#receive(event.bytes);
        break;
      case 'fin':
        this.#receiveFin();
        break;
      case 'rst':
        this.#ending = { reason: 'peer-reset', message: 'reset', reset: true };
        this.#finish('peer-reset', 'ECONNRESET');
    }
    return true;
  }

  #receive(bytes: Buffer): void {
    this.lastActiveMs = this.#engine.now();
    // Now and then in two pieces.
    const cut = this.#engine.random() < 0.3 ? Math.floor(this.#engine.random() * bytes.length) : bytes.length;
    if (cut > 0 && cut < bytes.length) {
      this.#events.unshift({ kind: 'bytes', bytes: bytes.subarray(cut) });
      bytes = bytes.subarray(0, cut);
    }
    this.bytesReceived += bytes.length;
    this.#received = Buffer.concat([this.#received, bytes]);
    for (let frame = this.#nextFrame(); frame !== undefined; frame = this.#nextFrame()) this.#deliverFrame(frame);
    this.#engine.touched.add(this.handler);
  }

  #receiveFin(): void {
    const { framing } = this.options;
    if (framing.format === 'delimiter' && framing.acceptUnterminated && this.#received.length > 0) {
      this.#deliverFrame(this.#received);
    }
    if (this.state !== 'open') return;
    if (this.handler.end === undefined) this.close('peer-closed');
    else this.handler.end(this);
  }

  #deliverFrame(frame: Buffer): void {
    if (this.state !== 'open') return;
    const start = 1 + Math.floor(this.#engine.random() * 40);
    const bytes = new Uint8Array(start + frame.length + 8).fill(POISON);
    bytes.set(frame, start);
    this.handler.frame(this, bytes, start, start + frame.length);
    bytes.fill(POISON);
  }

  #nextFrame(): Buffer | undefined {
    const { framing } = this.options;
    if (this.state !== 'open' || this.#received.length === 0) return undefined;
    if (framing.format === 'delimiter') return this.#nextLine();
    if (framing.format !== 'length-field') return this.#take(this.#received.length, 0);
    if (this.#received.length < 4) return undefined;
    const length = this.#received.readUInt32BE(0);
    const header = framing.headerLength ?? 0;
    const limit = (framing.maxFrameLength ?? 2 ** 24) + header;
    if (length > limit) this.fail('frame-too-long', `a frame of ${length} bytes is over maxFrameLength ${limit}`);
    else if (length < header) this.fail('bad-frame', `malformed frame: declared length ${length}`);
    else if (this.#received.length >= 4 + length) return this.#take(4 + length, framing.initialBytesToStrip ?? 0);
    return undefined;
  }

  #nextLine(): Buffer | undefined {
    const at = this.#received.indexOf(0x0a);
    if (at === -1) return undefined;
    const line = this.#take(at + 1, 0);
    const end = line.length > 1 && line[line.length - 2] === 0x0d ? line.length - 2 : line.length - 1;
    return line.subarray(0, end);
  }

  #take(length: number, strip: number): Buffer {
    const frame = this.#received.subarray(strip, length);
    this.#received = this.#received.subarray(length);
    return frame;
  }

  #finish(_how: string, errorCode?: string): boolean {
    const { reason, message, reset } = this.#ending!;
    this.state = 'closed';
    if (reset) this.peer.sawRst = true;
    else this.peer.sawFin = true;
    const info: CloseInfo = { reason, message, errorCode, bytesHandedToKernel: this.bytesQueued - this.#buffered };
    this.#engine.forget(this);
    this.handler.close?.(this, info);
    return true;
  }
}

/** A server at an address the engine connects to. */
export class FakeServer {
  /** Refuses connections. */
  down = false;
  /** Open and former connections, oldest first. */
  readonly peers: FakePeer[] = [];
  onPeer: (peer: FakePeer) => void = () => {};

  /** The newest connection. */
  get peer(): FakePeer {
    return this.peers[this.peers.length - 1];
  }
}

class FakeListener implements Listener {
  readonly address: { readonly host: string; readonly port: number };
  readonly options: ListenOptions;
  readonly handler: Handler;
  connections = 0;
  closed = false;

  constructor(options: ListenOptions, handler: Handler) {
    this.options = options;
    this.handler = handler;
    this.address = { host: options.host ?? '127.0.0.1', port: options.port ?? 0 };
  }

  async close(): Promise<void> {
    this.closed = true;
  }

  ref(): void {}
  unref(): void {}
}

export class FakeEngine implements Engine {
  readonly name = 'portable';
  readonly reason = 'a fake for tests';
  readonly reactors = 0;
  readonly random: () => number;
  /** Handlers that were given frames in this turn. */
  readonly touched = new Set<Handler>();
  #nowMs = 1_000;
  #nextId = 1;
  readonly #connections = new Set<FakeConnection>();
  readonly #listeners: FakeListener[] = [];
  readonly #servers = new Map<number, FakeServer>();
  readonly #timers = new Set<{ everyMs: number; nextMs: number; callback: () => void }>();

  constructor(seed = 1) {
    this.random = seededRandom(seed);
  }

  // Engine.

  async listen(options: ListenOptions, handler: Handler): Promise<Listener> {
    const taken = this.#listeners.some((other) => !other.closed && other.address.port === options.port);
    if (taken) throw Object.assign(new Error('in use'), { code: 'EADDRINUSE', port: options.port });
    const listener = new FakeListener(options, handler);
    this.#listeners.push(listener);
    return listener;
  }

  adopt(): Connection {
    throw new Error('there are no descriptors here');
  }

  connect(options: ConnectOptions, handler: Handler): Connection {
    const connection = this.#add(options, handler, options.host ?? '127.0.0.1');
    const server = this.#servers.get(options.port!);
    if (server === undefined || server.down) {
      connection.push({ kind: 'refuse' });
      return connection;
    }
    connection.push({ kind: 'open' });
    server.peers.push(connection.peer);
    server.onPeer(connection.peer);
    return connection;
  }

  keep(bytes: Uint8Array, start: number, end: number): Kept {
    return { bytes: new Uint8Array(bytes.subarray(start, end)), start: 0 };
  }

  keepReusable(bytes: Uint8Array, start: number, end: number): Kept {
    return { ...this.keep(bytes, start, end), isReusable: true };
  }

  /** Whoever still looked at it later would see what no client sent. */
  allocate(bytes: number): Uint8Array {
    return new Uint8Array(bytes);
  }

  reuse(bytes: Uint8Array): void {
    queueMicrotask(() => bytes.fill(POISON));
  }

  now(): number {
    return this.#nowMs;
  }

  every(everyMs: number, callback: () => void): () => void {
    const timer = { everyMs, nextMs: this.#nowMs + everyMs, callback };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  counters(): Record<CounterName, number> {
    return Object.fromEntries(COUNTERS.map(({ name }) => [name, 0])) as Record<CounterName, number>;
  }

  async close(): Promise<void> {
    for (const connection of this.#connections) connection.fail('engine-closed');
    this.settle();
  }

  // The test's side.

  get connections(): number {
    return this.#connections.size;
  }

  get timers(): number {
    return this.#timers.size;
  }

  server(port: number): FakeServer {
    const server = this.#servers.get(port) ?? new FakeServer();
    this.#servers.set(port, server);
    return server;
  }

  /** A client of the listener at `port`. */
  client(port: number, address = '192.0.2.1'): FakePeer {
    const listener = this.#listeners.find((other) => other.address.port === port);
    if (listener === undefined) throw new Error(`nothing listens on ${port}`);
    const connection = this.#add(listener.options, listener.handler, address);
    connection.push(listener.closed ? { kind: 'refuse' } : { kind: 'open' });
    return connection.peer;
  }

  /** One turn of the loop over all connections, in random order. Answers whether anything happened. */
  turn(): boolean {
    let moved = false;
    for (const connection of this.#shuffled()) moved = connection.turn() || moved;
    for (const handler of this.touched) handler.batchEnd?.();
    this.touched.clear();
    return moved;
  }

  /** Turns until nothing moves. */
  settle(): void {
    for (let turns = 0; this.turn(); turns++) {
      if (turns > 100_000) throw new Error('the fake engine does not come to rest');
    }
  }

  /** Lets time pass, timers and turns included. */
  advance(ms: number, settle = true): void {
    const until = this.#nowMs + ms;
    for (let next = this.#nextTimer(); next <= until; next = this.#nextTimer()) {
      this.#nowMs = Math.max(next, this.#nowMs);
      this.#runTimers();
      if (settle) this.settle();
    }
    this.#nowMs = until;
    this.#closeIdle();
    if (settle) this.settle();
  }

  /** The whole process stood still for so long: no timer ran, nothing was read. */
  stall(ms: number): void {
    this.#nowMs += ms;
    for (const timer of this.#timers) timer.nextMs = this.#nowMs;
    this.#runTimers();
    this.settle();
  }

  forget(connection: FakeConnection): void {
    this.#connections.delete(connection);
  }

  #add(options: ConnectionOptions, handler: Handler, address: string): FakeConnection {
    const connection = new FakeConnection(this, this.#nextId++, options, handler, address);
    this.#connections.add(connection);
    return connection;
  }

  #shuffled(): FakeConnection[] {
    const all = [...this.#connections];
    for (let i = all.length - 1; i > 0; i--) {
      const j = Math.floor(this.random() * (i + 1));
      [all[i], all[j]] = [all[j], all[i]];
    }
    return all;
  }

  #nextTimer(): number {
    let next = Infinity;
    for (const timer of this.#timers) next = Math.min(next, timer.nextMs);
    return next;
  }

  #runTimers(): void {
    for (const timer of [...this.#timers]) {
      if (timer.nextMs > this.#nowMs) continue;
      timer.nextMs += timer.everyMs;
      timer.callback();
    }
  }

  #closeIdle(): void {
    for (const connection of this.#connections) {
      const limit = connection.options.idleTimeoutMs ?? 300_000;
      if (limit === 0 || connection.state !== 'open' || this.#nowMs - connection.lastActiveMs < limit) continue;
      if (connection.handler.idle?.(connection)) connection.lastActiveMs = this.#nowMs;
      else connection.fail('idle-timeout');
    }
  }
}
