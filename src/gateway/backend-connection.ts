/**
 * One link to a backend: many tasks multiplexed over one connection, each under a link-local id. Knows frames and ids; what
 * an answer means for a task is decided by `LinkEvents` (the relay).
 */
import type { CloseInfo, Connection } from '../engine/engine.js';
import type { CloseReason } from '../engine/tables.gen.js';
import { limits } from '../limits.js';
import { encodeHello, Feature, parseHello } from '../protocol/hello.js';
import { MetaScan, withoutToken } from '../protocol/meta-scan.js';
import { At, Flag, HEADER_BYTES, header, Kind, readU32, setHeader } from '../protocol/rmp.js';
import type { Backend } from './backend.js';
import { ABANDONED, LinkIds } from './link-ids.js';
import { NO_PLACE } from './places.js';
import { Side, type TaskCarrier, TaskState, type TaskTable, Time, Word } from './task-table.js';

/** Kinds from here on are ignored when unknown. */
export const FIRST_IGNORABLE_KIND = 128;

/** Tasks that may wait for a link to open; the others wait in the pool's queue, whose bytes are bounded. */
const MAX_WAITING = 4;

export interface LinkEvents {
  linkOpened(link: BackendConnection): void;
  /** `bytes` are valid during the call. The task no longer holds the link. */
  answered(
    link: BackendConnection,
    slot: number,
    status: number,
    flags: number,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): void;
  partial(link: BackendConnection, slot: number, flags: number, bytes: Uint8Array, start: number, end: number): void;
  /** The link ended while the task waited for its answer. `unsent`: not a byte of it left. */
  lost(link: BackendConnection, slot: number, unsent: boolean): void;
  /** A no-reply request has left. */
  left(link: BackendConnection, slot: number): void;
  /** The task waited for the link, and is longer than the backend takes, as is known by now. It still holds the link. */
  tooLong(link: BackendConnection, slot: number): void;
  /** All frames of the links of one backend in this turn were given. */
  batchEnd(): void;
  /** The backend can take more than before: an id was freed or the link drained. */
  linkRoom(link: BackendConnection): void;
  goingAway(link: BackendConnection, graceMs: number): void;
  /** After `lost` was called for each of its tasks, of which there were `lost`. */
  linkClosed(link: BackendConnection, info: CloseInfo, lost: number): void;
  now(): number;
  readonly counters: LinkCounters;
}

/** What backends sent that nobody waited for. */
export interface LinkCounters {
  /** Answers to tasks that had their outcome. */
  lateResponses: number;
  /** Responses under an id that is not in use: unasked for, or a second answer. */
  unknownResponses: number;
  ignoredFrames: number;
  protocolErrors: number;
}

/** One header at a time: `sendFrame` copies it before it returns. */
const meta = new MetaScan();
const NO_BYTES = new Uint8Array(0);

export class BackendConnection implements TaskCarrier {
  readonly backend: Backend;
  /** In `TaskTable.carriers`. */
  readonly place: number;
  /** Carries the frames over `bulkFrameBytes`. */
  readonly bulk: boolean;
  connection: Connection | undefined;
  isOpen = false;
  wasOpen = false;
  /** Gets no new tasks and closes when the last one has its outcome. */
  retiring = false;
  /** Above its high watermark: the backend does not read. */
  congested = false;
  /** The backend does not send more partial responses than granted. */
  windows = false;
  saidGoingAway = false;
  openedAtMs = 0;
  lastUsedMs = 0;
  framesReceived = 0;
  /** NaN: not yet. (Of a 0 V8 would make a field for integers, and compile the way of each task again at the first ping.) */
  pingedAtMs = Number.NaN;
  /** `framesReceived` when the last ping left: any frame since is a sign of life. */
  #framesAtPing = -1;

  readonly #table: TaskTable;
  readonly #events: LinkEvents;
  readonly #ids = new LinkIds();
  readonly #maxFrameLength: number;
  #noReplies: number[] = [];
  /** Slot and generation of tasks that wait for the connection (bulk links open on demand). */
  #waiting: number[] = [];
  /** Bytes given to the connection: where the next frame begins. */
  #offset = 0;
  #helloSent = false;
  /** Payload bytes of the longest request sent. */
  #longestRequest = 0;
  #maxAbandoned: number;

  constructor(backend: Backend, bulk: boolean, maxFrameLength: number, table: TaskTable, events: LinkEvents) {
    this.backend = backend;
    this.bulk = bulk;
    this.#maxFrameLength = maxFrameLength;
    this.#table = table;
    this.place = table.carriers.add(this);
    this.#events = events;
    // With a small maxInFlight the ids of a hung backend would otherwise take every place before the link is replaced.
    this.#maxAbandoned = Math.max(1, Math.min(limits.maxAbandonedIds, backend.maxInFlight >> 2));
  }

  /** Ids the backend may still answer, abandoned ones included. */
  get inFlight(): number {
    return this.#ids.inUse + (this.#waiting.length >> 1);
  }

  /** Tasks that wait for their answer. */
  get live(): number {
    return this.inFlight - this.#ids.abandoned;
  }

  get usable(): boolean {
    return this.isOpen && !this.retiring && !this.congested && !this.#ids.full;
  }

  /** It was sent a request longer than the backend takes, before that was known: what the backend then did was right. */
  get brokeTheLimit(): boolean {
    return this.#longestRequest > this.backend.maxRequestBytes;
  }

  /** Not open yet, and few wait for it. */
  get takesWaiting(): boolean {
    return !this.wasOpen && !this.retiring && this.#waiting.length < MAX_WAITING * 2;
  }

  opened(now: number, hello: boolean): void {
    this.isOpen = true;
    this.wasOpen = true;
    this.openedAtMs = now;
    this.lastUsedMs = now;
    if (hello) this.#sendHello();
    this.#sendWaiting(now);
    this.#events.linkOpened(this);
  }

  /** `budgetMs` is what remains; the backend is never told 0, which would mean its own default. */
  sendTask(slot: number, now: number, bytes: Uint8Array, start: number, end: number): void {
    const table = this.#table;
    table.words[slot + Word.carrier] = this.place;
    table.setTime(slot, Time.sent, now);
    this.lastUsedMs = now;
    if (!table.has(slot, Flag.noReply)) this.backend.outstanding++;
    this.backend.onSent(now);
    if (this.isOpen) {
      this.#write(slot, now, bytes, start, end);
    } else {
      table.setSentOffset(slot, Infinity);
      this.#waiting.push(slot, table.side(slot, Side.generation));
    }
  }

  abandon(slot: number): void {
    const table = this.#table;
    table.words[slot + Word.carrier] = NO_PLACE;
    if (table.sentOffset(slot) === Infinity) {
      this.#forgetWaiting(slot);
      return;
    }
    const id = table.words[slot + Word.linkId];
    if (table.has(slot, Flag.noReply)) {
      this.#noReplies.splice(this.#noReplies.indexOf(slot), 1);
      this.#ids.release(id);
      return;
    }
    this.#ids.abandon(id);
    this.#control(Kind.cancel, 0, id, 0, NO_BYTES, 0, 0);
    if (this.#ids.abandoned > this.#maxAbandoned) this.retire();
    else this.#closeIfRetired();
  }

  /** Lets the backend send so many more partial responses of this task. */
  grant(slot: number, responses: number): void {
    this.#control(Kind.window, 0, this.#table.words[slot + Word.linkId], responses, NO_BYTES, 0, 0);
  }

  get awaitsPong(): boolean {
    return this.isOpen && this.framesReceived === this.#framesAtPing;
  }

  ping(id: number, now: number): void {
    this.pingedAtMs = now;
    this.#framesAtPing = this.framesReceived;
    this.#control(Kind.ping, 0, id, 0, NO_BYTES, 0, 0);
  }

  sayGoingAway(graceMs: number): void {
    if (this.isOpen) this.#control(Kind.goingAway, 0, 0, graceMs, NO_BYTES, 0, 0);
  }

  retire(): void {
    this.retiring = true;
    if (this.live === 0) this.close('closed', 'replaced: too many of its requests were never answered');
  }

  close(reason: CloseReason = 'closed', message?: string): void {
    this.isOpen = false;
    this.retiring = true;
    this.connection?.close(reason, message);
  }

  /** Closes at once; its tasks are lost when `close` is reported. */
  abort(reason: CloseReason, message: string): void {
    this.isOpen = false;
    this.retiring = true;
    this.connection?.abort(reason, message);
  }

  frame(bytes: Uint8Array, start: number, end: number): void {
    if (!this.isOpen) return;
    this.framesReceived++;
    const kind = bytes[start + At.kind];
    if (this.framesReceived === 1 && kind !== Kind.hello) this.backend.onNoHello(this.openedAtMs);
    if (kind === Kind.response) this.#response(bytes, start, end);
    else this.#otherFrame(kind, bytes, start, end);
  }

  drained(): void {
    this.congested = false;
    this.#events.linkRoom(this);
  }

  /** No-reply requests that the kernel has taken by now are done. */
  reapNoReplies(): void {
    if (this.#noReplies.length === 0 || this.connection === undefined) return;
    const handed = this.#offset - this.connection.bufferedAmount;
    const table = this.#table;
    const noReplies = this.#noReplies;
    let gone = 0;
    while (gone < noReplies.length) {
      const next = gone + 1 < noReplies.length ? table.sentOffset(noReplies[gone + 1]) : this.#offset;
      if (next > handed) break;
      gone++;
    }
    if (gone > 0) this.#finishNoReplies(noReplies.splice(0, gone));
  }

  closed(info: CloseInfo): void {
    this.isOpen = false;
    this.retiring = true;
    const table = this.#table;
    const lost = this.#takeWaiting();
    this.#ids.forEachSlot((slot) => lost.push(slot));
    const generations = lost.map((slot) => table.side(slot, Side.generation));
    this.#noReplies = [];
    this.backend.outstanding -= this.#ids.abandoned;
    for (const slot of lost) {
      if (!table.has(slot, Flag.noReply)) this.backend.outstanding--;
      table.words[slot + Word.carrier] = NO_PLACE;
    }
    for (let i = 0; i < lost.length; i++) {
      // Losing one task may end others: a client whose request failed is closed, and leaves.
      if (
        table.side(lost[i], Side.generation) !== generations[i] ||
        table.words[lost[i] + Word.state] !== TaskState.sent
      )
        continue;
      this.#events.lost(this, lost[i], table.sentOffset(lost[i]) >= info.bytesHandedToKernel);
    }
    table.carriers.remove(this.place);
    this.#events.linkClosed(this, info, lost.length);
  }

  #write(slot: number, now: number, bytes: Uint8Array, start: number, end: number): void {
    const table = this.#table;
    const flags = table.words[slot + Word.flags] & 0xff;
    const id = this.#ids.acquire(slot);
    const remainingMs = Math.min(0xffffffff, Math.max(1, Math.round(table.time(slot, Time.deadline) - now)));
    table.words[slot + Word.linkId] = id;
    table.setSentOffset(slot, this.#offset);
    if ((flags & Flag.noReply) !== 0) this.#noReplies.push(slot);
    const length = end - start;
    if (length > this.#longestRequest) this.#longestRequest = length;
    setHeader(length, Kind.request, flags, table.routeOf(slot), id, remainingMs);
    this.#offset += HEADER_BYTES + length;
    if (!this.connection!.sendFrame(header, HEADER_BYTES, bytes, start, end)) this.congested = true;
  }

  #control(kind: number, flags: number, id: number, arg: number, bytes: Uint8Array, start: number, end: number): void {
    if (!this.isOpen) return;
    setHeader(end - start, kind, flags, 0, id, arg);
    this.#offset += HEADER_BYTES + end - start;
    if (!this.connection!.sendFrame(header, HEADER_BYTES, bytes, start, end)) this.congested = true;
  }

  #response(bytes: Uint8Array, start: number, end: number): void {
    const id = readU32(bytes, start + At.id) | 0;
    const flags = bytes[start + At.flags] & (Flag.more | Flag.notExecuted | Flag.meta);
    const slot = this.#ids.find(id);
    if (slot < 0 || this.#table.has(slot, Flag.noReply)) {
      this.#unexpected(id, slot, flags);
      return;
    }
    const payload = start + At.payload;
    if ((flags & Flag.meta) !== 0) {
      this.#responseWithMeta(id, slot, flags, bytes, start, end);
      return;
    }
    if ((flags & Flag.more) !== 0) {
      this.#events.partial(this, slot, 0, bytes, payload, end);
      return;
    }
    this.#final(id, slot, readU32(bytes, start + At.arg), flags, bytes, payload, end);
  }

  #final(id: number, slot: number, status: number, flags: number, bytes: Uint8Array, start: number, end: number): void {
    this.#ids.release(id);
    this.backend.outstanding--;
    this.#table.words[slot + Word.carrier] = NO_PLACE;
    this.#events.answered(this, slot, status, flags, bytes, start, end);
    this.#closeIfRetired();
  }

  #responseWithMeta(id: number, slot: number, flags: number, bytes: Uint8Array, start: number, end: number): void {
    let payload = start + At.payload;
    const status = readU32(bytes, start + At.arg);
    if (!meta.scan(bytes, payload, end)) {
      this.violation('a response with malformed meta');
      return;
    }
    if (meta.hasToken) {
      bytes = withoutToken(bytes, payload, end);
      payload = 0;
      end = bytes.length;
    }
    if ((flags & Flag.more) !== 0) this.#events.partial(this, slot, Flag.meta, bytes, payload, end);
    else this.#final(id, slot, status, flags, bytes, payload, end);
  }

  #unexpected(id: number, slot: number, flags: number): void {
    if (slot !== ABANDONED) {
      this.#events.counters.unknownResponses++;
      return;
    }
    this.#events.counters.lateResponses++;
    if ((flags & Flag.more) !== 0) return;
    this.#ids.release(id);
    this.backend.outstanding--;
    this.#events.linkRoom(this);
  }

  #otherFrame(kind: number, bytes: Uint8Array, start: number, end: number): void {
    switch (kind) {
      case Kind.ping:
        this.#control(Kind.pong, 0, readU32(bytes, start + At.id), 0, bytes, start + At.payload, end);
        return;
      case Kind.pong:
        return;
      case Kind.goingAway:
        this.saidGoingAway = true;
        this.#events.goingAway(this, readU32(bytes, start + At.arg));
        return;
      case Kind.hello:
        this.#hello(bytes, start + At.payload, end);
        return;
      case Kind.cancel:
      case Kind.push:
      case Kind.ack:
      case Kind.window:
        this.#events.counters.ignoredFrames++;
        return;
      default:
        if (kind < FIRST_IGNORABLE_KIND) {
          this.violation(`a frame of kind ${kind}`);
          return;
        }
        this.#events.counters.ignoredFrames++;
    }
  }

  /** The backend broke the protocol. */
  violation(what: string): void {
    this.#events.counters.protocolErrors++;
    this.abort('protocol-error', `backend ${this.backend.name} sent ${what}`);
  }

  #hello(bytes: Uint8Array, start: number, end: number): void {
    const hello = parseHello(bytes, start, end);
    if (hello === undefined || this.framesReceived !== 1) {
      this.violation('a malformed or late hello');
      return;
    }
    // What is not its sender's first frame would be no hello.
    if (this.#offset === 0) this.#sendHello();
    this.windows = this.#helloSent && (hello.features & Feature.streamWindows) !== 0;
    this.backend.onHello(hello.maxFrameLength > 0 ? hello.maxFrameLength : Infinity, this.openedAtMs);
  }

  #sendHello(): void {
    this.#helloSent = true;
    const payload = encodeHello({
      features: Feature.streamWindows,
      maxFrameLength: this.#maxFrameLength,
      streamWindow: limits.firstStreamWindow,
    });
    this.#control(Kind.hello, 0, 0, 0, payload, 0, payload.length);
  }

  #sendWaiting(now: number): void {
    const table = this.#table;
    for (const slot of this.#takeWaiting()) {
      // One that is refused may take others along: its client is closed for it, and leaves.
      if (table.words[slot + Word.carrier] !== this.place) continue;
      const start = table.side(slot, Side.keptStart);
      const end = table.side(slot, Side.keptEnd);
      if (end - start > this.backend.maxRequestBytes) this.#events.tooLong(this, slot);
      else this.#write(slot, now, table.bytesOf(slot)!, start, end);
    }
  }

  /** Those that still wait here; a slot may have been released and taken again meanwhile. */
  #takeWaiting(): number[] {
    const table = this.#table;
    const slots: number[] = [];
    for (let i = 0; i < this.#waiting.length; i += 2) {
      const slot = this.#waiting[i];
      if (table.side(slot, Side.generation) === this.#waiting[i + 1] && table.words[slot + Word.carrier] === this.place)
        slots.push(slot);
    }
    this.#waiting = [];
    return slots;
  }

  #forgetWaiting(slot: number): void {
    const generation = this.#table.side(slot, Side.generation);
    for (let i = 0; i < this.#waiting.length; i += 2) {
      if (this.#waiting[i] === slot && this.#waiting[i + 1] === generation) this.#waiting.splice(i, 2);
    }
    if (!this.#table.has(slot, Flag.noReply)) this.backend.outstanding--;
  }

  #finishNoReplies(slots: number[]): void {
    const table = this.#table;
    for (const slot of slots) {
      this.#ids.release(table.words[slot + Word.linkId]);
      table.words[slot + Word.carrier] = NO_PLACE;
      this.#events.left(this, slot);
    }
    this.#closeIfRetired();
  }

  #closeIfRetired(): void {
    if (this.retiring && this.isOpen && this.live === 0) this.close();
  }
}
