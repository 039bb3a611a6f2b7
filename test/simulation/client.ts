/** A client of the simulated world: sends requests in bursts, cancels, stalls, breaks rules, leaves. */
import type { ClientProtocol } from '../../src/gateway/options.js';
import { encodeHello } from '../../src/protocol/hello.js';
import { encodeMeta } from '../../src/protocol/meta.js';
import { Flag, Kind } from '../../src/protocol/rmp.js';
import { broken } from './broken.js';
import type { Peer, Sent, SimulatedConnection } from './connection.js';
import type { Ledger } from './ledger.js';
import { type Temper, UNKNOWN_ROUTE } from './plan.js';
import type { Random } from './random.js';
import type { ClientRecord, TaskOptions } from './records.js';
import { MIN_BODY_BYTES, NO_BODY, requestBody, rmpFrame } from './wire.js';

/** Affinity keys in use. */
const KEYS = 4;
const METAS = Array.from({ length: KEYS }, (_, key) => encodeMeta({ token: 'secret', affinityKey: `k${key}` }));
const META_WITHOUT_KEY = encodeMeta({ tenant: 'somebody', priority: 3 });
const MALFORMED_META = Uint8Array.of(0, 9, 1, 0);
/** Share of the clients that say hello. */
const HELLOS = 0.6;
/** What some of them say they take: every sentence of the gateway's, not every answer. */
const SHORT_FRAME_BYTES = 70;
/** Beside those of its first requests a client uses ids that were answered. */
const ID_STEP = 7_919;

export class SimulatedClient implements Peer {
  connection!: SimulatedConnection;
  record!: ClientRecord;
  readonly protocol: ClientProtocol;
  /** rmp: ids of requests sent and not answered. */
  readonly waiting = new Set<number>();
  /** It sends no more. */
  done = false;
  /** The connection is over. */
  left = false;
  /** Answers it still has to get, no-reply requests aside. */
  unanswered = 0;
  readonly #random: Random;
  readonly #temper: Temper;
  readonly #ledger: Ledger;
  readonly #freeIds: number[] = [];
  readonly #route: number;
  /** By id: partial responses taken since the last grant. */
  readonly #ungranted = new Map<number, number>();
  /** Grants as soon as it takes. */
  #prompt = false;
  #sent = 0;
  /** Perhaps with an id whose answer was on its way: to the gateway one that was free again. */
  #offended = false;

  constructor(protocol: ClientProtocol, route: number, random: Random, temper: Temper, ledger: Ledger) {
    this.protocol = protocol;
    this.#route = route;
    this.#random = random;
    this.#temper = temper;
    this.#ledger = ledger;
  }

  opened(): void {
    if (this.protocol === 'rmp' && this.#random.chance(HELLOS)) this.#sayHello();
  }

  take(sent: Sent): void {
    if (this.protocol !== 'rmp') {
      this.unanswered--;
      return;
    }
    if (sent.kind !== Kind.response) return;
    if ((sent.flags & Flag.more) !== 0) {
      this.#takePartial(sent.id);
      return;
    }
    this.#ungranted.delete(sent.id);
    if (this.waiting.delete(sent.id)) {
      this.unanswered--;
      this.#freeIds.push(sent.id);
    } else if (!this.#offended) {
      broken('a client is answered once', `id ${sent.id} does not wait`);
    }
  }

  /** A reader now fast, now slow. */
  #takePartial(id: number): void {
    this.#ungranted.set(id, (this.#ungranted.get(id) ?? 0) + 1);
    if (this.#prompt || this.#random.chance(0.6)) this.#grant(id);
  }

  #grant(id: number): void {
    const count = this.#ungranted.get(id) ?? 0;
    this.#ungranted.delete(id);
    if (count > 0) this.#push(Kind.window, 0, id, NO_BODY, count);
  }

  over(): void {
    this.left = this.done = true;
  }

  /** Answers with how many requests it sent. */
  sendBurst(): number {
    const count = 1 + this.#random.below(this.#temper.burst);
    for (let i = 0; i < count; i++) {
      if (this.protocol === 'rmp') this.#sendRequest();
      else this.#sendPlain();
    }
    return count;
  }

  cancel(): void {
    if (this.protocol !== 'rmp' || this.waiting.size === 0) return;
    let at = this.#random.below(this.waiting.size);
    for (const id of this.waiting) if (at-- === 0) this.#push(Kind.cancel, 0, id);
  }

  misbehave(): void {
    const random = this.#random;
    const acts = [
      () => this.#leave(),
      () => (this.connection.stalled = !this.connection.stalled),
      () => (this.connection.takesPerTurn = random.pick([3, 40, Infinity])),
      () => this.#offend(),
      () => this.#sayMore(),
    ];
    random.pick(acts)();
  }

  /** From here on it takes its answers. */
  behave(): void {
    this.connection.stalled = false;
    this.connection.takesPerTurn = Infinity;
    this.#prompt = true;
    for (const id of [...this.#ungranted.keys()]) this.#grant(id);
  }

  #leave(): void {
    this.done = true;
    this.connection.push({ kind: this.#random.chance(0.5) ? 'fin' : 'rst' });
  }

  /** Breaks the protocol: the gateway closes it. */
  #offend(): void {
    const random = this.#random;
    this.done = this.#offended = true;
    if (this.protocol !== 'rmp' || random.chance(0.2)) {
      this.connection.push({ kind: 'fault', reason: random.pick(['frame-too-long', 'bad-frame']) });
      return;
    }
    const acts = [
      () => this.#sendRequest([...this.waiting][random.below(this.waiting.size)]),
      () => this.#push(99, 0, 1),
      () => this.#push(Kind.request, Flag.meta, 1, MALFORMED_META),
      () => this.#sayHello(),
    ];
    random.pick(acts)();
  }

  /** What is allowed besides requests. */
  #sayMore(): void {
    if (this.protocol !== 'rmp') return;
    const random = this.#random;
    const kinds = [Kind.ping, Kind.ping, Kind.cancel, Kind.pong, Kind.push, 200];
    if (random.chance(0.7)) this.#push(random.pick(kinds), 0, random.below(1_000));
    else this.#push(Kind.window, 0, this.#anyId(), NO_BODY, random.pick([0, 1, 3, 0xffff_ffff]));
  }

  #anyId(): number {
    return this.#random.chance(0.2) ? this.#random.below(1_000) : this.#random.pick([0, ...this.waiting]);
  }

  #sayHello(): void {
    const random = this.#random;
    const maxFrameLength = random.chance(0.3) ? SHORT_FRAME_BYTES : 0;
    const features = random.chance(0.8) ? 1 : 0;
    this.#push(Kind.hello, 0, 0, encodeHello({ features, maxFrameLength, streamWindow: random.pick([0, 1, 2, 4]) }));
  }

  #push(kind: number, flags: number, id: number, payload: Uint8Array = NO_BODY, arg = 0): void {
    this.#sent++;
    this.connection.push({ kind: 'frame', bytes: rmpFrame(kind, flags, 0, id, arg, payload) });
  }

  #sendPlain(): void {
    const options = { id: 0, route: this.#route, flags: 0, bodyBytes: this.#length(), budgetMs: 0, key: -1 };
    const task = this.#ledger.newTask(this.record, options);
    this.unanswered++;
    this.connection.push({ kind: 'frame', bytes: requestBody(task.number, options.bodyBytes) });
  }

  /** `taken`: an id still in flight, against the rules. */
  #sendRequest(taken?: number): void {
    const options = this.#options(taken);
    const task = this.#ledger.newTask(this.record, options);
    const { id, flags, route, budgetMs, bodyBytes, key } = options;
    if ((flags & Flag.noReply) === 0 && taken === undefined) {
      this.waiting.add(id);
      this.unanswered++;
    }
    let payload = requestBody(task.number, bodyBytes);
    if ((flags & Flag.meta) !== 0) payload = Buffer.concat([key === -1 ? META_WITHOUT_KEY : METAS[key], payload]);
    this.#sent++;
    this.connection.push({
      kind: 'frame',
      bytes: rmpFrame(Kind.request, flags, route, id, budgetMs, payload),
    });
  }

  #options(taken: number | undefined): TaskOptions {
    const random = this.#random;
    const { idempotent, noReplies } = this.#temper;
    const meta = random.chance(0.15);
    let flags = meta ? Flag.meta : 0;
    if (random.chance(idempotent)) flags |= Flag.idempotent;
    if (random.chance(noReplies)) flags |= Flag.noReply;
    return {
      id: taken ?? this.#id(),
      route: random.chance(0.01) ? UNKNOWN_ROUTE : random.pick(this.#temper.routes),
      flags,
      bodyBytes: this.#length(),
      budgetMs: this.#budgetMs(),
      key: meta && random.chance(0.8) ? random.below(KEYS) : -1,
    };
  }

  #id(): number {
    if (this.#freeIds.length > 0 && this.#random.chance(0.3)) return this.#freeIds.pop()!;
    return Math.imul(this.#sent + 1, ID_STEP) >>> 0;
  }

  #budgetMs(): number {
    const dice = this.#random.next();
    if (dice < 0.7) return 0;
    return dice < 0.99 ? this.#random.between(1, 400) : 0xffff_ffff;
  }

  #length(): number {
    const random = this.#random;
    if (!random.chance(this.#temper.big)) return MIN_BODY_BYTES + random.below(40);
    return random.chance(0.5) ? random.between(130, 190) : random.between(210, 400);
  }
}
