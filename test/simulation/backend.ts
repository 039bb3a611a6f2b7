/** A backend of the simulated world: answers late, twice, wrongly or not at all, stalls, goes away, dies, comes back. */
import { type CloseReason, Status } from '../../src/engine/tables.gen.js';
import { limits } from '../../src/limits.js';
import { encodeHello } from '../../src/protocol/hello.js';
import { encodeMeta } from '../../src/protocol/meta.js';
import { Flag, Kind } from '../../src/protocol/rmp.js';
import type { Peer, Sent, SimulatedConnection } from './connection.js';
import type { Temper } from './plan.js';
import type { Random } from './random.js';
import { answerBody, MIN_BODY_BYTES, NO_BODY, rmpFrame } from './wire.js';

const META = encodeMeta({ token: 'secret', tenant: 'somebody' });
const MALFORMED_META = Uint8Array.of(0, 9, 1, 0);
const ERRORS = [
  Status.UNAVAILABLE,
  Status.INTERNAL,
  Status.RESOURCE_EXHAUSTED,
  Status.UNKNOWN,
  Status.NOT_FOUND,
  Status.CANCELLED,
  99,
];
/** Ids answered on a link, some of them long ago, to be answered again. */
const REMEMBERED = 16;

interface Request {
  readonly link: SimulatedLink;
  readonly id: number;
  readonly task: number;
  readonly route: number;
  readonly streams: boolean;
  /** Partial responses it may still send. */
  window: number;
  cancelled: boolean;
}

export class SimulatedBackend {
  /** Refuses connections. */
  down = false;
  /** Neither accepts nor refuses them. */
  blackhole = false;
  readonly links: SimulatedLink[] = [];
  /** To be answered, or not. */
  readonly requests: Request[] = [];
  readonly random: Random;
  readonly temper: Temper;
  /** Says hello on each link. */
  readonly hello: boolean;
  /** Answers pings. */
  alive = true;
  #pings = 0;

  constructor(random: Random, temper: Temper) {
    this.random = random;
    this.temper = temper;
    this.hello = random.chance(0.4);
  }

  /** Answers some requests, old or new. */
  answer(count: number): void {
    for (let i = 0; i < count && this.requests.length > 0; i++) {
      const at = this.random.chance(0.5) ? 0 : this.random.below(this.requests.length);
      const request = this.requests[at];
      if (request.streams && request.window > 0 && this.random.chance(0.7)) {
        this.#sendPartial(request);
      } else {
        this.#forget(at);
        this.#sendFinal(request);
      }
    }
  }

  /** Everything that it was asked, as one should. Answers whether there was anything. */
  answerAll(): boolean {
    const requests = this.requests.splice(0);
    for (const request of requests) this.#sendOk(request);
    return requests.length > 0;
  }

  misbehave(): void {
    const { random } = this;
    if (random.chance(0.3)) {
      this.down = random.chance(0.3);
      this.blackhole = random.chance(0.1);
      this.alive = random.chance(0.8);
      return;
    }
    if (this.links.length > 0) this.#misbehaveOn(random.pick(this.links));
  }

  behave(): void {
    this.down = this.blackhole = false;
    this.alive = true;
    for (const { connection } of this.links) {
      connection.stalled = connection.blackhole = false;
      connection.takesPerTurn = Infinity;
    }
  }

  receive(link: SimulatedLink, sent: Sent): void {
    if ((sent.flags & Flag.noReply) !== 0) return;
    this.requests.push({
      link,
      id: sent.id,
      task: sent.task,
      route: sent.route,
      streams: this.random.chance(this.temper.streams),
      window: this.hello && this.random.chance(0.98) ? limits.firstStreamWindow : this.random.pick([3, 1_000]),
      cancelled: false,
    });
  }

  cancel(link: SimulatedLink, id: number): void {
    const at = this.requests.findIndex((request) => request.link === link && request.id === id);
    if (at === -1) return;
    this.requests[at].cancelled = true;
    if (!this.random.chance(0.5)) return;
    const request = this.requests[at];
    this.#forget(at);
    this.#respond(request, 0, Status.CANCELLED, MIN_BODY_BYTES);
  }

  grant(link: SimulatedLink, id: number, count: number): void {
    const request = this.requests.find((other) => other.link === link && other.id === id);
    if (request !== undefined) request.window += count;
  }

  lost(link: SimulatedLink): void {
    const at = this.links.indexOf(link);
    if (at !== -1) this.links.splice(at, 1);
    for (let i = this.requests.length - 1; i >= 0; i--) if (this.requests[i].link === link) this.#forget(i);
  }

  #forget(at: number): void {
    const last = this.requests.pop()!;
    if (at < this.requests.length) this.requests[at] = last;
  }

  #sendOk(request: Request): void {
    this.#respond(request, 0, Status.OK, MIN_BODY_BYTES + 4);
  }

  #sendPartial(request: Request): void {
    request.window--;
    this.#respond(request, Flag.more, Status.OK, MIN_BODY_BYTES + this.random.below(30));
  }

  #sendFinal(request: Request): void {
    const { random, temper } = this;
    const length = MIN_BODY_BYTES + random.below(random.chance(0.05) ? 400 : 30);
    const dice = random.next();
    if (dice < temper.refusals) this.#respond(request, Flag.notExecuted, random.pick(ERRORS), length);
    else if (dice < temper.refusals + temper.errors) this.#respond(request, 0, random.pick(ERRORS), length);
    else this.#respond(request, random.chance(0.01) ? Flag.notExecuted : 0, Status.OK, length);
    request.link.remember(request.id, request.task);
    if (!random.chance(0.03)) return;
    if (random.chance(0.5)) this.#respond(request, random.chance(0.2) ? Flag.more : 0, Status.OK, length);
    else request.link.answerAgain();
  }

  #respond({ link, id, task, route }: Request, flags: number, status: number, length: number): void {
    let payload = answerBody(task, length);
    const dice = this.random.next();
    if (dice < 0.05) {
      flags |= Flag.meta;
      payload = Buffer.concat([META, payload]);
    } else if (dice < 0.051) {
      flags |= Flag.meta;
      payload = MALFORMED_META;
    }
    link.push(Kind.response, flags, route, id, status, payload);
  }

  #misbehaveOn(link: SimulatedLink): void {
    const { random } = this;
    const { connection } = link;
    const acts = [
      () => connection.push({ kind: 'rst' }),
      () => connection.push({ kind: 'fin' }),
      () => connection.push({ kind: 'fault', reason: random.pick<CloseReason>(['bad-frame', 'frame-too-long']) }),
      () => (connection.stalled = !connection.stalled),
      () => (connection.takesPerTurn = random.pick([7, 60, Infinity])),
      () => link.push(Kind.goingAway, 0, 0, 0, 100, NO_BODY),
      () => link.push(Kind.response, random.pick([0, Flag.more]), 0, random.below(2 ** 32), 0, NO_BODY),
      () => link.answerAgain(),
      () => link.push(Kind.ping, 0, 0, this.#pings++, 0, random.pick([NO_BODY, Uint8Array.of(1, 2, 3)])),
      () => link.push(random.pick([Kind.cancel, Kind.push, Kind.ack, Kind.window, 200]), 0, 0, 7, 3, NO_BODY),
      () => link.push(random.pick([99, Kind.request]), 0, 0, 7, 0, NO_BODY),
      () => link.sayHello(),
    ];
    random.pick(acts)();
  }
}

/** One connection of the gateway to a backend, seen from there. */
export class SimulatedLink implements Peer {
  readonly connection: SimulatedConnection;
  readonly #backend: SimulatedBackend;
  readonly #answered: { id: number; task: number }[] = [];

  constructor(backend: SimulatedBackend, connection: SimulatedConnection) {
    this.#backend = backend;
    this.connection = connection;
  }

  opened(): void {
    this.#backend.links.push(this);
    if (this.#backend.hello) this.sayHello();
  }

  take(sent: Sent): void {
    const backend = this.#backend;
    if (sent.kind === Kind.request) backend.receive(this, sent);
    else if (sent.kind === Kind.cancel) backend.cancel(this, sent.id);
    else if (sent.kind === Kind.window) backend.grant(this, sent.id, sent.arg);
    else if (sent.kind === Kind.ping && backend.alive) this.push(Kind.pong, 0, 0, sent.id, 0, NO_BODY);
  }

  over(): void {
    this.#backend.lost(this);
  }

  push(kind: number, flags: number, route: number, id: number, arg: number, payload: Uint8Array): void {
    this.connection.push({ kind: 'frame', bytes: rmpFrame(kind, flags, route, id, arg, payload) });
  }

  sayHello(): void {
    const { random } = this.#backend;
    const maxFrameLength = random.chance(0.25) ? random.pick([20, 100]) : 0;
    this.push(Kind.hello, 0, 0, 0, 0, encodeHello({ features: 1, maxFrameLength, streamWindow: 0 }));
  }

  remember(id: number, task: number): void {
    if (this.#answered.length < REMEMBERED) this.#answered.push({ id, task });
    else if (this.#backend.random.chance(0.1)) this.#answered[this.#backend.random.below(REMEMBERED)] = { id, task };
  }

  /** A second answer, late, under an id that may be another task's by now. */
  answerAgain(): void {
    const { random } = this.#backend;
    if (this.#answered.length === 0) return;
    const { id, task } = random.pick(this.#answered);
    this.push(Kind.response, random.chance(0.2) ? Flag.more : 0, 0, id, 0, answerBody(task, MIN_BODY_BYTES));
  }
}
