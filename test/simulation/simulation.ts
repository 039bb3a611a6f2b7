/** One seed from its beginning to its end: steps at random, each followed by all checks; then everybody behaves, and nothing may be left over. */
import type { GatewayDrainReport } from '../../src/gateway/drain.js';
import { Broken, broken } from './broken.js';
import { Trace } from './trace.js';
import { World } from './world.js';

export interface Result {
  readonly seed: number;
  readonly steps: number;
  /** Requests that the gateway received. */
  readonly tasks: number;
  /** Sendings after the first. */
  readonly resends: number;
  readonly connections: number;
  /** Of all that was drawn at random: another one means that something went another way. */
  readonly fingerprint: number;
  readonly failure?: Failure;
}

export interface Failure {
  readonly step: number;
  readonly sentence: string;
  readonly stack: string;
  /** What happened last, oldest first. */
  readonly events: readonly string[];
}

const REPORTED_EVENTS = 40;
/** Long enough for links that are not needed to be closed. */
const QUIET_MS = 61_000;
/** Steps between two looks at the gateway's report. */
const REPORT_STEPS = 50;
/** How often everybody is given time at the end. */
const LAST_ROUNDS = 60;
const LAST_ROUND_MS = 200;

/** Runs a seed; one that fails is run again, for the report of what happened last. */
export async function simulate(seed: number, steps: number): Promise<Result> {
  const result = await run(seed, steps, new Trace(false));
  return result.failure === undefined ? result : run(seed, steps, new Trace(true));
}

async function run(seed: number, steps: number, trace: Trace): Promise<Result> {
  const world = await World.start(seed, trace);
  const simulation = new Simulation(world);
  let failure: Failure | undefined;
  try {
    while (simulation.step < steps) await simulation.next();
    await simulation.finish();
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    const sentence = error instanceof Broken ? error.message : `the gateway threw: ${error.message}`;
    failure = { step: simulation.step, sentence, stack: error.stack ?? '', events: trace.last(REPORTED_EVENTS) };
  }
  const { received: tasks, resends } = world.ledger;
  const fingerprint = world.random.below(2 ** 32);
  return { seed, steps, tasks, resends, connections: simulation.connections, fingerprint, failure };
}

class Simulation {
  step = 0;
  connections = 1;
  readonly #world: World;
  /** Once in a seed, or never. */
  readonly #drainStep: number;
  #drain: Promise<GatewayDrainReport> | undefined;

  constructor(world: World) {
    this.#world = world;
    this.#drainStep = world.random.chance(0.3) ? world.random.between(50, 400) : Infinity;
  }

  async next(): Promise<void> {
    this.step++;
    const { engine, random, trace } = this.#world;
    if (trace.enabled) trace.add(`-- step ${this.step}, at ${this.#world.clock.nowMs.toFixed(1)} ms`);
    if (this.step === this.#drainStep) await this.#shutDown();
    // Several in one turn: what one of them leads to meets what the others do.
    for (let acts = random.between(1, 4); acts > 0; acts--) await this.#act();
    engine.turn();
    if (random.chance(0.3)) engine.turn();
    this.#world.invariants.check();
    if (this.step % REPORT_STEPS === 0) this.#world.invariants.checkReport(this.#world.gateway.stats());
  }

  /** Everybody behaves from here on: everything comes to its end. */
  async finish(): Promise<void> {
    const world = this.#world;
    for (let round = 0; round < LAST_ROUNDS && !this.#isOver(); round++) await this.#lastRound();
    this.#checkDone();
    world.ledger.draining = true;
    const report = this.#drain ?? world.gateway.drain(1_000);
    for (let round = 0; round < LAST_ROUNDS && world.clock.timers > 0; round++) await this.#lastRound();
    if (world.clock.timers > 0) broken('a drain comes to its end', `${world.clock.timers} timers still run`);
    for (let round = 0; round < LAST_ROUNDS && world.engine.connections.length > 0; round++) await this.#lastRound();
    this.#checkGone(await report);
  }

  async #lastRound(): Promise<void> {
    const world = this.#world;
    this.step++;
    if (world.trace.enabled) world.trace.add(`-- step ${this.step}, at ${world.clock.nowMs.toFixed(1)} ms: all behave`);
    for (const client of world.clients) client.behave();
    for (const backend of world.backends.values()) backend.behave();
    while (world.names.waiting > 0) await world.answerLookup(false);
    world.advance(LAST_ROUND_MS);
    world.settle();
    // One answer may make way for the next request, many times over.
    while (this.#answerAll()) world.settle();
    world.invariants.check();
  }

  #answerAll(): boolean {
    let answered = false;
    for (const backend of this.#world.backends.values()) if (backend.answerAll()) answered = true;
    return answered;
  }

  #isOver(): boolean {
    const { relay, clients } = this.#world;
    return relay.tracker.open === 0 && clients.every(({ left, unanswered }) => left || unanswered === 0);
  }

  #checkDone(): void {
    const { relay, ledger, clients } = this.#world;
    if (relay.tracker.open > 0) broken('every task has its outcome', `${relay.tracker.open} are open at the end`);
    for (const { left, unanswered, record } of clients) {
      if (!left && unanswered !== 0) {
        broken('every request is answered once', `${unanswered} of client ${record.number} are not at the end`);
      }
    }
    if (ledger.open.size > 0) broken('every request is answered once', `${ledger.open.size} are not at the end`);
    const { outcomes } = relay.tracker;
    const counted = Object.values(ledger.outcomes);
    for (let outcome = 0; outcome < counted.length; outcome++) {
      if (outcomes[outcome] < counted[outcome]) {
        broken('outcomes are what clients were told', `${outcomes.join()}, where clients were told ${counted.join()}`);
      }
    }
  }

  #checkGone(report: GatewayDrainReport): void {
    const { relay, engine, ledger, clock } = this.#world;
    const { table } = relay;
    if (engine.connections.length > 0)
      broken('a drain closes every connection', `${engine.connections.length} are left`);
    if (report.cut < ledger.cut) broken('a drain reports what it cut', `${report.cut}, where ${ledger.cut} were told`);
    const left = { slots: table.size, owners: table.owners.size, links: table.carriers.size, slabs: table.kept.size };
    const rest = { ...left, deadlines: relay.deadlines, indexed: relay.inFlight.size, timers: clock.timers };
    for (const [what, count] of Object.entries(rest)) {
      if (count !== 0) broken('nothing is left over at the end', `${count} ${what}`);
    }
  }

  async #act(): Promise<void> {
    const { random, plan } = this.#world;
    const { clientFaults, backendFaults } = plan.temper;
    const dice = random.next();
    if (dice < clientFaults) this.#clientMisbehaves();
    else if (dice < clientFaults + backendFaults) await this.#backendMisbehaves();
    else if (random.chance(0.4)) this.#clientActs();
    else if (random.chance(0.7)) this.#backendsAnswer();
    else await this.#timePasses();
  }

  #clientActs(): void {
    const { random, plan } = this.#world;
    const clients = this.#activeClients();
    if (clients.length === 0 || (clients.length < plan.temper.clients && random.chance(0.1))) {
      if (this.#world.connect(random.pick([0, 0, 1, 2])) !== undefined) this.connections++;
      return;
    }
    const client = random.pick(clients);
    if (random.chance(0.05)) client.cancel();
    else if (Math.max(client.unanswered, client.connection.unread) < plan.temper.unanswered) client.sendBurst();
  }

  #clientMisbehaves(): void {
    const clients = this.#activeClients();
    if (clients.length > 0) this.#world.random.pick(clients).misbehave();
  }

  #activeClients() {
    this.#world.clients = this.#world.clients.filter(({ left }) => !left);
    return this.#world.clients.filter(({ done }) => !done);
  }

  #backendsAnswer(): void {
    const { backends, plan } = this.#world;
    for (const backend of backends.values()) backend.answer(plan.temper.diligence);
  }

  async #backendMisbehaves(): Promise<void> {
    const { names, random, backends } = this.#world;
    if (random.chance(0.1)) names.change();
    else if (backends.size > 0) random.pick([...backends.values()]).misbehave();
  }

  async #timePasses(): Promise<void> {
    const world = this.#world;
    const { random, plan, names } = world;
    if (names.waiting > 0 && random.chance(0.7)) await world.answerLookup(true);
    const dice = random.next();
    if (dice < 0.02) world.clock.standStill(random.between(500, 3_000));
    else if (dice < 0.021) world.clock.standStill(QUIET_MS);
    else world.advance(random.next() * plan.temper.pace);
  }

  /** In the middle: a drain, an end without one, or both. */
  async #shutDown(): Promise<void> {
    const { gateway, ledger, random, clock } = this.#world;
    // The kernel has accepted one more, which the gateway will hear of.
    this.#world.connect(random.pick([0, 0, 0, 1, 2]));
    ledger.draining = true;
    const graceMs = random.pick([0, 200, 2_000]);
    ledger.cutFromMs = clock.nowMs + graceMs;
    if (random.chance(0.7)) this.#drain = gateway.drain(graceMs);
    if (this.#drain === undefined || random.chance(0.2)) await this.#close();
  }

  async #close(): Promise<void> {
    const { gateway, ledger, clock, relay } = this.#world;
    const cut = relay.tracker.open;
    ledger.cutFromMs = clock.nowMs;
    await gateway.close();
    if (relay.tracker.open > 0) broken('a gateway that is closed has no open task', `${relay.tracker.open}`);
    this.#drain ??= Promise.resolve({ finished: 0, cut, unflushed: 0, durationMs: 0 });
  }
}
