/** A client that speaks RMP: requests under its own ids, answered in any order. FIN means that it left. */
import { ENGINE_LIMITS } from '../engine/tables.gen.js';
import { encodeHello, Feature, parseHello } from '../protocol/hello.js';
import { MetaScan, withoutToken } from '../protocol/meta-scan.js';
import { At, Flag, HEADER_BYTES, header, Kind, readU16, readU32, setHeader } from '../protocol/rmp.js';
import { hashBytes } from './allocator.js';
import { FIRST_IGNORABLE_KIND } from './backend-connection.js';
import { type HeldResponse, HeldStreams } from './held-streams.js';
import { cutSentence, Sentence } from './sentence.js';
import { NO_LIMIT, Pause, Session } from './session.js';
import { Mark, Rare, Word } from './task-table.js';

/** Flags of a request that mean something, here and at the backend. */
const REQUEST_FLAGS = Flag.noReply | Flag.idempotent | Flag.meta;

/** What is granted adds up to no more: it has to stay a small integer. */
const MAX_CREDIT = 0x3fff_ffff;

const meta = new MetaScan();
const NO_BYTES = new Uint8Array(0);

export class RmpSession extends Session {
  /** Its first frame has come: a hello cannot follow. */
  #spoke = false;
  /** Grace of a going-away that waits for the first frame: the answer to a hello must stand before it. -1: none waits. */
  #goAwayMs = -1;
  #maxResponseBytes = NO_LIMIT;
  /** Partial responses of a request that it takes before it grants more. 0: it has no stream windows. */
  #window = 0;
  /** Undefined: no response ever had to wait for a grant. */
  #held: HeldStreams | undefined;

  get refusesWhenFull(): boolean {
    return true;
  }

  frame(bytes: Uint8Array, start: number, end: number): void {
    if (this.left) return;
    if (!this.#spoke) {
      this.#firstFrame(bytes, start, end);
      return;
    }
    if (bytes[start + At.kind] === Kind.request) this.#request(bytes, start, end);
    else this.#otherFrame(bytes[start + At.kind], bytes, start, end);
  }

  answer(slot: number, status: number, flags: number, bytes: Uint8Array, start: number, end: number): void {
    const { relay } = this.context;
    const { table } = relay;
    const route = table.routeOf(slot);
    setHeader(end - start, Kind.response, flags, route, table.words[slot + Word.clientId], status);
    relay.release(slot);
    // A client that does not take its answers is not read until it does.
    if (!this.#send(bytes, start, end) && !this.left) this.pause(Pause.congested);
  }

  partial(slot: number, flags: number, bytes: Uint8Array, start: number, end: number): Uint8Array | undefined {
    if (end - start > this.#maxResponseBytes) return Sentence.responseTooLong;
    const { maxStreamBufferedBytes } = this.context.config;
    if (this.congested && this.connection.bufferedAmount > maxStreamBufferedBytes) return Sentence.clientTooSlow;
    if (this.#window > 0 && !this.#spendCredit(slot)) return this.#holdPart(slot, flags, bytes.subarray(start, end));
    this.#sendPart(slot, flags, bytes, start, end);
    return undefined;
  }

  fail(slot: number, status: number, flags: number, sentence: Uint8Array): void {
    this.#dropHeld(slot);
    const text = cutSentence(sentence, this.#maxResponseBytes);
    this.answer(slot, status, flags, text, 0, text.length);
  }

  override takes(slot: number): number {
    if (this.congested || this.#window === 0) return super.takes(slot);
    return this.#credit(slot);
  }

  refusal(slot: number, _flags: number, _bytes: Uint8Array, start: number, end: number): Uint8Array | undefined {
    if (end - start > this.#maxResponseBytes) return Sentence.responseTooLong;
    const held = this.#held;
    if (held === undefined || !held.has(slot)) return undefined;
    return held.bytes + end - start > this.context.config.maxStreamBufferedBytes ? Sentence.clientTooSlow : undefined;
  }

  override hold(slot: number, status: number, flags: number, bytes: Uint8Array, start: number, end: number): boolean {
    const held = this.#held;
    if (held === undefined || !held.has(slot)) return false;
    held.end(slot, status, flags, bytes.subarray(start, end));
    return true;
  }

  end(): void {
    this.dismiss('peer-closed');
  }

  sayGoingAway(graceMs: number): void {
    if (this.#spoke) this.#control(Kind.goingAway, 0, graceMs, NO_BYTES, 0, 0);
    else this.#goAwayMs = graceMs;
  }

  #firstFrame(bytes: Uint8Array, start: number, end: number): void {
    this.#spoke = true;
    const goes = this.#goAwayMs !== -1;
    if (bytes[start + At.kind] === Kind.hello) {
      this.#hello(bytes, start + At.payload, end);
      if (goes && !this.left) this.sayGoingAway(this.#goAwayMs);
      return;
    }
    if (goes) this.sayGoingAway(this.#goAwayMs);
    this.frame(bytes, start, end);
  }

  #request(bytes: Uint8Array, start: number, end: number): void {
    const { relay } = this.context;
    const flags = bytes[start + At.flags] & REQUEST_FLAGS;
    const id = readU32(bytes, start + At.id) | 0;
    if (relay.inFlight.find(this.place, id) !== -1) {
      this.violation(`a request with id ${id >>> 0}, which is still in flight`);
      return;
    }
    if ((flags & Flag.meta) !== 0) {
      this.#requestWithMeta(id, flags, bytes, start, end);
      return;
    }
    const slot = relay.receive(this, id, readU16(bytes, start + At.route), flags, this.key);
    if ((flags & Flag.noReply) === 0) relay.inFlight.insert(slot);
    relay.submit(slot, readU32(bytes, start + At.arg), bytes, start + At.payload, end, false);
  }

  #requestWithMeta(id: number, flags: number, bytes: Uint8Array, start: number, end: number): void {
    const { relay } = this.context;
    let payload = start + At.payload;
    if (!meta.scan(bytes, payload, end)) {
      this.violation('a request with malformed meta');
      return;
    }
    const keyed = meta.keyStart !== -1;
    const key = keyed ? hashBytes(bytes, meta.keyStart, meta.keyEnd) | 0 : this.key;
    const slot = relay.receive(this, id, readU16(bytes, start + At.route), flags, key);
    if ((flags & Flag.noReply) === 0) relay.inFlight.insert(slot);
    const budgetMs = readU32(bytes, start + At.arg);
    if (meta.hasToken) {
      bytes = withoutToken(bytes, payload, end);
      payload = 0;
      end = bytes.length;
      relay.own(slot, bytes);
    }
    relay.submit(slot, budgetMs, bytes, payload, end, keyed);
  }

  #otherFrame(kind: number, bytes: Uint8Array, start: number, end: number): void {
    switch (kind) {
      case Kind.cancel:
        this.#cancel(readU32(bytes, start + At.id) | 0);
        return;
      case Kind.window:
        this.#grant(readU32(bytes, start + At.id) | 0, readU32(bytes, start + At.arg));
        return;
      case Kind.ping:
        this.#control(Kind.pong, readU32(bytes, start + At.id), 0, bytes, start + At.payload, end);
        return;
      case Kind.hello:
        this.violation('a hello that is not its first frame');
        return;
      case Kind.response:
      case Kind.push:
      case Kind.ack:
      case Kind.pong:
      case Kind.goingAway:
        this.context.counters.ignoredFrames++;
        return;
      default:
        if (kind < FIRST_IGNORABLE_KIND) {
          this.violation(`a frame of unknown kind ${kind}`);
          return;
        }
        this.context.counters.ignoredFrames++;
    }
  }

  /** The client takes so many more partial responses. Unasked for, for nothing, or for an id not in flight it is ignored. */
  #grant(id: number, count: number): void {
    if (this.#window === 0) {
      this.context.counters.ignoredFrames++;
      return;
    }
    const { relay } = this.context;
    const slot = relay.inFlight.find(this.place, id);
    if (slot === -1) return;
    relay.table.setRare(slot, Rare.credit, Math.min(MAX_CREDIT, this.#credit(slot) + count));
    if (!this.#sendHeld(slot)) relay.grants.grantTask(slot);
  }

  #credit(slot: number): number {
    const { table } = this.context.relay;
    if (!table.has(slot, Mark.credited)) {
      table.mark(slot, Mark.credited);
      table.setRare(slot, Rare.credit, this.#window);
    }
    return table.rare(slot, Rare.credit);
  }

  #spendCredit(slot: number): boolean {
    const credit = this.#credit(slot);
    if (credit === 0) return false;
    this.context.relay.table.setRare(slot, Rare.credit, credit - 1);
    return true;
  }

  #holdPart(slot: number, flags: number, bytes: Uint8Array): Uint8Array | undefined {
    this.#held ??= new HeldStreams();
    if (this.#held.bytes + bytes.length > this.context.config.maxStreamBufferedBytes) return Sentence.clientTooSlow;
    this.#held.add(slot, flags, bytes);
    this.answerBytes = -1;
    return undefined;
  }

  /** What waits and is granted now. @returns whether the task is over with it. */
  #sendHeld(slot: number): boolean {
    const held = this.#held;
    if (held === undefined || !held.has(slot)) return false;
    while (held.waits(slot) && this.#spendCredit(slot)) {
      const { flags, bytes } = held.take(slot);
      this.#sendPart(slot, flags, bytes, 0, bytes.length);
    }
    if (held.waits(slot)) return false;
    const final = this.#dropHeld(slot);
    if (final !== undefined) this.context.relay.deliver(slot, final.status, final.flags, final.bytes);
    return final !== undefined;
  }

  protected override forget(): void {
    this.#held = undefined;
  }

  #dropHeld(slot: number): HeldResponse | undefined {
    const held = this.#held;
    if (held === undefined) return undefined;
    const final = held.drop(slot);
    if (held.size === 0) this.answerBytes = this.#maxResponseBytes;
    return final;
  }

  #sendPart(slot: number, flags: number, bytes: Uint8Array, start: number, end: number): void {
    const { table } = this.context.relay;
    const route = table.routeOf(slot);
    setHeader(end - start, Kind.response, flags | Flag.more, route, table.words[slot + Word.clientId], 0);
    this.#send(bytes, start, end);
  }

  /** A cancel for an id not in flight is ignored: its answer has crossed it. */
  #cancel(id: number): void {
    const { relay } = this.context;
    const slot = relay.inFlight.find(this.place, id);
    if (slot !== -1) relay.cancel(slot);
  }

  /** A stream window of 0 is none: a backend may send its first partial response at once. */
  #hello(bytes: Uint8Array, start: number, end: number): void {
    const hello = parseHello(bytes, start, end);
    if (hello === undefined) {
      this.violation('a malformed hello');
      return;
    }
    if (hello.maxFrameLength > 0) this.#maxResponseBytes = Math.min(NO_LIMIT, hello.maxFrameLength);
    this.answerBytes = this.#maxResponseBytes;
    if ((hello.features & Feature.streamWindows) !== 0) this.#window = Math.min(MAX_CREDIT, hello.streamWindow);
    const { maxFrameLength = ENGINE_LIMITS.maxFrameLength } = this.context.config;
    const features = this.#window > 0 ? Feature.streamWindows : 0;
    const payload = encodeHello({ features, maxFrameLength, streamWindow: 0 });
    this.#control(Kind.hello, 0, 0, payload, 0, payload.length);
  }

  #control(kind: number, id: number, arg: number, bytes: Uint8Array, start: number, end: number): void {
    setHeader(end - start, kind, 0, 0, id, arg);
    this.#send(bytes, start, end);
  }

  /** The header is set. */
  #send(bytes: Uint8Array, start: number, end: number): boolean {
    const taken = this.connection.sendFrame(header, HEADER_BYTES, bytes, start, end);
    if (!taken) this.congested = true;
    return taken;
  }
}
