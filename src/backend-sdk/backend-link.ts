/** One connection of a backend: a gateway's link, or a client's. Reads frames, keeps its open tasks, writes responses. */
import { checkRange } from '../bytes.js';
import { ENGINE_LIMITS, Status } from '../engine/tables.gen.js';
import type { Connection } from '../engine/engine.js';
import { encodeHello, Feature, parseHello } from '../protocol/hello.js';
import { type Meta, parseMeta } from '../protocol/meta.js';
import { StatusError } from '../protocol/status-error.js';
import { At, Flag, HEADER_BYTES, Kind, readU16, readU32 } from '../protocol/rmp.js';
import { RmpWriter } from '../protocol/rmp-writer.js';
import type { Deadlines } from '../timer/deadlines.js';
import { BackendTask } from './backend-task.js';
import type { TaskLimiter } from './task-limiter.js';
import type { BackendHandler, BackendStats, InPlaceHandler, InPlaceRequest, Task } from './types.js';

export type Counts = { -readonly [K in Exclude<keyof BackendStats, 'links' | 'running' | 'queued'>]: number };

/** What links share: the server. */
export interface LinkHost {
  readonly handler: BackendHandler;
  readonly inPlace: InPlaceHandler | undefined;
  readonly limiter: TaskLimiter;
  readonly deadlines: Deadlines;
  readonly counts: Counts;
  readonly maxFrameLength: number;
  readonly defaultDeadlineMs: number;
  readonly maxPendingPartialBytes: number;
  readonly draining: boolean;
  /** The bytes of a frame being delivered, as a Buffer that may be kept. */
  keep(bytes: Uint8Array, start: number, end: number): Buffer;
  errorOf(error: unknown, task: Task | undefined): StatusError;
  /** A link's open tasks became none, or its peer knows of the drain. */
  settled(link: BackendLink): void;
}

/** The one object that in-place handlers are given, filled anew for each request. */
class InPlaceView implements InPlaceRequest {
  bytes: Uint8Array = new Uint8Array(0);
  start = 0;
  end = 0;
  route = 0;
  id = 0;
  idempotent = false;
  noReply = false;
  answered = false;
  link!: BackendLink;

  respond(bytes: Uint8Array, start: number, end: number): void {
    if (this.answered) return;
    // Before it counts as answered: where this throws, the request gets the error.
    checkRange('bytes', bytes, start, end);
    this.answered = true;
    this.link.host.counts.answered++;
    if (!this.noReply) this.link.respondInPlace(this.route, this.id, Status.OK, bytes, start, end);
  }

  fail(status: number, sentence: string): void {
    if (this.answered) return;
    const bytes = Buffer.from(sentence);
    this.answered = true;
    this.link.host.counts.failed++;
    if (!this.noReply) this.link.respondInPlace(this.route, this.id, status, bytes, 0, bytes.length);
  }
}

const inPlaceView = new InPlaceView();

export class BackendLink {
  readonly host: LinkHost;
  readonly connection: Connection;
  readonly #writer: RmpWriter;
  /** Tasks whose handler runs or waits for its turn, by id. */
  readonly #tasks = new Map<number, BackendTask>();
  /** Those without a reply: their ids are free at once. */
  readonly #silent = new Set<BackendTask>();
  /** Those with partial responses that may be sent and wait for the peer to take more; the first is served next. */
  readonly #held = new Set<BackendTask>();
  /** Partial responses a new task may send before it is granted more. */
  #streamWindow = Number.POSITIVE_INFINITY;
  #peerMaxFrameLength: number;
  #helloSeen = false;
  #otherFrameSeen = false;
  /** Grace of a going-away that waits for the peer's first frame: a hello's answer must come before it. */
  #goAwayMs: number | undefined;
  #flowing: { promise: Promise<void>; resolve: () => void } | undefined;
  /** During a drain: the peer answered the ping behind our going-away, so whatever it sent before it knew has been read. */
  #peerKnowsDrain = false;
  #ended = false;

  constructor(host: LinkHost, connection: Connection) {
    this.host = host;
    this.connection = connection;
    this.#writer = new RmpWriter(connection);
    this.#peerMaxFrameLength = host.maxFrameLength;
  }

  get openTasks(): number {
    return this.#tasks.size + this.#silent.size;
  }

  /** Nothing in flight and nothing on its way that could still ask for work. */
  get readyToClose(): boolean {
    return this.openTasks === 0 && this.#peerKnowsDrain && this.#writer.waitingBytes === 0;
  }

  /** The peer takes no more at present: what is written now waits in memory. */
  get congested(): boolean {
    return this.#writer.congested;
  }

  get maxResponseBytes(): number {
    return this.#peerMaxFrameLength;
  }

  /** One frame. The bytes are valid during the call only. */
  frame(bytes: Uint8Array, start: number, end: number): void {
    if (this.#ended) return;
    const kind = bytes[start + At.kind];
    if (kind === Kind.hello) {
      this.#hello(bytes, start + HEADER_BYTES, end);
      this.#sayGoingAway();
      return;
    }
    this.#otherFrameSeen = true;
    this.#sayGoingAway();
    if (kind === Kind.request) this.#request(bytes, start, end);
    else this.#control(kind, bytes, start, end);
  }

  #control(kind: number, bytes: Uint8Array, start: number, end: number): void {
    const id = readU32(bytes, start + At.id);
    switch (kind) {
      case Kind.cancel:
        this.#tasks.get(id)?.cancel();
        return;
      case Kind.window:
        this.#tasks.get(id)?.grant(readU32(bytes, start + At.arg));
        return;
      case Kind.ping:
        this.#writer.write(Kind.pong, 0, 0, id, 0, bytes, start + HEADER_BYTES, end);
        return;
      case Kind.pong:
        if (this.host.draining) this.peerKnowsDrain();
        return;
      case Kind.goingAway:
        return;
      case Kind.response:
      case Kind.push:
      case Kind.ack:
        this.host.counts.ignoredFrames++;
        return;
      default:
        if (kind >= 128) this.host.counts.ignoredFrames++;
        else this.#protocolError(`unknown kind ${kind}`);
    }
  }

  #hello(bytes: Uint8Array, start: number, end: number): void {
    const hello = parseHello(bytes, start, end);
    if (hello === undefined) {
      this.#protocolError(`a hello of ${end - start} bytes or of version 0`);
      return;
    }
    if (this.#helloSeen) {
      this.#protocolError('a second hello');
      return;
    }
    if (this.#otherFrameSeen) {
      this.#protocolError('a hello that is not the first frame');
      return;
    }
    this.#helloSeen = true;
    if (hello.maxFrameLength > 0) this.#peerMaxFrameLength = Math.min(this.#peerMaxFrameLength, hello.maxFrameLength);
    if ((hello.features & Feature.streamWindows) !== 0) this.#streamWindow = hello.streamWindow;
    const answer = encodeHello({
      features: Feature.streamWindows,
      maxFrameLength: this.host.maxFrameLength,
      streamWindow: 0,
    });
    this.#writer.write(Kind.hello, 0, 0, 0, 0, answer);
  }

  #request(bytes: Uint8Array, start: number, end: number): void {
    const flags = bytes[start + At.flags];
    const id = readU32(bytes, start + At.id);
    const { host } = this;
    host.counts.requests++;
    if (this.#tasks.size > 0 && (flags & Flag.noReply) === 0 && this.#tasks.has(id)) {
      this.#protocolError(`the id ${id} is still in flight`);
      return;
    }
    let meta: Meta | undefined;
    let payloadStart = start + HEADER_BYTES;
    if ((flags & Flag.meta) !== 0) {
      const parsed = parseMeta(bytes, payloadStart, end);
      if (parsed === undefined) {
        this.#protocolError(`meta of the request ${id} does not add up`);
        return;
      }
      meta = parsed.meta;
      payloadStart = parsed.payloadStart;
    }
    const route = readU16(bytes, start + At.route);
    if (host.draining) this.#refuse(route, id, flags, Status.UNAVAILABLE, 'the backend is draining');
    else if (host.inPlace !== undefined) this.#answerInPlace(host.inPlace, bytes, payloadStart, end, route, id, flags);
    else this.#begin(host.keep(bytes, payloadStart, end), route, id, flags, meta, readU32(bytes, start + At.arg));
  }

  #begin(payload: Buffer, route: number, id: number, flags: number, meta: Meta | undefined, budgetMs: number): void {
    const { limiter, defaultDeadlineMs } = this.host;
    const task = new BackendTask(
      this,
      payload,
      route,
      id,
      flags,
      meta,
      budgetMs === 0 ? defaultDeadlineMs : budgetMs,
      this.#streamWindow,
    );
    if (limiter.tryAcquire()) task.start();
    else if (limiter.enqueue(task)) this.open(task);
    else
      this.#refuse(route, id, flags, Status.RESOURCE_EXHAUSTED, 'the backend runs and queues as many tasks as it may');
  }

  #answerInPlace(
    handler: InPlaceHandler,
    bytes: Uint8Array,
    start: number,
    end: number,
    route: number,
    id: number,
    flags: number,
  ): void {
    const view = inPlaceView;
    view.link = this;
    view.bytes = bytes;
    view.start = start;
    view.end = end;
    view.route = route;
    view.id = id;
    view.idempotent = (flags & Flag.idempotent) !== 0;
    view.noReply = (flags & Flag.noReply) !== 0;
    view.answered = false;
    try {
      handler.handleInPlace(view);
    } catch (error) {
      const { status, message } = this.host.errorOf(error, undefined);
      view.fail(status, message);
      return;
    }
    if (!view.answered) view.fail(Status.INTERNAL, 'the handler did not answer before it returned');
  }

  #refuse(route: number, id: number, flags: number, status: number, sentence: string): void {
    this.host.counts.refused++;
    if ((flags & Flag.noReply) !== 0) return;
    this.#writer.write(Kind.response, Flag.notExecuted, route, id, status, Buffer.from(sentence));
  }

  /** The task lives beyond the frame's call: it can be cancelled and has its deadline. */
  open(task: BackendTask): void {
    if (task.wheelSlot >= 0) return;
    if (task.view.noReply) this.#silent.add(task);
    else this.#tasks.set(task.view.id, task);
    this.host.deadlines.add(task, task.view.deadlineMs);
  }

  /** Writes the one final response and forgets the task. */
  settle(task: BackendTask, answer: Uint8Array | StatusError): void {
    const { view } = task;
    const waits = task.wheelSlot >= 0 || this.#tasks.get(view.id) === task || this.#silent.has(task);
    if (waits) {
      this.host.deadlines.remove(task);
      if (view.noReply) this.#silent.delete(task);
      else this.#tasks.delete(view.id);
      if (this.#held.size > 0) this.#held.delete(task);
    }
    if (!view.noReply) this.#final(view, answer);
    if (waits && this.openTasks === 0) this.host.settled(this);
  }

  #final(view: Task, answer: Uint8Array | StatusError): void {
    if (!(answer instanceof StatusError) && answer.length > this.maxResponseBytes) answer = this.tooLong(answer.length);
    if (answer instanceof StatusError) {
      const flags = answer.notExecuted ? Flag.notExecuted : 0;
      this.respond(view, flags, answer.status, Buffer.from(answer.message));
    } else this.respond(view, 0, Status.OK, answer);
  }

  respond(view: Task, flags: number, status: number, bytes: Uint8Array): boolean {
    return this.respondInPlace(view.route, view.id, status, bytes, 0, bytes.length, flags);
  }

  respondInPlace(
    route: number,
    id: number,
    status: number,
    bytes: Uint8Array,
    start: number,
    end: number,
    flags = 0,
  ): boolean {
    const flowing = this.#writer.write(Kind.response, flags, route, id, status, bytes, start, end);
    // A peer that takes no responses gets no further requests read: what it can make us hold stays bounded.
    if (!flowing && !this.#ended) this.connection.pause();
    return flowing;
  }

  tooLong(length: number): StatusError {
    const sentence = `a response of ${length} bytes is over the ${this.maxResponseBytes} that the requester takes`;
    return new StatusError(Status.RESOURCE_EXHAUSTED, sentence);
  }

  /** Resolves when the peer takes more, or is gone. */
  flowing(): Promise<void> {
    if (this.#flowing === undefined) {
      let resolve = (): void => {};
      const promise = new Promise<void>((done) => {
        resolve = done;
      });
      this.#flowing = { promise, resolve };
    }
    return this.#flowing.promise;
  }

  /** `task.sendHeld` is called when the peer takes more. */
  awaitFlow(task: BackendTask): void {
    this.#held.add(task);
  }

  /** The peer takes more again. */
  drained(): void {
    if (!this.#writer.drained()) return;
    this.#releaseFlow();
    this.#sendHeld();
    if (this.#writer.congested) return;
    this.connection.resume();
    if (this.openTasks === 0) this.host.settled(this);
  }

  goAway(graceMs: number): void {
    this.#goAwayMs = graceMs;
    if (this.#helloSeen || this.#otherFrameSeen) this.#sayGoingAway();
  }

  /** Behind it a ping: the pong says that all requests from before the peer knew have been read. */
  #sayGoingAway(): void {
    if (this.#goAwayMs === undefined) return;
    this.#writer.write(Kind.goingAway, 0, 0, 0, this.#goAwayMs);
    this.#writer.write(Kind.ping, 0, 0, 0, 0);
    this.#goAwayMs = undefined;
  }

  /** The pong came, or was waited for long enough. */
  peerKnowsDrain(): void {
    this.#peerKnowsDrain = true;
    if (this.openTasks === 0) this.host.settled(this);
  }

  /** Ends every open task. @returns how many there were. */
  cut(status: number, sentence: string): number {
    const open = [...this.#tasks.values(), ...this.#silent];
    for (const task of open) task.cut(status, sentence);
    return open.length;
  }

  /** The connection is gone: nobody is left to answer. */
  end(): void {
    this.#ended = true;
    this.#writer.end();
    this.host.counts.cancelled += this.cut(Status.CANCELLED, 'the link of the requester ended');
    this.#releaseFlow();
  }

  /** One partial response of each task in turn: who is added again while this goes on comes last. */
  #sendHeld(): void {
    for (const task of this.#held) {
      if (this.#writer.congested) return;
      this.#held.delete(task);
      if (task.sendHeld()) this.#held.add(task);
    }
  }

  #releaseFlow(): void {
    this.#flowing?.resolve();
    this.#flowing = undefined;
  }

  #protocolError(sentence: string): void {
    this.host.counts.protocolErrors++;
    this.connection.close('protocol-error', sentence);
    this.end();
  }
}

/** Options of a link's connection that differ from the engine's defaults. */
export const LINK_HIGH_WATER_MARK = ENGINE_LIMITS.highWaterMark * 4;
