/**
 * A fake Engine for simulations: whole frames, in memory, in an order that a seed decides. As mean as the contract in
 * src/engine/engine.ts allows: the bytes of a frame are overwritten after the call, frames of one turn share slabs, what was
 * read before `pause` still comes, `bufferedAmount` lags, closing takes its time. Bytes in pieces are the framers' matter and
 * tested there.
 */
import type {
  CloseInfo,
  Connection,
  ConnectOptions,
  Engine,
  Handler,
  Kept,
  Listener,
  ListenOptions,
} from '../../src/engine/engine.js';
import { type CloseReason, COUNTERS, type CounterName } from '../../src/engine/tables.gen.js';
import type { Clock } from './clock.js';
import { type Peer, type Sent, SimulatedConnection } from './connection.js';
import type { Random } from './random.js';

/** Sees all that passes the seam, at the moment it does. */
export interface Witness {
  opened(connection: SimulatedConnection): void;
  /** The gateway is about to be given a frame. */
  hears(connection: SimulatedConnection, frame: Uint8Array): void;
  /** And has been. */
  heard(connection: SimulatedConnection): void;
  /**
   * The gateway sends; `queued` is false where the connection takes nothing any more. Answers with what the peer gets once all of
   * it has left; undefined for a part of a frame.
   */
  said(
    connection: SimulatedConnection,
    queued: boolean,
    header: Uint8Array,
    headerLength: number,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): Sent | undefined;
  /** The gateway stops reading, or goes on. */
  reading(connection: SimulatedConnection, on: boolean): void;
  /** The peer's FIN is about to be told. */
  ended(connection: SimulatedConnection): void;
  /** The gateway ends the connection: it is told nothing more, and nothing more is sent. */
  closing(connection: SimulatedConnection, reason: CloseReason): void;
  /** The end is about to be told. */
  closed(connection: SimulatedConnection, info: CloseInfo): void;
}

/** Who answers a connect: undefined refuses it. */
export type Dial = (host: string, port: number, connection: SimulatedConnection) => Peer | undefined;

const POISON = 0xee;
const SLAB_BYTES = 2_048;
/** Frames of one connection per turn. */
const MAX_CREDIT = 16;

class SimulatedListener implements Listener {
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

const nobody: Peer = { opened() {}, take() {}, over() {} };

export class SimulatedEngine implements Engine {
  readonly name = 'portable';
  readonly reason = 'a simulation';
  readonly reactors = 0;
  readonly random: Random;
  readonly witness: Witness;
  /** Of connections that ask for none of their own. */
  readonly highWaterMark: number;
  readonly connections: SimulatedConnection[] = [];
  dial: Dial = () => undefined;
  readonly #clock: Clock;
  readonly #listeners: SimulatedListener[] = [];
  readonly #touched = new Set<Handler>();
  #nextId = 1;
  #scratch = new Uint8Array(4_096);
  #delivering = false;
  #slab = new Uint8Array(0);
  #slabUsed = 0;
  /** In this turn, by tasks. */
  readonly #returned = new Set<Uint8Array>();

  constructor(clock: Clock, random: Random, witness: Witness, highWaterMark: number) {
    this.#clock = clock;
    this.random = random;
    this.witness = witness;
    this.highWaterMark = highWaterMark;
  }

  // Engine.

  async listen(options: ListenOptions, handler: Handler): Promise<Listener> {
    const listener = new SimulatedListener(options, handler);
    this.#listeners.push(listener);
    return listener;
  }

  adopt(): Connection {
    throw new Error('there are no descriptors here');
  }

  connect(options: ConnectOptions, handler: Handler): Connection {
    const host = options.host ?? '127.0.0.1';
    const connection = new SimulatedConnection(this, this.#nextId++, options, handler, host, nobody);
    this.connections.push(connection);
    const peer = this.dial(host, options.port!, connection);
    if (peer === undefined) {
      connection.push({ kind: 'refuse' });
    } else {
      connection.peer = peer;
      connection.push({ kind: 'open' });
    }
    return connection;
  }

  keep(bytes: Uint8Array, start: number, end: number): Kept {
    if (bytes !== this.#scratch) return { bytes: new Uint8Array(bytes.subarray(start, end)), start: 0 };
    if (!this.#delivering) throw new Error('the bytes of a frame are kept while it is delivered');
    const length = end - start;
    if (this.#slabUsed + length > this.#slab.length) {
      this.#slab = new Uint8Array(Math.max(SLAB_BYTES, length));
      this.#slabUsed = 0;
    }
    this.#returned.delete(this.#slab);
    const at = this.#slabUsed;
    this.#slab.set(bytes.subarray(start, end), at);
    this.#slabUsed += length;
    return { bytes: this.#slab, start: at };
  }

  keepReusable(bytes: Uint8Array, start: number, end: number): Kept {
    return { ...this.keep(bytes, start, end), isReusable: true };
  }

  allocate(bytes: number): Uint8Array {
    return new Uint8Array(bytes);
  }

  reuse(bytes: Uint8Array): void {
    if (this.#returned.has(bytes)) throw new Error('memory of payloads is given back twice');
    this.#returned.add(bytes);
  }

  now(): number {
    return this.#clock.nowMs;
  }

  every(intervalMs: number, callback: () => void): () => void {
    return this.#clock.every(intervalMs, callback);
  }

  counters(): Record<CounterName, number> {
    return Object.fromEntries(COUNTERS.map(({ name }) => [name, 0])) as Record<CounterName, number>;
  }

  async close(): Promise<void> {
    for (const connection of this.connections) connection.fail('engine-closed');
  }

  // The simulation's side.

  /** A client of the listener at `port`; undefined when it is refused. */
  accept(port: number, address: string, peer: Peer): SimulatedConnection | undefined {
    const listener = this.#listeners.find((other) => other.address.port === port)!;
    if (listener.closed || listener.connections >= (listener.options.maxConnections ?? Infinity)) return undefined;
    listener.connections++;
    const connection = new SimulatedConnection(this, this.#nextId++, listener.options, listener.handler, address, peer);
    this.connections.push(connection);
    connection.push({ kind: 'open' });
    return connection;
  }

  /** One turn of the loop over all connections, in random order. Answers whether anything happened. */
  turn(): boolean {
    const order = this.#shuffled();
    let moved = false;
    for (const connection of order) if (connection.flush()) moved = true;
    for (const connection of order) if (connection.deliver()) moved = true;
    for (const handler of this.#touched) handler.batchEnd?.();
    this.#touched.clear();
    // Whoever still looks at memory that was given back sees what no client sent.
    for (const slab of this.#returned) slab.fill(POISON);
    this.#returned.clear();
    // The next turn's frames lie in other slabs.
    this.#slabUsed = this.#slab.length;
    return moved;
  }

  /** Closes what was idle or stalled for too long. */
  sweep(): void {
    for (const connection of [...this.connections]) connection.sweep(this.#clock.nowMs);
  }

  credit(): number {
    return 1 + this.random.below(MAX_CREDIT);
  }

  deliver(connection: SimulatedConnection, frame: Uint8Array): void {
    const start = 1 + (frame.length & 7);
    const end = start + frame.length;
    if (this.#scratch.length < end) this.#scratch = new Uint8Array(end * 2);
    const scratch = this.#scratch;
    scratch.set(frame, start);
    this.#delivering = true;
    this.#touched.add(connection.handler);
    this.witness.hears(connection, frame);
    connection.handler.frame(connection, scratch, start, end);
    this.#delivering = false;
    scratch.fill(POISON, start, end);
    this.witness.heard(connection);
  }

  forget(connection: SimulatedConnection): void {
    const { connections } = this;
    connections[connections.indexOf(connection)] = connections[connections.length - 1];
    connections.pop();
    const listener = this.#listeners.find(({ handler }) => handler === connection.handler);
    if (listener !== undefined) listener.connections--;
  }

  #shuffled(): SimulatedConnection[] {
    const order = [...this.connections];
    for (let i = order.length - 1; i > 0; i--) {
      const j = this.random.below(i + 1);
      const other = order[i];
      order[i] = order[j];
      order[j] = other;
    }
    return order;
  }
}
