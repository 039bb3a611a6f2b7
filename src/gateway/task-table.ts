/**
 * All open tasks: a task is a slot, and a slot is the place of its record in `words`. Nothing is allocated per task and
 * nothing has to be collected; the arrays double when they are full and never shrink.
 *
 * A record is in three parts, by when it is needed: sixteen words of 32 bits that every task writes and reads (one cache line,
 * where an array per field cost a line each), four times, and what only tasks need that wait, stream or fail. References are
 * kept as numbers (`Places`), so that a task that comes and goes writes nothing the garbage collector has to know of.
 *
 * Lifetime of a slot: `acquire` → … → `release`. Its generation changes on release, so that who remembers a slot across
 * turns can tell that it is another task's by now.
 */
import type { Backend } from './backend.js';
import { check } from './check.js';
import { KeptBytes } from './kept-bytes.js';
import { NO_PLACE, Places } from './places.js';

/** `held`: its answer came and waits behind partial responses that the client has not granted; no outcome yet. */
export const TaskState = { free: 0, received: 1, queued: 2, sent: 3, done: 4, held: 5 } as const;

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

/** The words of a record. */
export const Word = {
  /** A value of `TaskState`. */
  state: 0,
  /** Flags of the request that are passed on, and from bit 8 on those of `Mark`. */
  flags: 1,
  route: 2,
  /** The client's correlation id as a signed number (V8 keeps those off the heap); `>>> 0` gives the one on the wire. */
  clientId: 3,
  /** Place of the owner, NO_PLACE once it left. */
  owner: 4,
  ownerNext: 5,
  ownerPrevious: 6,
  /** Hash of the client or its affinity key. */
  key: 7,
  /** Place of the link the task was sent on, NO_PLACE when it is on none. */
  carrier: 8,
  linkId: 9,
  attempts: 10,
  /** The newest attempt: backend index × 16 + how it ended. */
  attempt: 11,
  /** The payload kept for queueing or another attempt; after the outcome, an answer that waits for its turn. */
  kept: 12,
  keptStart: 13,
  keptEnd: 14,
  generation: 15,
} as const;

/** Bits of `Word.flags` above those of the protocol. */
export const Mark = {
  /** Some attempt may have reached a backend. */
  everSent: 0x100,
  /** A partial response was passed on. */
  partialSent: 0x200,
  /** It has a `TaskGroup`. */
  ordered: 0x400,
  /** It can be found by its client's id. */
  indexed: 0x800,
  /** `Rare.credit` is the task's own. */
  credited: 0x1000,
} as const;

/** The times of a record, in ms, and one offset. */
export const Time = {
  received: 0,
  sent: 1,
  deadline: 2,
  /** Where the frame begins in the bytes given to its link; Infinity: given to none yet. */
  sentOffset: 3,
} as const;

/** What few tasks need. Who streams waits in no queue any more, and has no answer yet: some places serve twice. */
export const Rare = {
  queueNext: 0,
  queuePrevious: 1,
  /** Partial responses that its client grants still; with `Mark.credited`. */
  credit: 2,
  /** Status of an answer that waits for its turn. */
  status: 3,
  /** Attempts before the newest, oldest first: as in `Word.attempt`. */
  ledger: 4,
  /** Of a stream: partial responses that came, up to `limits.streamWindow`. */
  parts: 0,
  /** Of a stream: partial responses granted to the backend that have not come. */
  outstanding: 1,
  /** Of a stream: bytes of its longest partial response. */
  longest: 7,
} as const;

/** From a slot to its number among all: a record has 16 words, so slots are multiples of 16. */
export const SLOT_SHIFT = 4;
const SLOT_STEP = 1 << SLOT_SHIFT;
const TIMES = 4;
const RARE_FIELDS = 8;

/** The client a task belongs to, as far as the way of the task needs it. */
export interface TaskOwner {
  /** Unique among the connections of this gateway, never reused. */
  readonly number: number;
  /** In `TaskTable.owners`; NO_PLACE before its first task and after it left. */
  place: number;
  /** Tasks in order of arrival: list over `ownerNext`, -1 when empty. */
  firstTask: number;
  lastTask: number;
  /** Tasks of this owner not released. */
  openTasks: number;
  queuedTasks: number;
  readonly maxQueuedTasks: number;
  /** A full queue refuses (there is room for a status), instead of stopping to read. */
  readonly refusesWhenFull: boolean;
  /** Answers of up to so many bytes are given to it without asking `refusal` and `hold`. -1: some of its partial responses wait here. */
  readonly answerBytes: number;
  /** Tasks of this owner of which a partial response was passed on. */
  streams: number;
  /** What those granted for them and not come yet may take, as far as that is known. */
  reservedBytes: number;
  /** What they should take at most, in bytes. */
  readonly streamBytes: number;
  /**
   * Before a final answer beyond `answerBytes` is given. Answers with a sentence when it is, alone or with its partial responses, more
   * than this client can be sent: the task ends RESOURCE_EXHAUSTED, or with its error.
   */
  refusal(slot: number, flags: number, bytes: Uint8Array, start: number, end: number): Uint8Array | undefined;
  /** Keeps a copy of an answer that has to wait behind partial responses, and gives it to `Relay.deliver` in its turn. */
  hold(slot: number, status: number, flags: number, bytes: Uint8Array, start: number, end: number): boolean;
  /** The final answer of the backend; `bytes` are valid during the call. Releases the slot now or when its turn came. */
  answer(slot: number, status: number, flags: number, bytes: Uint8Array, start: number, end: number): void;
  /** A partial response. Answers with a sentence when this client cannot take it: the task ends RESOURCE_EXHAUSTED. */
  partial(slot: number, flags: number, bytes: Uint8Array, start: number, end: number): Uint8Array | undefined;
  /** The gateway ends the task itself. Releases the slot now or when its turn came. */
  fail(slot: number, status: number, flags: number, sentence: Uint8Array): void;
  /** Partial responses of this task that it takes now, beyond those it was given. */
  takes(slot: number): number;
  queueFull(): void;
  queueRoom(): void;
}

/** The link a task was sent on. */
export interface TaskCarrier {
  readonly backend: Backend;
  /** The backend sends no more partial responses than it was granted. */
  readonly windows: boolean;
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

  /** Owners of tasks, and links, by their places. */
  readonly owners = new Places<TaskOwner>();
  readonly carriers = new Places<TaskCarrier>();
  readonly kept: KeptBytes;
  readonly queue: (TaskWaiting | undefined)[] = [];
  readonly order: (TaskGroup | undefined)[] = [];

  /** Read and written in place, `words[slot + Word.…]`: V8 spends its budget for inlining on what an accessor would do. */
  words = new Int32Array(INITIAL_CAPACITY * SLOT_STEP);
  times = new Float64Array(INITIAL_CAPACITY * TIMES);
  rareFields = new Int32Array(INITIAL_CAPACITY * RARE_FIELDS);
  #free = new Int32Array(INITIAL_CAPACITY);
  #freeCount = 0;
  readonly #onGrow: (capacity: number) => void;

  /**
   * `onGrow` is told the new capacity before a slot beyond the old one is handed out; `reuse` is given the reusable memory that
   * no task keeps bytes in any more.
   */
  constructor(onGrow: (capacity: number) => void = () => {}, reuse: (bytes: Uint8Array) => void = () => {}) {
    this.#onGrow = onGrow;
    this.kept = new KeptBytes(reuse);
    this.#addFree(0, INITIAL_CAPACITY);
    this.#fillLists(0, INITIAL_CAPACITY);
  }

  // Four times and eight rare fields per slot. Public arrays and literal shifts keep these four below the 27 bytes of bytecode
  // up to which V8 inlines a function whatever its caller's budget.

  time(slot: number, time: number): number {
    return this.times[(slot >> 2) + time];
  }

  setTime(slot: number, time: number, value: number): void {
    this.times[(slot >> 2) + time] = value;
  }

  rare(slot: number, field: number): number {
    return this.rareFields[(slot >> 1) + field];
  }

  setRare(slot: number, field: number, value: number): void {
    this.rareFields[(slot >> 1) + field] = value;
  }

  /** `flag`: of the protocol or a mark. */
  has(slot: number, flag: number): boolean {
    return (this.words[slot + Word.flags] & flag) !== 0;
  }

  mark(slot: number, mark: number): void {
    this.words[slot + Word.flags] |= mark;
  }

  unmark(slot: number, mark: number): void {
    this.words[slot + Word.flags] &= ~mark;
  }

  ownerOf(slot: number): TaskOwner | undefined {
    return this.owners.at(this.words[slot + Word.owner]);
  }

  carrierOf(slot: number): TaskCarrier | undefined {
    return this.carriers.at(this.words[slot + Word.carrier]);
  }

  /** A slot without owner, link and bytes. What else its record holds is the last task's: who needs it writes it first. */
  acquire(): number {
    if (this.#freeCount === 0) this.#grow();
    const slot = this.#free[--this.#freeCount];
    const words = this.words;
    words[slot + Word.state] = TaskState.received;
    words[slot + Word.flags] = 0;
    words[slot + Word.owner] = NO_PLACE;
    words[slot + Word.carrier] = NO_PLACE;
    words[slot + Word.attempts] = 0;
    words[slot + Word.kept] = NO_PLACE;
    this.size++;
    return slot;
  }

  /** Its owner loses it too. */
  release(slot: number): void {
    const words = this.words;
    check(words[slot + Word.state] !== TaskState.free, 'a task slot is released once');
    if (words[slot + Word.owner] !== NO_PLACE) this.disown(slot);
    words[slot + Word.state] = TaskState.free;
    words[slot + Word.generation]++;
    if (words[slot + Word.kept] !== NO_PLACE) this.drop(slot);
    this.#free[this.#freeCount++] = slot;
    this.size--;
  }

  /** Appends to the owner's list, which keeps the order of arrival. */
  own(slot: number, owner: TaskOwner): void {
    if (owner.place === NO_PLACE) owner.place = this.owners.add(owner);
    const words = this.words;
    const last = owner.lastTask;
    words[slot + Word.owner] = owner.place;
    words[slot + Word.ownerPrevious] = last;
    words[slot + Word.ownerNext] = -1;
    if (last === -1) owner.firstTask = slot;
    else words[last + Word.ownerNext] = slot;
    owner.lastTask = slot;
    owner.openTasks++;
  }

  disown(slot: number): void {
    const owner = this.ownerOf(slot);
    if (owner === undefined) return;
    const words = this.words;
    const next = words[slot + Word.ownerNext];
    const previous = words[slot + Word.ownerPrevious];
    if (previous === -1) owner.firstTask = next;
    else words[previous + Word.ownerNext] = next;
    if (next === -1) owner.lastTask = previous;
    else words[next + Word.ownerPrevious] = previous;
    words[slot + Word.owner] = NO_PLACE;
    owner.openTasks--;
  }

  /** Has no task any more, and will have none. */
  forgetOwner(owner: TaskOwner): void {
    check(owner.openTasks === 0, 'an owner that is forgotten has no tasks');
    if (owner.place !== NO_PLACE) this.owners.remove(owner.place);
    owner.place = NO_PLACE;
  }

  /** `bytes[start, end)` belong to the task from here on: nobody writes them. */
  keep(slot: number, bytes: Uint8Array, start: number, end: number, isReusable = false): void {
    const words = this.words;
    if (words[slot + Word.kept] !== NO_PLACE) this.drop(slot);
    words[slot + Word.kept] = this.kept.hold(bytes, isReusable);
    words[slot + Word.keptStart] = start;
    words[slot + Word.keptEnd] = end;
  }

  /** Bytes of the task, of which `Word.keptStart` and `keptEnd` are its part. */
  bytesOf(slot: number): Uint8Array | undefined {
    return this.kept.at(this.words[slot + Word.kept]);
  }

  /** How many of them are its part. */
  keptLength(slot: number): number {
    return this.words[slot + Word.keptEnd] - this.words[slot + Word.keptStart];
  }

  drop(slot: number): void {
    this.kept.drop(this.words[slot + Word.kept]);
    this.words[slot + Word.kept] = NO_PLACE;
  }

  beginAttempt(slot: number, backendIndex: number): void {
    const attempts = this.words[slot + Word.attempts];
    if (attempts > 0 && attempts < LEDGER_ENTRIES) {
      this.setRare(slot, Rare.ledger + attempts - 1, this.words[slot + Word.attempt]);
    }
    this.words[slot + Word.attempts] = attempts + 1;
    this.words[slot + Word.attempt] = backendIndex * 16 + AttemptEnd.open;
  }

  endAttempt(slot: number, end: number): void {
    this.words[slot + Word.attempt] = (this.words[slot + Word.attempt] & ~15) | end;
  }

  /** The attempts of a task, oldest first: which backend, and how each ended (a value of `AttemptEnd`). For reports. */
  attemptsOf(slot: number): { backend: number; end: number }[] {
    const attempts = this.words[slot + Word.attempts];
    if (attempts === 0) return [];
    const entries = [];
    for (let i = 0; i < Math.min(attempts, LEDGER_ENTRIES) - 1; i++) entries.push(this.rare(slot, Rare.ledger + i));
    entries.push(this.words[slot + Word.attempt]);
    return entries.map((entry) => ({ backend: entry >> 4, end: entry & 15 }));
  }

  /** Slots whose task has no outcome yet. Safe against releases while it runs. */
  forEachOpen(visit: (slot: number) => void): void {
    const end = this.capacity * SLOT_STEP;
    for (let slot = 0; slot < end; slot += SLOT_STEP) {
      const state = this.words[slot + Word.state];
      if (state !== TaskState.free && state !== TaskState.done) visit(slot);
    }
  }

  #grow(): void {
    const from = this.capacity;
    const to = from * 2;
    this.capacity = to;
    this.words = widen(this.words, new Int32Array(to * SLOT_STEP));
    this.times = widen(this.times, new Float64Array(to * TIMES));
    this.rareFields = widen(this.rareFields, new Int32Array(to * RARE_FIELDS));
    this.#free = widen(this.#free, new Int32Array(to));
    this.#addFree(from, to);
    this.#fillLists(from, to);
    this.#onGrow(to);
  }

  /** Low slots on top, so that a small load stays in few cache lines. */
  #addFree(from: number, to: number): void {
    for (let index = to - 1; index >= from; index--) this.#free[this.#freeCount++] = index * SLOT_STEP;
  }

  /** Pushed one by one the arrays stay packed: holes would make every read of them slower. */
  #fillLists(from: number, to: number): void {
    for (let index = from; index < to; index++) {
      this.queue.push(undefined);
      this.order.push(undefined);
    }
  }
}

function widen<T extends Int32Array | Float64Array>(from: T, to: T): T {
  to.set(from);
  return to;
}
