/**
 * The gateway: listeners for clients, pools of backends, and the relay of tasks between them, on any engine. One per JavaScript
 * thread; the engine is the caller's and is not closed here.
 */
import { lookup } from 'node:dns/promises';
import type { BoundAddress, CloseInfo, Engine, Listener } from '../engine/engine.js';
import type { BackendConnection } from './backend-connection.js';
import { Drain, type GatewayDrainReport } from './drain.js';
import { ClientListener } from './listener.js';
import type { GatewayConfig, Log } from './options.js';
import { Pool } from './pool.js';
import { RefusalLog } from './refusal-log.js';
import { Relay } from './relay.js';
import { type GatewayReport, makeReport } from './report.js';
import type { ClientCounters, Session } from './session.js';
import { Ticker } from './ticker.js';

/** What a gateway is given to run on. */
export interface GatewayDeps {
  /** The caller's: it outlives the gateway. */
  readonly engine: Engine;
  /** In [0, 1). Default Math.random. */
  readonly random?: () => number;
  /** Default: nothing is logged. */
  readonly log?: Log;
  /** All IP addresses of a name. Default: the system's resolver. */
  readonly resolve?: (host: string) => Promise<readonly string[]>;
}

/** Where one listener of a gateway is bound. */
export interface ListenerAddress {
  /** The listener's, in the configuration. */
  readonly name: string;
  /** With the real port. */
  readonly address: BoundAddress;
}

/** A running gateway. Made by `createGateway`; does nothing before `start`. */
export interface Gateway {
  /** Bound addresses, once started, in the order of the configuration's listeners. */
  readonly addresses: readonly ListenerAddress[];
  /** Some backend of every pool has an open link. */
  readonly ready: boolean;
  /** Listens, and begins to connect. Does not wait for backends. @throws what `Engine.listen` throws; nothing is left open then. */
  start(): Promise<void>;
  /**
   * Stops accepting, says going-away, finishes what is in flight, flushes, closes. What is open after `graceMs` (default
   * `drainGraceMs`) is answered UNAVAILABLE and counted in `cut`. A second call answers with the first one's promise.
   */
  drain(graceMs?: number): Promise<GatewayDrainReport>;
  /** At once: every open task is answered UNAVAILABLE, every connection closed. Also ends a drain. */
  close(): Promise<void>;
  /** What it has counted and holds at this moment. */
  stats(): GatewayReport;
}

/**
 * A gateway that is yet to be started.
 *
 * @param config Whole and checked, as `loadConfig` gives it.
 * @param deps The engine it runs on, and what tests replace.
 */
export function createGateway(config: GatewayConfig, deps: GatewayDeps): Gateway {
  return new RunningGateway(config, deps);
}

class RunningGateway implements Gateway {
  readonly #config: GatewayConfig;
  readonly #engine: Engine;
  readonly #log: Log;
  readonly #relay: Relay;
  readonly #refusals: RefusalLog;
  readonly #pools: Pool[];
  readonly #listeners: ClientListener[];
  readonly #clientCounters: ClientCounters = {
    protocolErrors: 0,
    ignoredFrames: 0,
    failuresClosed: 0,
    pauses: 0,
    closeReasons: new Map(),
  };
  #clients = 0;
  readonly #ticker: Ticker;
  #drain: Drain | undefined;

  constructor(config: GatewayConfig, deps: GatewayDeps) {
    const { engine, random = Math.random, log = () => {}, resolve = lookUp } = deps;
    this.#config = config;
    this.#engine = engine;
    this.#log = log;
    this.#relay = new Relay({ engine, log, random, maxQueuedTotal: config.maxQueuedTotal });
    this.#ticker = new Ticker({
      engine,
      tick: () => this.#tick(),
      isBusy: () => this.#relay.tracker.open > 0 || this.#drain !== undefined,
      atNextTask: (callback) => this.#relay.atNextTask(callback),
    });
    this.#refusals = new RefusalLog(engine, this.#relay.counters, log);
    const { table } = this.#relay;
    const maxRequestBytes = Math.max(0, ...config.listeners.map(({ maxFrameLength }) => maxFrameLength));
    const events = this.#relay;
    events.onLinkClosed = (link, info) => this.#countLink(link, info);
    this.#pools = config.pools.map(
      (pool) => new Pool(pool, { engine, table, events, random, log, resolve, maxRequestBytes }),
    );
    for (const { route, pool, orderBy } of config.routes) this.#relay.setRoute(route, this.#pool(pool), orderBy);
    this.#listeners = config.listeners.map((listener) => this.#listener(listener));
  }

  get addresses(): { name: string; address: Listener['address'] }[] {
    return this.#listeners.flatMap(({ name, address }) => (address === undefined ? [] : [{ name, address }]));
  }

  get ready(): boolean {
    return this.#drain === undefined && this.#pools.every((pool) => pool.reachable);
  }

  async start(): Promise<void> {
    const now = this.#engine.now();
    for (const pool of this.#pools) pool.start(now);
    this.#ticker.wake();
    try {
      for (const listener of this.#listeners) await listener.listen(this.#engine);
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  drain(graceMs = this.#config.drainGraceMs): Promise<GatewayDrainReport> {
    if (this.#drain === undefined) {
      this.#log('info', 'gateway.draining', { open: this.#relay.tracker.open, graceMs });
      this.#relay.draining = true;
      this.#ticker.wake();
      const now = this.#engine.now();
      this.#drain = new Drain(this.#drainTarget(), now, graceMs);
      for (const listener of this.#listeners) listener.goAway(graceMs);
      this.#leaveIdlePools(this.#drain, now);
    }
    return this.#drain.done;
  }

  async close(): Promise<void> {
    this.#relay.draining = true;
    const cut = this.#relay.cut();
    if (cut > 0) this.#log('warn', 'gateway.cut', { tasks: cut });
    if (this.#drain === undefined) this.#hangUp();
    else this.#drain.finish(this.#engine.now(), cut);
    await Promise.all(this.#listeners.map((listener) => listener.stop()));
  }

  stats(): GatewayReport {
    return makeReport({
      engine: this.#engine,
      relay: this.#relay,
      pools: this.#pools,
      listeners: this.#listeners,
      clientCounters: this.#clientCounters,
      draining: this.#drain !== undefined,
    });
  }

  #tick(): void {
    const now = this.#engine.now();
    for (const pool of this.#pools) pool.tick(now);
    this.#relay.tick(now);
    if (this.#drain !== undefined) this.#leaveIdlePools(this.#drain, now);
    this.#drain?.tick(now);
    this.#refusals.tick(now);
  }

  #leaveIdlePools(drain: Drain, now: number): void {
    for (const pool of this.#pools) pool.sayGoingAwayIfIdle(drain.graceLeftMs(now));
  }

  #pool(name: string): Pool {
    const pool = this.#pools.find(({ config }) => config.name === name);
    if (pool === undefined) throw new RangeError(`routes name the pool '${name}', which does not exist`);
    return pool;
  }

  #listener(config: GatewayConfig['listeners'][number]): ClientListener {
    return new ClientListener({
      context: { config, relay: this.#relay, log: this.#log, counters: this.#clientCounters },
      nextNumber: () => (this.#clients = (this.#clients + 1) | 0),
      byClient: this.#config.pools.some(({ strategy }) => strategy === 'consistent-hash'),
    });
  }

  #countLink(_link: BackendConnection, info: CloseInfo): void {
    const { closeReasons } = this.#clientCounters;
    closeReasons.set(info.reason, (closeReasons.get(info.reason) ?? 0) + 1);
  }

  #drainTarget(): ConstructorParameters<typeof Drain>[0] {
    const relay = this.#relay;
    const listeners = this.#listeners;
    return {
      get open() {
        return relay.tracker.open;
      },
      get clients() {
        return listeners.reduce((sum, { sessions }) => sum + sessions.size, 0);
      },
      unflushed: () => this.#sessions().filter(({ connection }) => connection.bufferedAmount > 0).length,
      cut: () => relay.cut(),
      hangUp: () => this.#hangUp(),
    };
  }

  #sessions(): Session[] {
    return this.#listeners.flatMap((listener) => [...listener.sessions]);
  }

  #hangUp(): void {
    this.#ticker.stop();
    for (const listener of this.#listeners) listener.hangUp();
    for (const pool of this.#pools) pool.stop();
  }
}

async function lookUp(host: string): Promise<string[]> {
  const addresses = await lookup(host, { all: true });
  return addresses.map(({ address }) => address);
}
