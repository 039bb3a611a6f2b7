/**
 * All open tasks as a struct of arrays: a task is a slot, and a slot is an index. Nothing is allocated per task and nothing
 * has to be collected; the arrays double when they are full and never shrink.
 *
 * Lifetime of a slot: `acquire` → … → `release`. Its generation changes on release, so that who remembers a slot across
 * turns can tell that it is another task's by now.
 */
import type { Backend } from './backend.js';
import { check } from './check.js';

export const TaskState = { free: 0, received: 1, queued: 2, sent: 3, done: 4 } as const;

/** How an attempt ended, for the ledger. */
export const AttemptEnd = {
  open: 0,
  answered: 1,
  /** The backend said not-executed. */
  refused: 2,
  /** The link ended before the frame left. */
  unsent: 3,
  /** The link ended after (part of) the frame left. */
  broken: 4,
  cancelled: 5,
  expired: 6,
} as const;

/** Attempts remembered per task; later ones overwrite the last entry. */
export const LEDGER_ENTRIES = 4;

/** The client a task belongs to, as far as the way of the task needs it. */
export interface TaskOwner {
  /** Unique among the connections of this gateway, never reused. */
  readonly number: number;
  /** Tasks in order of arrival: list over `ownerNext`, -1 when empty. */
  firstTask: number;
  lastTask: number;
  /** Tasks of this owner not released. */
  openTasks: number;
  queuedTasks: number;
  readonly maxQueuedTasks: number;
  /** A full queue refuses (there is room for a status), instead of stopping to read. */
  readonly refusesWhenFull: boolean;
  /** The final answer of the backend; `bytes` are valid during the call. Releases the slot now or when its turn came. */
  answer(slot: number, status: number, flags: number, bytes: Uint8Array, start: number, end: number): void;
  /** A partial response. Answers with a sentence when this client cannot take it: the task ends RESOURCE_EXHAUSTED. */
  partial(slot: number, flags: number, bytes: Uint8Array, start: number, end: number): Uint8Array | undefined;
  /** The gateway ends the task itself. Releases the slot now or when its turn came. */
  fail(slot: number, status: number, flags: number, sentence: Uint8Array): void;
  /** Granting more partial responses makes sense now: what was passed on is being taken. */
  readonly takesMore: boolean;
  queueFull(): void;
  queueRoom(): void;
}

/** The link a task was sent on. */
export interface TaskCarrier {
  readonly backend: Backend;
  /** The task has its outcome; the backend is told and may still answer. */
  abandon(slot: number): void;
  /** The backend may send so many more partial responses. */
  grant(slot: number, responses: number): void;
}

/** The queue a task waits in; it may leave from any place. */
export interface TaskWaiting {
  remove(slot: number): void;
}

/** The tasks of which only one is in flight at a time. */
export interface TaskGroup {
  readonly waiting: TaskWaiting & { push(slot: number): void };
  /** The task has its outcome. Answers with the one whose turn it is now, or -1. */
  leave(slot: number): number;
}

const INITIAL_CAPACITY = 256;

export class TaskTable {
  capacity = INITIAL_CAPACITY;
  /** Slots in use. */
  size = 0;

  state = new Uint8Array(INITIAL_CAPACITY);
  generation = new Int32Array(INITIAL_CAPACITY);
  flags = new Uint8Array(INITIAL_CAPACITY);
  attempts = new Uint8Array(INITIAL_CAPACITY);
  /** 1: some attempt may have reached a backend. */
  everSent = new Uint8Array(INITIAL_CAPACITY);
  /** 1: a partial response was passed on. */
  partialSent = new Uint8Array(INITIAL_CAPACITY);
  route = new Uint16Array(INITIAL_CAPACITY);
  /** The client's correlation id as a signed number (Int32 keeps V8 off heap numbers); `>>> 0` gives the one on the wire. */
  clientId = new Int32Array(INITIAL_CAPACITY);
  ownerNumber = new Int32Array(INITIAL_CAPACITY);
  ownerNext = new Int32Array(INITIAL_CAPACITY);
  ownerPrevious = new Int32Array(INITIAL_CAPACITY);
  queueNext = new Int32Array(INITIAL_CAPACITY);
  queuePrevious = new Int32Array(INITIAL_CAPACITY);
  /** Hash of the client or its affinity key. */
  key = new Int32Array(INITIAL_CAPACITY);
  linkId = new Int32Array(INITIAL_CAPACITY);
  /** Partial responses passed on and not yet granted again. */
  ungranted = new Int32Array(INITIAL_CAPACITY);
  /** Status of an answer that waits for its turn. */
  status = new Int32Array(INITIAL_CAPACITY);
  bytesStart = new Int32Array(INITIAL_CAPACITY);
  bytesEnd = new Int32Array(INITIAL_CAPACITY);
  /** Attempts: backend index × 16 + how it ended, LEDGER_ENTRIES per slot. */
  ledger = new Int32Array(INITIAL_CAPACITY * LEDGER_ENTRIES);
  receivedMs = new Float64Array(INITIAL_CAPACITY);
  sentMs = new Float64Array(INITIAL_CAPACITY);
  deadlineMs = new Float64Array(INITIAL_CAPACITY);
  /** Where the frame begins in the bytes given to its link; Infinity: given to none yet. */
  sentOffset = new Float64Array(INITIAL_CAPACITY);
  /** The payload kept for queueing or another attempt; after the outcome, an answer that waits for its turn. */
  readonly bytes: (Uint8Array | undefined)[] = [];
  readonly owner: (TaskOwner | undefined)[] = [];
  readonly link: (TaskCarrier | undefined)[] = [];
  readonly queue: (TaskWaiting | undefined)[] = [];
  readonly order: (TaskGroup | undefined)[] = [];

  #free = new Int32Array(INITIAL_CAPACITY);
  #freeCount = 0;
  readonly #onGrow: (capacity: number) => void;

  /** `onGrow` is told the new capacity before a slot beyond the old one is handed out. */
  constructor(onGrow: (capacity: number) => void = () => {}) {
    this.#onGrow = onGrow;
    this.#addFree(0, INITIAL_CAPACITY);
    this.#fillLists(0, INITIAL_CAPACITY);
  }

  acquire(): number {
    if (this.#freeCount === 0) this.#grow();
    const slot = this.#free[--this.#freeCount];
    this.state[slot] = TaskState.received;
    this.attempts[slot] = 0;
    this.everSent[slot] = 0;
    this.partialSent[slot] = 0;
    this.ungranted[slot] = 0;
    this.size++;
    return slot;
  }

  release(slot: number): void {
    check(this.state[slot] !== TaskState.free, 'a task slot is released once');
    this.state[slot] = TaskState.free;
    this.generation[slot]++;
    this.bytes[slot] = undefined;
    this.owner[slot] = undefined;
    this.link[slot] = undefined;
    this.#free[this.#freeCount++] = slot;
    this.size--;
  }

  /** Appends to the owner's list, which keeps the order of arrival. */
  own(slot: number, owner: TaskOwner): void {
    this.owner[slot] = owner;
    this.ownerNumber[slot] = owner.number;
    const last = owner.lastTask;
    this.ownerPrevious[slot] = last;
    this.ownerNext[slot] = -1;
    if (last === -1) owner.firstTask = slot;
    else this.ownerNext[last] = slot;
    owner.lastTask = slot;
    owner.openTasks++;
  }

  disown(slot: number): void {
    const owner = this.owner[slot];
    if (owner === undefined) return;
    const next = this.ownerNext[slot];
    const previous = this.ownerPrevious[slot];
    if (previous === -1) owner.firstTask = next;
    else this.ownerNext[previous] = next;
    if (next === -1) owner.lastTask = previous;
    else this.ownerPrevious[next] = previous;
    owner.openTasks--;
    this.owner[slot] = undefined;
  }

  beginAttempt(slot: number, backendIndex: number): void {
    const attempt = Math.min(this.attempts[slot]++, LEDGER_ENTRIES - 1);
    this.ledger[slot * LEDGER_ENTRIES + attempt] = backendIndex * 16 + AttemptEnd.open;
  }

  endAttempt(slot: number, end: number): void {
    const attempt = Math.min(this.attempts[slot], LEDGER_ENTRIES) - 1;
    const at = slot * LEDGER_ENTRIES + attempt;
    this.ledger[at] = (this.ledger[at] & ~15) | end;
  }

  /** The attempts of a task, oldest first: which backend, and how each ended (a value of `AttemptEnd`). For reports. */
  attemptsOf(slot: number): { backend: number; end: number }[] {
    const entries = [];
    for (let i = 0; i < Math.min(this.attempts[slot], LEDGER_ENTRIES); i++) {
      const entry = this.ledger[slot * LEDGER_ENTRIES + i];
      entries.push({ backend: entry >> 4, end: entry & 15 });
    }
    return entries;
  }

  /** Slots whose task has no outcome yet. Safe against releases while it runs. */
  forEachOpen(visit: (slot: number) => void): void {
    for (let slot = 0; slot < this.capacity; slot++) {
      if (this.state[slot] !== TaskState.free && this.state[slot] !== TaskState.done) visit(slot);
    }
  }

  #grow(): void {
    const from = this.capacity;
    const to = from * 2;
    this.capacity = to;
    this.state = widen(this.state, new Uint8Array(to));
    this.generation = widen(this.generation, new Int32Array(to));
    this.flags = widen(this.flags, new Uint8Array(to));
    this.attempts = widen(this.attempts, new Uint8Array(to));
    this.everSent = widen(this.everSent, new Uint8Array(to));
    this.partialSent = widen(this.partialSent, new Uint8Array(to));
    this.route = widen(this.route, new Uint16Array(to));
    this.clientId = widen(this.clientId, new Int32Array(to));
    this.ownerNumber = widen(this.ownerNumber, new Int32Array(to));
    this.ownerNext = widen(this.ownerNext, new Int32Array(to));
    this.ownerPrevious = widen(this.ownerPrevious, new Int32Array(to));
    this.queueNext = widen(this.queueNext, new Int32Array(to));
    this.queuePrevious = widen(this.queuePrevious, new Int32Array(to));
    this.key = widen(this.key, new Int32Array(to));
    this.linkId = widen(this.linkId, new Int32Array(to));
    this.ungranted = widen(this.ungranted, new Int32Array(to));
    this.status = widen(this.status, new Int32Array(to));
    this.bytesStart = widen(this.bytesStart, new Int32Array(to));
    this.bytesEnd = widen(this.bytesEnd, new Int32Array(to));
    this.ledger = widen(this.ledger, new Int32Array(to * LEDGER_ENTRIES));
    this.receivedMs = widen(this.receivedMs, new Float64Array(to));
    this.sentMs = widen(this.sentMs, new Float64Array(to));
    this.deadlineMs = widen(this.deadlineMs, new Float64Array(to));
    this.sentOffset = widen(this.sentOffset, new Float64Array(to));
    this.#free = widen(this.#free, new Int32Array(to));
    this.#addFree(from, to);
    this.#fillLists(from, to);
    this.#onGrow(to);
  }

  /** Low slots on top, so that a small load stays in few cache lines. */
  #addFree(from: number, to: number): void {
    for (let slot = to - 1; slot >= from; slot--) this.#free[this.#freeCount++] = slot;
  }

  /** Pushed one by one the arrays stay packed: holes would make every read of them slower. */
  #fillLists(from: number, to: number): void {
    for (let slot = from; slot < to; slot++) {
      this.bytes.push(undefined);
      this.owner.push(undefined);
      this.link.push(undefined);
      this.queue.push(undefined);
      this.order.push(undefined);
    }
  }
}

function widen<T extends Uint8Array | Uint16Array | Int32Array | Float64Array>(from: T, to: T): T {
  to.set(from);
  return to;
}
