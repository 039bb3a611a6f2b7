// Clients and backends at random, seeded: they stall, die, answer twice, late, wrongly or not at all, half-close, go away and come
// back. After each step: no answer to a wrong client or twice, every task in exactly one place, every bound kept; and at the end
// nothing is left over. A failing seed is in the test's name.
import { describe, expect, test } from 'vitest';
import type { ClientProtocol, RouteConfig } from '../../src/gateway/options.js';
import { STRATEGIES } from '../../src/gateway/allocator.js';
import { encodeHello } from '../../src/protocol/hello.js';
import { encodeMeta } from '../../src/protocol/meta.js';
import { Flag, Kind } from '../../src/protocol/rmp.js';
import type { FakePeer } from '../support/fake-engine.js';
import { encodeFrame, type Frame, GatewayWorld, takeFrames } from '../support/gateway-world.js';

const STEPS = 400;
const BACKENDS = 3;
const MAX_QUEUED = 30;
const MAX_QUEUED_PER_CLIENT = 8;
const MAX_IN_FLIGHT = 6;
const PROTOCOLS: ClientProtocol[] = ['rmp', 'plain', 'lines'];

class SimulatedClient {
  readonly peer: FakePeer;
  readonly protocol: ClientProtocol;
  readonly name: string;
  /** rmp: payloads by id of what waits for its final answer. */
  readonly waiting = new Map<number, string>();
  /** plain, lines: payloads in order of what waits for its answer. */
  readonly row: string[] = [];
  left = false;
  /** Broke the protocol on purpose: may be closed. */
  offended = false;
  sent = 0;

  constructor(peer: FakePeer, protocol: ClientProtocol, name: string) {
    this.peer = peer;
    this.protocol = protocol;
    this.name = name;
  }
}

class Simulation {
  readonly world: GatewayWorld;
  readonly random: () => number;
  clients: SimulatedClient[] = [];
  /** Requests at the backends, answered or not; some are answered again. */
  requests: { peer: FakePeer; frame: Frame }[] = [];
  /** Requests that a backend has in full and did not refuse, by payload. */
  readonly #begun = new Map<string, number>();
  #clients = 0;
  #shift = 0;

  constructor(world: GatewayWorld) {
    this.world = world;
    this.random = world.engine.random;
  }

  step(): void {
    this.#act();
    if (this.random() < 0.7) this.world.engine.turn();
    if (this.random() < 0.2) this.world.engine.settle();
    this.check();
  }

  check(): void {
    for (const client of this.clients) this.#checkAnswers(client);
    const { stats } = this.world;
    expect(this.world.conserved()).toBe(true);
    // Ordered clients may pass the bound by what was read before reading stopped: one frame here.
    const ordered = this.clients.filter(({ protocol }) => protocol !== 'rmp').length;
    expect(stats.queued).toBeLessThanOrEqual(MAX_QUEUED + ordered * 4);
    for (const backend of stats.backends) {
      expect(backend.inFlight).toBeGreaterThanOrEqual(0);
      expect(backend.inFlight).toBeLessThanOrEqual(MAX_IN_FLIGHT);
    }
  }

  /** Everybody behaves from here on: everything must come to an end. */
  async finish(): Promise<void> {
    const { world } = this;
    for (let i = 0; i < BACKENDS; i++) {
      world.server(i).down = false;
      for (const peer of world.server(i).peers) peer.stalled = false;
    }
    for (const client of this.clients) client.peer.stalled = false;
    for (let round = 0; round < 40; round++) {
      world.engine.advance(1_000);
      this.#collect();
      for (const { peer, frame } of this.requests.splice(0)) this.#respond(peer, frame);
      world.engine.settle();
    }
    this.check();
    expect(world.stats).toMatchObject({ open: 0, queued: 0 });
    for (const client of this.clients) {
      if (client.left || client.peer.gone) continue;
      expect([client.name, client.waiting.size + client.row.length]).toEqual([client.name, 0]);
    }
    const drained = world.gateway.drain(1_000);
    world.engine.advance(5_000);
    expect(await drained).toMatchObject({ cut: 0 });
    world.engine.advance(5_000);
    expect(world.stats.backends.map(({ inFlight }) => inFlight)).toEqual(Array(BACKENDS).fill(0));
    expect(world.engine.connections).toBe(0);
  }

  #act(): void {
    const dice = this.random();
    if (dice < 0.06) this.#newClient();
    else if (dice < 0.45) this.#clientSends();
    else if (dice < 0.5) this.#clientCancels();
    else if (dice < 0.53) this.#clientLeaves();
    else if (dice < 0.55) this.#clientOffends();
    else if (dice < 0.57) this.#clientStalls();
    else if (dice < 0.85) this.#backendAnswers();
    else if (dice < 0.92) this.#backendMisbehaves();
    else this.world.engine.advance(Math.floor(this.random() * 150), this.random() < 0.5);
  }

  #pick<T>(items: readonly T[]): T | undefined {
    return items[Math.floor(this.random() * items.length)];
  }

  #active(): SimulatedClient | undefined {
    return this.#pick(this.clients.filter((client) => !client.left && !client.peer.gone));
  }

  #newClient(): void {
    if (this.clients.filter(({ left }) => !left).length >= 8) return;
    const index = Math.floor(this.random() * PROTOCOLS.length);
    const name = `c${++this.#clients}`;
    const peer = this.world.engine.client(8080 + index, `192.0.2.${this.#clients % 250}`);
    this.clients.push(new SimulatedClient(peer, PROTOCOLS[index], name));
  }

  #clientSends(): void {
    const client = this.#active();
    if (client === undefined) return;
    const payload = `${client.name}/${client.sent++}`;
    if (client.protocol === 'rmp') this.#sendRmp(client, payload);
    else this.#sendInRow(client, payload);
  }

  #sendInRow(client: SimulatedClient, payload: string): void {
    client.row.push(payload);
    const head = Buffer.alloc(4);
    head.writeUInt32BE(payload.length);
    client.peer.send(
      client.protocol === 'plain' ? Buffer.concat([head, Buffer.from(payload)]) : Buffer.from(`${payload}\n`),
    );
  }

  #sendRmp(client: SimulatedClient, payload: string): void {
    const id = client.sent * 7919;
    let flags = this.random() < 0.3 ? Flag.idempotent : 0;
    if (this.random() < 0.1) flags |= Flag.noReply;
    else client.waiting.set(id, payload);
    let body: Uint8Array = Buffer.from(payload);
    if (this.random() < 0.2) {
      flags |= Flag.meta;
      body = Buffer.concat([encodeMeta({ token: 'secret', affinityKey: `k${client.sent % 3}` }), body]);
    }
    const arg = this.random() < 0.3 ? 1 + Math.floor(this.random() * 400) : 0;
    client.peer.send(encodeFrame({ id, flags, arg, route: Math.floor(this.random() * 3), payload: body }));
  }

  #clientCancels(): void {
    const client = this.#active();
    if (client === undefined || client.protocol !== 'rmp') return;
    const id = this.#pick([...client.waiting.keys()]);
    client.peer.send(encodeFrame({ kind: Kind.cancel, id: id ?? 12345 }));
  }

  #clientLeaves(): void {
    const client = this.#active();
    if (client === undefined) return;
    client.left = true;
    if (this.random() < 0.5) client.peer.fin();
    else client.peer.rst();
  }

  #clientOffends(): void {
    const client = this.#active();
    if (client === undefined || client.protocol !== 'rmp') return;
    client.offended = true;
    const id = this.#pick([...client.waiting.keys()]);
    client.peer.send(this.random() < 0.5 && id !== undefined ? encodeFrame({ id }) : encodeFrame({ kind: 99 }));
  }

  #clientStalls(): void {
    const client = this.#active();
    if (client !== undefined) client.peer.stalled = !client.peer.stalled;
  }

  #collect(): void {
    for (let i = 0; i < BACKENDS; i++) {
      const requests = this.world.requests(i);
      for (const { frame } of requests) this.#checkRequest(frame);
      this.requests.push(...requests);
    }
  }

  #checkRequest(frame: Frame): void {
    const text = bodyOf(frame).toString();
    const times = (this.#begun.get(text) ?? 0) + 1;
    this.#begun.set(text, times);
    expect(frame.payload.includes('secret')).toBe(false);
    expect(frame.arg).toBeGreaterThan(0);
    // An offender's second request under the same id has no payload.
    if ((frame.flags & Flag.idempotent) === 0 && text !== '') expect([text, times]).toEqual([text, 1]);
  }

  #backendAnswers(): void {
    this.#collect();
    const at = Math.floor(this.random() * this.requests.length);
    const request = this.requests[at];
    if (request === undefined) return;
    const { peer, frame } = request;
    if (this.random() < 0.2) {
      this.#respond(peer, frame, Flag.more);
    } else {
      this.#respond(peer, frame);
      // Kept sometimes, to be answered a second time.
      if (this.random() < 0.9) this.requests.splice(at, 1);
    }
  }

  #respond(peer: FakePeer, frame: Frame, flags = 0): void {
    const text = bodyOf(frame);
    const dice = this.random();
    const refusal = flags === 0 && dice < 0.1;
    const error = flags === 0 && dice < 0.2;
    if (refusal) this.#begun.delete(text.toString());
    peer.send(
      encodeFrame({
        kind: Kind.response,
        id: frame.id,
        flags: refusal ? Flag.notExecuted : flags,
        arg: error ? 14 : 0,
        payload: error ? 'no' : text,
      }),
    );
  }

  #backendMisbehaves(): void {
    const server = this.world.server(Math.floor(this.random() * BACKENDS));
    const peer = this.#pick(server.peers.filter(({ gone }) => !gone));
    server.down = this.random() < 0.2;
    if (peer === undefined) return;
    const acts = [
      () => peer.rst(),
      () => peer.fin(),
      () => (peer.stalled = !peer.stalled),
      () => (peer.takesPerTurn = this.random() < 0.5 ? 7 : Infinity),
      () => peer.send(encodeFrame({ kind: Kind.goingAway, arg: 1_000 })),
      () => peer.send(encodeFrame({ kind: Kind.response, id: Math.floor(this.random() * 2 ** 32), payload: 'whose?' })),
      () => peer.send(Buffer.from('garbage, not a frame')),
      () => peer.send(encodeFrame({ kind: Kind.ping, id: this.#shift++ })),
      () =>
        peer.send(
          encodeFrame({ kind: Kind.hello, payload: encodeHello({ features: 1, maxFrameLength: 0, streamWindow: 0 }) }),
        ),
    ];
    this.#pick(acts)!();
  }

  #checkAnswers(client: SimulatedClient): void {
    if (client.protocol === 'rmp') this.#checkRmp(client);
    else this.#checkOrdered(client);
    if (client.peer.gone && !client.left) {
      // Only who offended, or whose protocol knows no other answer to a failure, is closed.
      expect(client.offended || client.protocol === 'plain').toBe(true);
    }
  }

  #checkRmp(client: SimulatedClient): void {
    for (const { kind, flags, id, arg, payload } of takeFrames(client.peer)) {
      if (kind !== Kind.response) continue;
      const asked = client.waiting.get(id);
      // It used an id whose answer was on its way: to the gateway an id that is free again.
      if (asked === undefined && client.offended) continue;
      expect(asked, `${client.name} was answered under id ${id}, which does not wait`).toBeDefined();
      if (arg === 0) expect(payload.toString()).toBe(asked);
      if ((flags & Flag.more) === 0) client.waiting.delete(id);
    }
  }

  #checkOrdered(client: SimulatedClient): void {
    for (let text = takeAnswer(client); text !== undefined; text = takeAnswer(client)) {
      const asked = client.row.shift();
      expect(asked, `${client.name} got an answer too many`).toBeDefined();
      // Partial responses and the final one say the same and are put together.
      if (!text.startsWith('ERR ')) expect(text.replaceAll(asked!, '')).toBe('');
      else expect(client.protocol).toBe('lines');
    }
  }
}

function bodyOf(frame: Frame): Buffer {
  return (frame.flags & Flag.meta) === 0 ? frame.payload : frame.payload.subarray(2 + frame.payload.readUInt16BE());
}

function takeAnswer({ peer, protocol }: SimulatedClient): string | undefined {
  const { received } = peer;
  const lf = received.indexOf(0x0a);
  const end = protocol === 'lines' ? lf : received.length >= 4 ? 4 + received.readUInt32BE() : Infinity;
  if (end === -1 || received.length < end) return undefined;
  const text = received.toString('utf8', protocol === 'lines' ? 0 : 4, end);
  peer.received = received.subarray(protocol === 'lines' ? end + 1 : end);
  return text;
}

const ROUTES: RouteConfig[] = [
  { route: 0, pool: 'pool', orderBy: 'none' },
  { route: 1, pool: 'pool', orderBy: 'client' },
  { route: 2, pool: 'pool', orderBy: 'key' },
];

const SEEDS = Array.from({ length: Number(process.env.SIMULATION_SEEDS ?? 40) }, (_, i) => i + 1);

describe('simulation', () => {
  test.each(SEEDS)('seed %i', async (seed) => {
    const world = await GatewayWorld.start({
      seed,
      listeners: PROTOCOLS.map((protocol, i) => ({
        name: protocol,
        port: 8080 + i,
        protocol,
        errorReply: protocol === 'lines' ? ('text' as const) : ('close' as const),
        maxQueuedPerClient: MAX_QUEUED_PER_CLIENT,
      })),
      pools: [
        {
          count: BACKENDS,
          strategy: STRATEGIES[seed % STRATEGIES.length],
          maxInFlight: MAX_IN_FLIGHT,
          deadlineMs: 2_000,
          links: { min: 1 + (seed % 2), max: 3, hello: seed % 3 === 0 },
          health: {
            consecutiveFailures: 3,
            ejectMs: 300,
            pingIntervalMs: seed % 2 === 0 ? 500 : 0,
            pingTimeoutMs: 400,
          },
        },
      ],
      routes: ROUTES,
      config: { maxQueuedTotal: MAX_QUEUED },
    });
    const simulation = new Simulation(world);
    for (let step = 0; step < STEPS; step++) simulation.step();
    await simulation.finish();
  });
});
