/**
 * The way of a task: from a client's session to a backend's link and back. Everything that ends a task goes through here, and
 * through the tracker. No I/O of its own, no timer, nothing allocated per task.
 */
import type { CloseInfo, Engine } from '../engine/engine.js';
import { Status } from '../engine/tables.gen.js';
import { limits } from '../limits.js';
import { bodyStart } from '../protocol/meta-scan.js';
import { Flag } from '../protocol/rmp.js';
import type { BackendConnection, LinkCounters, LinkEvents } from './backend-connection.js';
import { DeadlineWheel } from './deadline-wheel.js';
import { InFlightIndex } from './in-flight-index.js';
import type { Log, RouteConfig } from './options.js';
import { OrderGroups } from './order-groups.js';
import { NO_PLACE } from './places.js';
import type { Pool } from './pool.js';
import type { TaskQueue } from './queue.js';
import { Sentence } from './sentence.js';
import { StreamGrants } from './stream-grants.js';
import { AttemptEnd, Mark, Side, SLOT_SHIFT, type TaskOwner, TaskState, TaskTable, Time, Word } from './task-table.js';
import { Outcome, Tracker } from './tracker.js';
import { type WaitingList, WaitingTasks } from './waiting-tasks.js';

interface Route {
  readonly pool: Pool;
  readonly orderBy: RouteConfig['orderBy'];
  readonly groups: OrderGroups;
}

export interface RelayCounters extends LinkCounters {
  /** Further attempts, after the first. */
  retries: number;
  /** Tasks that could have been tried again but for the budget. */
  retriesDenied: number;
  /** Partial responses passed on. */
  partials: number;
}

export interface RelayOptions {
  readonly engine: Engine;
  readonly log: Log;
  readonly random: () => number;
  readonly maxQueuedTotal: number;
}

/** Keys of clients without an affinity key, beside the 32 bits of hashes. */
const CLIENT_KEYS = 2 ** 32;

export class Relay implements LinkEvents {
  readonly table: TaskTable;
  readonly tracker: Tracker;
  /** What backends may send of the streams. */
  readonly grants: StreamGrants;
  /** Requests of rmp clients, by client and id. */
  readonly inFlight: InFlightIndex;
  readonly counters: RelayCounters = {
    lateResponses: 0,
    unknownResponses: 0,
    ignoredFrames: 0,
    protocolErrors: 0,
    retries: 0,
    retriesDenied: 0,
    partials: 0,
  };
  /** New tasks are refused. */
  draining = false;
  /** Told of each ended link, for counting. */
  onLinkClosed: (link: BackendConnection, info: CloseInfo) => void = () => {};

  readonly #engine: Engine;
  readonly #log: Log;
  readonly #waiting: WaitingTasks;
  readonly #wheel: DeadlineWheel;
  readonly #routes: (Route | undefined)[] = [];
  /** Those of the routes, each once. */
  readonly #pools: Pool[] = [];
  #pumping = false;
  /** A task ended meanwhile, and may have made way for one of a queue that was looked at already. */
  #pumpAgain = false;
  #closed = false;
  #atNextTask: (() => void) | undefined;

  constructor(options: RelayOptions) {
    this.#engine = options.engine;
    this.#log = options.log;
    this.table = new TaskTable(
      (capacity) => this.#wheel.grow(capacity),
      (bytes) => this.#engine.reuse(bytes),
      (bytes) => this.#engine.allocate(bytes),
    );
    this.tracker = new Tracker(this.table);
    this.#waiting = new WaitingTasks(this.table, options.maxQueuedTotal);
    this.grants = new StreamGrants(this.table);
    this.inFlight = new InFlightIndex(this.table, options.random() * 2 ** 32);
    this.#wheel = new DeadlineWheel(this.table, limits.tickMs);
    // Armed before its first tick the wheel would walk from time 0.
    this.#wheel.advance(options.engine.now(), () => {});
  }

  /** Deadlines armed: one for each open task. */
  get deadlines(): number {
    return this.#wheel.size;
  }

  get queued(): number {
    return this.#waiting.count;
  }

  get queuedBytes(): number {
    return this.#waiting.bytes;
  }

  setRoute(route: number, pool: Pool, orderBy: RouteConfig['orderBy']): void {
    while (this.#routes.length <= route) this.#routes.push(undefined);
    if (!this.#pools.includes(pool)) this.#pools.push(pool);
    this.#routes[route] = { pool, orderBy, groups: new OrderGroups(this.table) };
  }

  now(): number {
    return this.#engine.now();
  }

  /** Calls back with the next task, once; instead of what was given before. */
  atNextTask(callback: () => void): void {
    this.#atNextTask = callback;
  }

  #takeFirst(callback: () => void): void {
    this.#atNextTask = undefined;
    callback();
  }

  /** A new task of this owner. `clientId`, `key`: signed 32 bits; `flags`: only those that are passed on. */
  receive(owner: TaskOwner, clientId: number, route: number, flags: number, key: number): number {
    const { table } = this;
    const slot = this.tracker.receive();
    table.own(slot, owner);
    table.words[slot + Word.clientId] = clientId;
    table.setRoute(slot, route, flags);
    table.setSide(slot, Side.key, key);
    table.setTime(slot, Time.received, this.#engine.now());
    if (this.#atNextTask !== undefined) this.#takeFirst(this.#atNextTask);
    return slot;
  }

  /**
   * Sends the task or lets it wait. `bytes` are those of the frame being delivered.
   * @param budgetMs 0: the pool's default
   * @param keyed the task's key is its affinity key; else `orderBy: key` goes by client
   */
  submit(slot: number, budgetMs: number, bytes: Uint8Array, start: number, end: number, keyed: boolean): void {
    const { table } = this;
    const now = this.#engine.now();
    const route = this.#routes[table.routeOf(slot)];
    if (route === undefined) {
      this.#refuse(slot, Status.NOT_FOUND, Sentence.unknownRoute);
      return;
    }
    if (this.draining) {
      this.#refuse(slot, Status.UNAVAILABLE, Sentence.draining);
      return;
    }
    const { pool } = route;
    pool.budget.onRequest(now);
    const deadline = now + (budgetMs === 0 ? pool.config.deadlineMs : budgetMs);
    this.#wheel.arm(slot, deadline);
    if (route.orderBy !== 'none') {
      // Before it has its place in the row: what ends meanwhile may be the one it would wait for.
      if (!this.#makeRoom(slot, end - start)) return;
      if (!this.#mayGo(slot, route, keyed)) {
        this.#enqueue(slot, table.order[slot >> SLOT_SHIFT]!.waiting, bytes, start, end);
        return;
      }
    }
    const queue = pool.queueFor(end - start);
    if (queue.size > 0 || !this.#send(slot, pool, now, -1, bytes, start, end)) {
      if (this.#makeRoom(slot, end - start)) this.#enqueue(slot, queue, bytes, start, end);
    }
  }

  /** Bytes of the task's own (a payload that was rewritten): they need no further copy. */
  own(slot: number, bytes: Uint8Array): void {
    this.table.keep(slot, bytes, 0, bytes.length);
  }

  /** By the client. */
  cancel(slot: number): void {
    this.#finish(slot, Outcome.cancelled, Status.CANCELLED, 0, Sentence.cancelled);
  }

  /** The client left: nobody is answered. No-reply requests under way go on, nobody waits for them. */
  leave(owner: TaskOwner): void {
    const { table } = this;
    for (let slot = owner.firstTask; slot !== -1; ) {
      const next = table.words[slot + Word.ownerNext];
      const state = table.words[slot + Word.state];
      if (state === TaskState.done) this.release(slot);
      else if (state === TaskState.sent && table.has(slot, Flag.noReply)) table.disown(slot);
      else this.#cancelSilently(slot);
      slot = next;
    }
    this.inFlight.forget(owner.place);
    table.forgetOwner(owner);
    this.#waiting.forget(owner);
    this.#pumpAll();
  }

  /** An answer that waits for its turn; its bytes are those of the frame being delivered. */
  keepAnswer(slot: number, bytes: Uint8Array, start: number, end: number): void {
    this.#keep(slot, bytes, start, end);
  }

  /** The owner's last word on a settled task: the slot is free. */
  release(slot: number): void {
    if (this.table.has(slot, Mark.indexed | Mark.partialSent)) this.#forget(slot);
    this.table.release(slot);
  }

  /** Expires what is due; tries what waits (an ejection may have ended). */
  tick(now: number): void {
    this.#wheel.advance(now, this.#expire);
    this.grants.tick();
    this.#pumpAll();
  }

  /** Settles every open task: UNAVAILABLE. Answers with their number. */
  cut(): number {
    const { open } = this.tracker;
    this.#closed = true;
    this.tracker.close((slot) => {
      const flags = this.#neverBegan(slot) ? Flag.notExecuted : 0;
      this.#finish(slot, Outcome.failed, Status.UNAVAILABLE, flags, Sentence.cut);
    });
    return open;
  }

  // From the links.

  linkOpened(link: BackendConnection): void {
    this.#log('info', 'link.open', { backend: link.backend.name, bulk: link.bulk });
    this.#pumpAll();
  }

  answered(
    link: BackendConnection,
    slot: number,
    status: number,
    flags: number,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): void {
    const { table } = this;
    const { backend } = link;
    const now = this.#engine.now();
    const { pool } = this.#routes[table.routeOf(slot)]!;
    const refused = status !== Status.OK && (flags & Flag.notExecuted) !== 0;
    table.endAttempt(slot, refused ? AttemptEnd.refused : AttemptEnd.answered);
    if (status === Status.OK) backend.onSuccess(now - table.time(slot, Time.sent), now);
    else judge(link, status, now - table.time(slot, Time.sent), now);
    // It may have been begun, and another backend may be able to.
    const repeatable = !refused && status === Status.UNAVAILABLE && table.has(slot, Flag.idempotent);
    if (repeatable) table.mark(slot, Mark.everSent);
    if (!((refused || repeatable) && this.#retry(slot, pool, backend.index, now))) {
      const owner = table.ownerOf(slot)!;
      // Of this attempt alone: an earlier one, or a part of this one, may have been executed.
      if (refused && table.has(slot, Mark.everSent)) flags &= ~Flag.notExecuted;
      if (end - start > owner.answerBytes) {
        this.#answerWithCare(owner, slot, status, flags, bytes, start, end);
        return;
      }
      this.#settle(slot, status === Status.OK ? Outcome.answered : Outcome.failed, status, now);
      owner.answer(slot, status, flags, bytes, start, end);
    }
  }

  /** A held answer's turn has come. */
  deliver(slot: number, status: number, flags: number, bytes: Uint8Array): void {
    this.#answer(this.table.ownerOf(slot)!, slot, status, flags, bytes, 0, bytes.length);
    this.#pumpAll();
  }

  #answer(
    owner: TaskOwner,
    slot: number,
    status: number,
    flags: number,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): void {
    this.#settle(slot, status === Status.OK ? Outcome.answered : Outcome.failed, status, this.#engine.now());
    owner.answer(slot, status, flags, bytes, start, end);
  }

  /** It may be more than the client can be sent, or have to wait behind partial responses that were not granted. */
  #answerWithCare(
    owner: TaskOwner,
    slot: number,
    status: number,
    flags: number,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): void {
    const why = owner.refusal(slot, flags, bytes, start, end);
    if (why === undefined) {
      if (owner.hold(slot, status, flags, bytes, start, end)) this.#leaveBackend(slot);
      else this.#answer(owner, slot, status, flags, bytes, start, end);
    } else if (status === Status.OK) {
      this.#finish(slot, Outcome.failed, Status.RESOURCE_EXHAUSTED, 0, why);
    } else {
      // Of an error the client is told what fits.
      const from = (flags & Flag.meta) === 0 ? start : bodyStart(bytes, start);
      this.#finish(slot, Outcome.failed, status, flags & Flag.notExecuted, bytes.subarray(from, end));
    }
  }

  /** Its answer waits for the client alone: who stands behind it in a row may go, and its payload is needed no longer. */
  #leaveBackend(slot: number): void {
    const { table } = this;
    table.words[slot + Word.state] = TaskState.held;
    if (table.words[slot + Word.kept] !== NO_PLACE) table.drop(slot);
    if (!table.has(slot, Mark.ordered)) return;
    this.#nextInOrder(slot);
    table.unmark(slot, Mark.ordered);
  }

  /** What waits is sent once per turn, not after each answer: most of those tries would find one place, and then none. */
  batchEnd(): void {
    this.#pumpAll();
  }

  partial(link: BackendConnection, slot: number, flags: number, bytes: Uint8Array, start: number, end: number): void {
    const owner = this.table.ownerOf(slot)!;
    this.counters.partials++;
    this.grants.count(slot, owner, end - start);
    const refusal = owner.partial(slot, flags, bytes, start, end);
    if (refusal !== undefined) this.#finish(slot, Outcome.failed, Status.RESOURCE_EXHAUSTED, 0, refusal);
    else this.grants.grant(slot, link, owner);
  }

  lost(link: BackendConnection, slot: number, unsent: boolean): void {
    const { table } = this;
    const now = this.#engine.now();
    const { pool } = this.#routes[table.routeOf(slot)]!;
    table.endAttempt(slot, unsent ? AttemptEnd.unsent : AttemptEnd.broken);
    if (!unsent) table.mark(slot, Mark.everSent);
    const repeatable = unsent || table.has(slot, Flag.idempotent);
    if (repeatable && this.#mayRetry(slot, pool, now)) {
      if (this.#sendKept(slot, pool, link.backend.index, now)) return;
      if (this.#waiting.hasRoom(table.ownerOf(slot), table.keptLength(slot))) {
        this.#waiting.add(slot, pool.queueFor(table.keptLength(slot)).front);
        return;
      }
    }
    const flags = table.has(slot, Mark.everSent) ? 0 : Flag.notExecuted;
    const why = unsent ? Sentence.linkBrokeUnsent : Sentence.linkBroke;
    this.#finish(slot, Outcome.failed, Status.UNAVAILABLE, flags, why);
  }

  left(_link: BackendConnection, slot: number): void {
    this.table.endAttempt(slot, AttemptEnd.answered);
    this.#settle(slot, Outcome.answered, Status.OK, this.#engine.now());
    this.release(slot);
    this.#pumpAll();
  }

  tooLong(_link: BackendConnection, slot: number): void {
    this.#refuse(slot, Status.INVALID_ARGUMENT, Sentence.requestTooLong);
  }

  linkRoom(_link: BackendConnection): void {
    this.#pumpAll();
  }

  goingAway(link: BackendConnection, graceMs: number): void {
    link.backend.goingAway = true;
    this.#log('info', 'backend.going-away', { backend: link.backend.name, graceMs });
  }

  linkClosed(link: BackendConnection, info: CloseInfo, lost: number): void {
    const fault = lost > 0 || info.reason === 'protocol-error' || info.reason === 'bad-frame';
    if (fault && link.wasOpen && !link.brokeTheLimit) link.backend.onFailure(this.#engine.now());
    this.onLinkClosed(link, info);
    for (const pool of this.#pools) pool.linkLost();
    this.#pumpAll();
  }

  // Sending.

  /** False: it must wait. True: it is under way, or was refused. */
  #send(
    slot: number,
    pool: Pool,
    now: number,
    exclude: number,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): boolean {
    const { table } = this;
    const length = end - start;
    const link = pool.pick(table.side(slot, Side.key), length, now, exclude);
    if (link === undefined) return false;
    if (length > link.backend.maxRequestBytes) {
      // Not RESOURCE_EXHAUSTED, which callers try again: it will not become shorter.
      this.#refuse(slot, Status.INVALID_ARGUMENT, Sentence.requestTooLong);
      return true;
    }
    if ((pool.retries && length <= limits.maxRetainedBytes) || !link.isOpen) this.#keep(slot, bytes, start, end);
    else if (table.words[slot + Word.kept] !== NO_PLACE) table.drop(slot);
    table.words[slot + Word.state] = TaskState.sent;
    table.beginAttempt(slot, link.backend.index);
    link.sendTask(slot, now, bytes, start, end);
    return true;
  }

  #keep(slot: number, bytes: Uint8Array, start: number, end: number): void {
    const { table } = this;
    if (table.words[slot + Word.kept] !== NO_PLACE) return;
    const kept = this.#engine.keepReusable(bytes, start, end);
    table.keep(slot, kept.bytes, kept.start, kept.start + (end - start), kept.isReusable);
  }

  #retry(slot: number, pool: Pool, exclude: number, now: number): boolean {
    return this.#mayRetry(slot, pool, now) && this.#sendKept(slot, pool, exclude, now);
  }

  #mayRetry(slot: number, pool: Pool, now: number): boolean {
    const { table } = this;
    if (this.#closed || table.words[slot + Word.kept] === NO_PLACE || table.has(slot, Mark.partialSent)) return false;
    if (table.attempts(slot) >= pool.config.retries.maxAttempts) return false;
    if (now >= table.time(slot, Time.deadline)) return false;
    if (pool.budget.tryRetry(now)) return true;
    this.counters.retriesDenied++;
    return false;
  }

  #sendKept(slot: number, pool: Pool, exclude: number, now: number): boolean {
    const { table } = this;
    const bytes = table.bytesOf(slot)!;
    const attempts = table.attempts(slot);
    const start = table.side(slot, Side.keptStart);
    if (!this.#send(slot, pool, now, exclude, bytes, start, table.side(slot, Side.keptEnd))) return false;
    // Also one that waited for its further attempt; not one that was refused instead.
    if (attempts > 0 && table.attempts(slot) > attempts) this.counters.retries++;
    return true;
  }

  // Waiting.

  #mayGo(slot: number, route: Route, keyed: boolean): boolean {
    const { table } = this;
    const byKey = route.orderBy === 'key' && keyed;
    const key = byKey ? table.side(slot, Side.key) >>> 0 : CLIENT_KEYS + (table.ownerOf(slot)!.number >>> 0);
    return route.groups.enter(slot, key);
  }

  /** Answers of this turn may have made room that `batchEnd` has not filled yet. False: the task is over. */
  #makeRoom(slot: number, length: number): boolean {
    const { table } = this;
    if (this.#waiting.hasRoom(table.ownerOf(slot), length)) return true;
    this.#pumpAll();
    // An earlier request of this client failed in that, and the client was closed for it: all its tasks are over.
    return table.words[slot + Word.state] === TaskState.received;
  }

  #enqueue(slot: number, queue: WaitingList, bytes: Uint8Array, start: number, end: number): void {
    const owner = this.table.ownerOf(slot)!;
    if (!this.#waiting.hasRoom(owner, end - start)) {
      if (owner.refusesWhenFull) {
        this.#refuse(slot, Status.RESOURCE_EXHAUSTED, Sentence.queueFull);
        return;
      }
      this.#waiting.stop(owner);
    }
    this.#keep(slot, bytes, start, end);
    this.#waiting.add(slot, queue);
    if (owner.queuedTasks >= owner.maxQueuedTasks) owner.queueFull();
  }

  #pumpAll(): void {
    if (this.#waiting.count === 0 || this.#closed) return;
    if (this.#pumping) {
      this.#pumpAgain = true;
      return;
    }
    this.#pumping = true;
    do {
      this.#pumpAgain = false;
      for (const pool of this.#pools) {
        this.#pumpQueue(pool, pool.queue);
        this.#pumpQueue(pool, pool.bulkQueue);
      }
    } while (this.#pumpAgain);
    this.#pumping = false;
  }

  /** Sends what waits, in order, until no backend takes more. A loop, also when a task that ends makes way for another. */
  #pumpQueue(pool: Pool, queue: TaskQueue): void {
    const { table } = this;
    const now = this.#engine.now();
    while (queue.size > 0) {
      const slot = queue.head;
      if (!this.#sendKept(slot, pool, -1, now)) return;
      if (table.queue[slot >> SLOT_SHIFT] === queue) this.#waiting.remove(slot);
    }
  }

  // Ending.

  readonly #expire = (slot: number): void => {
    const { table } = this;
    const now = this.#engine.now();
    const sent = this.#isSent(slot);
    if (this.#neverBegan(slot)) {
      this.#finish(slot, Outcome.timedOut, Status.UNAVAILABLE, Flag.notExecuted, Sentence.neverSent);
      return;
    }
    if (sent && now - table.time(slot, Time.sent) >= limits.minTimeoutPenaltyMs) {
      table.carrierOf(slot)?.backend.onFailure(now);
    }
    this.#finish(slot, Outcome.timedOut, Status.DEADLINE_EXCEEDED, 0, Sentence.deadline);
  };

  /** On a link that was given it, as opposed to one that is still connecting. */
  #isSent(slot: number): boolean {
    const { table } = this;
    return table.words[slot + Word.state] === TaskState.sent && table.sentOffset(slot) !== Infinity;
  }

  /** No backend can have begun it. */
  #neverBegan(slot: number): boolean {
    return !this.#isSent(slot) && !this.table.has(slot, Mark.everSent);
  }

  #refuse(slot: number, status: number, why: Uint8Array): void {
    const flags = this.table.has(slot, Mark.everSent) ? 0 : Flag.notExecuted;
    this.#finish(slot, Outcome.refused, status, flags, why);
  }

  #cancelSilently(slot: number): void {
    this.#detach(slot, Outcome.cancelled);
    this.#settle(slot, Outcome.cancelled, Status.CANCELLED, this.#engine.now());
    this.release(slot);
  }

  #finish(slot: number, outcome: number, status: number, flags: number, why: Uint8Array): void {
    const { table } = this;
    this.#detach(slot, outcome);
    const owner = table.ownerOf(slot);
    const mute = owner === undefined || table.has(slot, Flag.noReply);
    this.#settle(slot, outcome, status, this.#engine.now());
    if (mute) this.release(slot);
    else owner.fail(slot, status, flags, why);
    if (this.#waiting.count > 0) this.#pumpAll();
  }

  /** From the queue or the link it is in. */
  #detach(slot: number, outcome: number): void {
    const { table } = this;
    const state = table.words[slot + Word.state];
    if (state === TaskState.queued) {
      this.#waiting.remove(slot);
      return;
    }
    const carrier = table.carrierOf(slot);
    if (state !== TaskState.sent || carrier === undefined) return;
    table.endAttempt(slot, outcome === Outcome.timedOut ? AttemptEnd.expired : AttemptEnd.cancelled);
    carrier.abandon(slot);
  }

  #settle(slot: number, outcome: number, status: number, now: number): void {
    const { table } = this;
    this.tracker.settle(slot, outcome, status, now);
    this.#wheel.cancel(slot);
    if (table.words[slot + Word.kept] !== NO_PLACE) table.drop(slot);
    if (table.has(slot, Mark.ordered)) this.#nextInOrder(slot);
  }

  /** It goes to the pool's queue, in which it has been counted already, so that a long row of failures is a loop, not a recursion. */
  #nextInOrder(slot: number): void {
    const next = this.table.order[slot >> SLOT_SHIFT]!.leave(slot);
    if (next === -1) return;
    this.#routes[this.table.routeOf(next)]!.pool.queueFor(this.table.keptLength(next)).push(next);
  }

  #forget(slot: number): void {
    const { table } = this;
    if (table.has(slot, Mark.indexed)) this.inFlight.remove(slot);
    if (table.has(slot, Mark.partialSent)) this.grants.end(slot, table.ownerOf(slot)!);
  }
}

/**
 * What an error status says about the backend. RESOURCE_EXHAUSTED is neither: refusing fast must not attract work, and a busy
 * backend is not a sick one.
 */
function judge(link: BackendConnection, status: number, latencyMs: number, now: number): void {
  if (status === Status.RESOURCE_EXHAUSTED) return;
  const fault = status === Status.UNAVAILABLE || status === Status.INTERNAL || status === Status.UNKNOWN;
  if (fault) link.backend.onFailure(now);
  else link.backend.onSuccess(latencyMs, now);
}
