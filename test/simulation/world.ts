/** The real gateway among simulated clients, backends, names and time. */
import { createGateway, type Gateway } from '../../src/gateway/gateway.js';
import type { Relay } from '../../src/gateway/relay.js';
import type { Session } from '../../src/gateway/session.js';
import { limits } from '../../src/limits.js';
import { SimulatedBackend, SimulatedLink } from './backend.js';
import { broken } from './broken.js';
import { SimulatedClient } from './client.js';
import { Clock } from './clock.js';
import type { Peer, SimulatedConnection } from './connection.js';
import { SimulatedEngine } from './engine.js';
import { Invariants } from './invariants.js';
import { Ledger, META_BYTES } from './ledger.js';
import { NameService } from './name-service.js';
import { BACKEND_PORT, CLIENT_PORT, makePlan, type Plan, PROTOCOLS } from './plan.js';
import { Random } from './random.js';
import { ClientRecord } from './records.js';
import type { Trace } from './trace.js';

/** Microtasks that stand between an answered lookup and its consequences. */
const MICROTASKS = 10;
const MAX_TURNS = 10_000;

export class World {
  readonly random: Random;
  readonly plan: Plan;
  readonly clock: Clock;
  readonly engine: SimulatedEngine;
  readonly gateway: Gateway;
  readonly ledger: Ledger;
  readonly names: NameService;
  readonly trace: Trace;
  readonly backends = new Map<string, SimulatedBackend>();
  clients: SimulatedClient[] = [];
  relay!: Relay;
  invariants!: Invariants;
  #numbers = 0;

  private constructor(seed: number, trace: Trace) {
    this.random = new Random(seed);
    this.plan = makePlan(this.random);
    this.trace = trace;
    this.clock = new Clock(this.random);
    this.ledger = new Ledger(this.clock, trace, this.plan.config);
    this.ledger.isFull = (connection, bytes) => this.#isFull(connection, bytes);
    this.engine = new SimulatedEngine(this.clock, this.random, this.ledger, this.plan.highWaterMark);
    this.engine.dial = (host, port, connection) => this.#dial(host, port, connection);
    this.names = new NameService(this.random);
    this.gateway = createGateway(this.plan.config, {
      engine: this.engine,
      random: this.random.next,
      resolve: this.names.resolve,
      log: trace.enabled ? (_level, event, fields) => trace.add(`log: ${event} ${JSON.stringify(fields)}`) : undefined,
    });
  }

  static async start(seed: number, trace: Trace): Promise<World> {
    const world = new World(seed, trace);
    await world.gateway.start();
    // The first client's session leads to the gateway's inside.
    const client = world.connect(0)!;
    world.engine.turn();
    const session = client.connection.context as { readonly context: { readonly relay: Relay } };
    world.relay = session.context.relay;
    world.invariants = new Invariants(world.relay, world.ledger, world.clock);
    return world;
  }

  /** A client of the listener with this index, unless it is refused. */
  connect(index: number): SimulatedClient | undefined {
    const protocol = PROTOCOLS[index];
    const { route } = this.plan.config.listeners[index];
    const client = new SimulatedClient(protocol, route, this.random, this.plan.temper, this.ledger);
    const number = ++this.#numbers;
    const connection = this.engine.accept(CLIENT_PORT + index, `192.0.2.${number % 8}`, client);
    if (connection === undefined) return undefined;
    client.connection = connection;
    client.record = new ClientRecord(connection, protocol, number);
    connection.record = client.record;
    this.clients.push(client);
    return client;
  }

  /** Answers one lookup of a name and lets its consequences happen. */
  async answerLookup(mayFail: boolean): Promise<void> {
    this.names.answer(mayFail);
    await this.microtasks();
  }

  async microtasks(): Promise<void> {
    for (let i = 0; i < MICROTASKS; i++) await undefined;
  }

  /** Lets time pass, with a turn of the engine after each timer. */
  advance(ms: number): void {
    this.clock.advance(ms, () => this.engine.turn());
    this.engine.sweep();
  }

  /** Turns until nothing moves. */
  settle(): void {
    for (let turns = 0; this.engine.turn(); turns++) {
      if (turns > MAX_TURNS) broken('a gateway comes to rest', `it still moves after ${turns} turns`);
    }
  }

  #dial(host: string, port: number, connection: SimulatedConnection): Peer | undefined {
    this.ledger.dialled(connection, port - BACKEND_PORT);
    const name = `${host}:${port}`;
    let backend = this.backends.get(name);
    if (backend === undefined) {
      backend = new SimulatedBackend(this.random, this.plan.temper);
      this.backends.set(name, backend);
    }
    connection.blackhole = backend.blackhole;
    return backend.down ? undefined : new SimulatedLink(backend, connection);
  }

  #isFull(connection: SimulatedConnection, bytes: number): boolean {
    const { relay } = this;
    const session = connection.context as Session;
    return (
      session.queuedTasks >= session.maxQueuedTasks ||
      relay.queued >= this.plan.config.maxQueuedTotal ||
      relay.queuedBytes + bytes + META_BYTES > limits.maxQueuedBytes
    );
  }
}
