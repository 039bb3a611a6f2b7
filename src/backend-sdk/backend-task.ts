/** One request on a backend: from its frame to its one final response. */
import { bytesOf, isBytes } from '../bytes.js';
import { Status } from '../engine/tables.gen.js';
import { shown } from '../errors.js';
import type { Meta } from '../protocol/meta.js';
import { StatusError } from '../protocol/status-error.js';
import { Flag } from '../protocol/rmp.js';
import { EMPTY } from '../protocol/rmp-writer.js';
import { NOT_IN_WHEEL, type Timed } from '../timer/deadlines.js';
import type { BackendLink } from './backend-link.js';
import { PendingPartials } from './pending-partials.js';
import type { Startable } from './task-limiter.js';
import type { Reply, Task, TaskContext } from './types.js';

const RESOLVED = Promise.resolve();

/** The request's side: what a handler is given. */
class TaskView implements Task {
  readonly payload: Buffer;
  readonly route: number;
  readonly id: number;
  readonly meta: Meta | undefined;
  readonly idempotent: boolean;
  readonly noReply: boolean;
  readonly #endsAt: number;

  constructor(payload: Buffer, route: number, id: number, flags: number, meta: Meta | undefined, endsAt: number) {
    this.payload = payload;
    this.route = route;
    this.id = id;
    this.meta = meta;
    this.idempotent = (flags & Flag.idempotent) !== 0;
    this.noReply = (flags & Flag.noReply) !== 0;
    this.#endsAt = endsAt;
  }

  get deadlineMs(): number {
    return Math.max(0, Math.round(this.#endsAt - performance.now()));
  }
}

/** The answer's side. Getters, so that a handler which takes neither pays for neither. */
class ContextView implements TaskContext {
  readonly #task: BackendTask;

  constructor(task: BackendTask) {
    this.#task = task;
  }

  get signal(): AbortSignal {
    return this.#task.signal;
  }

  get partial(): (bytes: Uint8Array | string) => Promise<void> {
    return (bytes) => this.#task.partial(bytes);
  }
}

/**
 * Life: (queued →) running → done. `done` is when the final response was written, or nobody is left to have one; the handler
 * may run on beyond it (a cancel answers at once), and its place among the running is free only when it ends.
 */
export class BackendTask implements Timed, Startable {
  readonly view: TaskView;
  readonly #link: BackendLink;
  /** Partial responses the requester still takes. */
  #credits: number;
  #controller: AbortController | undefined;
  #abortReason: StatusError | undefined;
  #pending: PendingPartials | undefined;
  /** The handler has answered, but partial responses still wait in front of it. */
  #answer: Uint8Array | StatusError | undefined;
  #done = false;
  #started = false;

  expiresAt = 0;
  wheelSlot = NOT_IN_WHEEL;
  wheelNext: Timed | undefined;
  wheelPrevious: Timed | undefined;

  constructor(
    link: BackendLink,
    payload: Buffer,
    route: number,
    id: number,
    flags: number,
    meta: Meta | undefined,
    budgetMs: number,
    credits: number,
  ) {
    this.#link = link;
    this.#credits = credits;
    this.view = new TaskView(payload, route, id, flags, meta, performance.now() + budgetMs);
  }

  get done(): boolean {
    return this.#done;
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#abortReason !== undefined) this.#controller.abort(this.#abortReason);
    }
    return this.#controller.signal;
  }

  /** Its turn has come (it holds a place among the running): calls the handler. */
  start(): void {
    this.#started = true;
    let reply: Reply | Promise<Reply>;
    try {
      reply = this.#link.host.handler.handle(this.view, new ContextView(this));
    } catch (error) {
      this.#finishNow(this.#link.host.errorOf(error, this.view));
      return;
    }
    if (isPromise(reply)) {
      if (!this.#done) this.#link.open(this);
      void this.#settled(reply);
    } else this.#finishNow(replyBytes(reply));
  }

  /** The handler returned without a promise: only partial responses that wait can keep the task open. */
  #finishNow(answer: Uint8Array | StatusError): void {
    this.#finish(answer);
    if (!this.#done) this.#link.open(this);
    this.#link.host.limiter.release();
  }

  async #settled(reply: Promise<Reply>): Promise<void> {
    try {
      const value = await reply;
      this.#finish(replyBytes(value));
    } catch (error) {
      // After a cancel most handlers throw because of it: that is no fault to report.
      if (!this.#done) this.#finish(this.#link.host.errorOf(error, this.view));
    }
    this.#link.host.limiter.release();
  }

  partial(value: Uint8Array | string): Promise<void> {
    let bytes: Uint8Array;
    try {
      bytes = bytesOf('the partial response', value);
    } catch (error) {
      this.#fail(this.#link.host.errorOf(error, this.view));
      return rejected(error);
    }
    if (this.#done || this.#answer !== undefined) return rejected(this.#abortReason ?? endedError());
    if (this.view.noReply) return RESOLVED;
    if (bytes.length > this.#link.maxResponseBytes) return rejected(this.#link.tooLong(bytes.length));
    if (this.#credits > 0 && !this.#waits && !this.#link.congested) return this.#sendPartial(bytes);
    return this.#hold(bytes);
  }

  /** The requester takes `count` more partial responses. */
  grant(count: number): void {
    this.#credits += count;
    while (this.#lacksOnlyFlow && !this.#link.congested) this.#sendFirst();
    if (this.#lacksOnlyFlow) this.#link.awaitFlow(this);
  }

  /** The link takes more: sends one partial response. @returns whether another one waits for nothing but the link. */
  sendHeld(): boolean {
    if (this.#lacksOnlyFlow) this.#sendFirst();
    return this.#lacksOnlyFlow;
  }

  get #waits(): boolean {
    return this.#pending !== undefined && !this.#pending.isEmpty;
  }

  get #lacksOnlyFlow(): boolean {
    return this.#credits > 0 && !this.#done && this.#waits;
  }

  /** The deadline passed. */
  expire(): void {
    this.cut(Status.DEADLINE_EXCEEDED, 'the deadline passed');
    this.#link.host.counts.timedOut++;
  }

  cancel(): void {
    this.cut(Status.CANCELLED, 'cancelled by the requester');
    this.#link.host.counts.cancelled++;
  }

  /** Ends the task with an error, which says not-executed if its turn had not come. */
  cut(status: number, sentence: string): void {
    this.#end(new StatusError(status, sentence, { notExecuted: !this.#started }));
  }

  /** Ends the task from outside: answers with `error`, then aborts the handler's signal. */
  #end(error: StatusError): void {
    if (this.#done) return;
    if (!this.#started) this.#link.host.limiter.dropQueued();
    this.#abortReason = error;
    this.#close(error);
    this.#controller?.abort(error);
  }

  /** A partial response cannot be sent: a stream with a hole would be worse than none. */
  #fail(error: StatusError): void {
    if (this.#done) return;
    this.#end(error);
    this.#link.host.counts.failed++;
  }

  /** The handler's answer; waits behind partial responses that the requester has not granted yet. */
  #finish(answer: Uint8Array | StatusError): void {
    if (this.#done) return;
    if (this.#waits) {
      this.#answer = answer;
      return;
    }
    this.#close(answer);
    const { counts } = this.#link.host;
    if (answer instanceof StatusError) counts.failed++;
    else counts.answered++;
  }

  #close(answer: Uint8Array | StatusError): void {
    this.#done = true;
    this.#link.settle(this, answer);
    this.#pending?.rejectAll(answer instanceof StatusError ? answer : endedError());
  }

  #sendPartial(bytes: Uint8Array): Promise<void> {
    this.#credits--;
    return this.#link.respond(this.view, Flag.more, Status.OK, bytes) ? RESOLVED : this.#link.flowing();
  }

  #hold(bytes: Uint8Array): Promise<void> {
    const { maxPendingPartialBytes } = this.#link.host;
    this.#pending ??= new PendingPartials();
    if (this.#pending.bytes + bytes.length > maxPendingPartialBytes) {
      const sentence = `more than ${maxPendingPartialBytes} bytes of partial responses waited for the requester`;
      this.#fail(new StatusError(Status.RESOURCE_EXHAUSTED, sentence));
      return rejected(this.#abortReason ?? endedError());
    }
    const sent = this.#pending.add(bytes);
    if (this.#credits > 0) this.#link.awaitFlow(this);
    return sent;
  }

  #sendFirst(): void {
    this.#pending?.sendFirst((bytes) => this.#sendPartial(bytes));
    if (this.#waits || this.#answer === undefined) return;
    const answer = this.#answer;
    this.#answer = undefined;
    this.#finish(answer);
  }
}

function isPromise(value: Reply | Promise<Reply>): value is Promise<Reply> {
  return typeof value === 'object' && value !== null && typeof (value as Promise<Reply>).then === 'function';
}

function replyBytes(reply: Reply): Uint8Array | StatusError {
  if (reply === undefined || reply === null) return EMPTY;
  if (typeof reply === 'string') return Buffer.from(reply);
  if (isBytes(reply)) return reply;
  return new StatusError(Status.INTERNAL, `the handler returned ${shown(reply)}: bytes, a string or nothing is needed`);
}

function endedError(): StatusError {
  return new StatusError(Status.CANCELLED, 'the task has ended');
}

/** A rejection that crashes nobody who does not await it. */
function rejected(error: unknown): Promise<never> {
  const promise = Promise.reject(error);
  promise.catch(() => {});
  return promise;
}
