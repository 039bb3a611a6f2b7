/** A client that speaks RMP: requests under its own ids, answered in any order. FIN means that it left. */
import { ENGINE_LIMITS } from '../engine/tables.gen.js';
import { encodeHello, parseHello } from '../protocol/hello.js';
import { MetaScan, withoutToken } from '../protocol/meta-scan.js';
import { At, Flag, HEADER_BYTES, header, Kind, readU16, readU32, setHeader } from '../protocol/rmp.js';
import { hashBytes } from './allocator.js';
import { FIRST_IGNORABLE_KIND } from './backend-connection.js';
import { cutSentence, Sentence } from './sentence.js';
import { Pause, Session } from './session.js';
import { Word } from './task-table.js';

/** Flags of a request that mean something, here and at the backend. */
const REQUEST_FLAGS = Flag.noReply | Flag.idempotent | Flag.meta;

const meta = new MetaScan();
const NO_BYTES = new Uint8Array(0);

export class RmpSession extends Session {
  /** Its first frame has come: a hello cannot follow. */
  #spoke = false;
  /** Grace of a going-away that waits for the first frame: the answer to a hello must stand before it. -1: none waits. */
  #goAwayMs = -1;

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
    const route = table.words[slot + Word.route];
    setHeader(end - start, Kind.response, flags, route, table.words[slot + Word.clientId], status);
    relay.release(slot);
    // A client that does not take its answers is not read until it does.
    if (!this.#send(bytes, start, end) && !this.left) this.pause(Pause.congested);
  }

  partial(slot: number, flags: number, bytes: Uint8Array, start: number, end: number): Uint8Array | undefined {
    if (end - start > this.maxResponseBytes) return Sentence.responseTooLong;
    if (this.congested && this.connection.bufferedAmount > this.context.config.maxStreamBufferedBytes) {
      return Sentence.clientTooSlow;
    }
    const { table } = this.context.relay;
    const route = table.words[slot + Word.route];
    setHeader(end - start, Kind.response, flags | Flag.more, route, table.words[slot + Word.clientId], 0);
    this.#send(bytes, start, end);
    return undefined;
  }

  fail(slot: number, status: number, flags: number, sentence: Uint8Array): void {
    const text = cutSentence(sentence, this.maxResponseBytes);
    this.answer(slot, status, flags, text, 0, text.length);
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
      case Kind.window:
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

  /** A cancel for an id not in flight is ignored: its answer has crossed it. */
  #cancel(id: number): void {
    const { relay } = this.context;
    const slot = relay.inFlight.find(this.place, id);
    if (slot !== -1) relay.cancel(slot);
  }

  /** No features towards clients: their partial responses are bounded by `maxStreamBufferedBytes`. */
  #hello(bytes: Uint8Array, start: number, end: number): void {
    const hello = parseHello(bytes, start, end);
    if (hello === undefined) {
      this.violation('a malformed hello');
      return;
    }
    if (hello.maxFrameLength > 0) this.maxResponseBytes = Math.min(this.maxResponseBytes, hello.maxFrameLength);
    const { maxFrameLength = ENGINE_LIMITS.maxFrameLength } = this.context.config;
    const payload = encodeHello({ features: 0, maxFrameLength, streamWindow: 0 });
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
