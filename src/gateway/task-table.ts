/**
 * All open tasks: a task is a slot, and a slot is the place of its record in `words`. Nothing is allocated per task and
 * nothing has to be collected; the arrays double when they are full and never shrink.
 *
 * With thousands of tasks in flight each line of the cache that an answer needs is one that has to be fetched, so a record is in
 * three parts, by when it is needed:
 *
 *     words   |state flags client owner next previous link id attempt kept|received|sent|deadline|   64 bytes: all that an answer reads
 *     side    |key kept from, to  generation|offset|linked|                                         32 bytes: written with the request
 *     rare    |                             |                                                       32 bytes: who waits, streams or fails
 *
 * References are kept as numbers (`Places`), so that a task that comes and goes writes nothing the garbage collector has to know of.
 *
 * Lifetime of a slot: `acquire` → … → `release`. Each task has a generation of its own, so that who remembers a slot across turns
 * can tell that it is another task's by now.
 */
import type { Backend } from './backend.js';
import { check } from './check.js';
import { FreeSlots } from './free-slots.js';
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

/** The words of a record that are numbers of 32 bits; behind them stand the values of `Time`. */
export const Word = {
  /** A value of `TaskState`. */
  state: 0,
  /** Flags of the request that are passed on, from bit 8 on those of `Mark`, from bit 16 on the route. */
  flags: 1,
  /** The client's correlation id as a signed number (V8 keeps those off the heap); `>>> 0` gives the one on the wire. */
  clientId: 2,
  /** Place of the owner, NO_PLACE once it left. */
  owner: 3,
  ownerNext: 4,
  ownerPrevious: 5,
  /** Place of the link the task was sent on, NO_PLACE when it is on none. */
  carrier: 6,
  linkId: 7,
  /** The newest attempt: backend index << 12 | which attempt it is << 4 | how it ended. 0: there was none. */
  attempt: 8,
  /** The payload kept for queueing or another attempt; after the outcome, an answer that waits for its turn. */
  kept: 9,
} as const;

const ROUTE_SHIFT = 16;
const BACKEND_SHIFT = 12;
const ATTEMPTS_SHIFT = 4;
const ATTEMPTS_MASK = 0xff;
const END_MASK = 15;

/** What is written with the request and read when something is out of the ordinary. */
export const Side = {
  /** Hash of the client or its affinity key. */
  key: 0,
  /** The task's part of its kept bytes. */
  keptStart: 1,
  keptEnd: 2,
  generation: 3,
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

/** The times of a record in ms: places in `times`, of which a record takes eight, over the same memory as its words. */
export const Time = {
  received: 5,
  sent: 6,
  /** Infinity where none is armed. The wheel's: others read it. */
  deadline: 7,
} as const;

/** Places in `sideTimes`, of which a record takes four, over the same memory as its side. */
export const SideTime = {
  /** Where the frame begins in the bytes given to its link; Infinity: given to none yet. */
  sentOffset: 2,
  /** ms: the deadline for which the wheel has the slot in a bucket; Infinity where it has it in none. The wheel's. */
  linked: 3,
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
const SIDE_FIELDS = 8;
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

  /** Owners of tasks, and links, by their places. */
  readonly owners = new Places<TaskOwner>();
  readonly carriers = new Places<TaskCarrier>();
  readonly kept: KeptBytes;
  readonly queue: (TaskWaiting | undefined)[] = [];
  readonly order: (TaskGroup | undefined)[] = [];

  /** Read and written in place, `words[slot + Word.…]`: V8 spends its budget for inlining on what an accessor would do. */
  words: Int32Array;
  times: Float64Array;
  sideFields: Int32Array;
  sideTimes: Float64Array;
  rareFields = new Int32Array(INITIAL_CAPACITY * RARE_FIELDS);
  readonly #free = new FreeSlots(INITIAL_CAPACITY);
  /** Generation of the task that came last. */
  #newest = 0;
  readonly #onGrow: (capacity: number) => void;
  readonly #allocate: (bytes: number) => Uint8Array;

  /**
   * `onGrow` is told the new capacity before a slot beyond the old one is handed out; `reuse` is given the reusable memory that
   * no task keeps bytes in any more; `allocate` makes so many bytes, all 0, that begin at a line of the cache where it can.
   */
  constructor(
    onGrow: (capacity: number) => void = () => {},
    reuse: (bytes: Uint8Array) => void = () => {},
    allocate: (bytes: number) => Uint8Array = (bytes) => new Uint8Array(bytes),
  ) {
    this.#onGrow = onGrow;
    this.#allocate = allocate;
    this.kept = new KeptBytes(reuse);
    this.words = this.#records(INITIAL_CAPACITY * SLOT_STEP);
    this.times = timesOver(this.words);
    this.sideFields = this.#records(INITIAL_CAPACITY * SIDE_FIELDS);
    this.sideTimes = timesOver(this.sideFields);
    this.#disarm(0, INITIAL_CAPACITY);
    this.#fillLists(0, INITIAL_CAPACITY);
  }

  /** Slots in use. */
  get size(): number {
    return this.#free.taken;
  }

  // Eight of each per slot, and four side times. Public arrays and literal shifts keep these below the 27 bytes of bytecode
  // up to which V8 inlines a function whatever its caller's budget.

  time(slot: number, time: number): number {
    return this.times[(slot >> 1) + time];
  }

  setTime(slot: number, time: number, value: number): void {
    this.times[(slot >> 1) + time] = value;
  }

  side(slot: number, field: number): number {
    return this.sideFields[(slot >> 1) + field];
  }

  setSide(slot: number, field: number, value: number): void {
    this.sideFields[(slot >> 1) + field] = value;
  }

  sentOffset(slot: number): number {
    return this.sideTimes[(slot >> 2) + SideTime.sentOffset];
  }

  setSentOffset(slot: number, offset: number): void {
    this.sideTimes[(slot >> 2) + SideTime.sentOffset] = offset;
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

  /** With the request's flags that are passed on; before any mark is set. */
  setRoute(slot: number, route: number, flags: number): void {
    this.words[slot + Word.flags] = (route << ROUTE_SHIFT) | flags;
  }

  routeOf(slot: number): number {
    return this.words[slot + Word.flags] >>> ROUTE_SHIFT;
  }

  ownerOf(slot: number): TaskOwner | undefined {
    return this.owners.at(this.words[slot + Word.owner]);
  }

  carrierOf(slot: number): TaskCarrier | undefined {
    return this.carriers.at(this.words[slot + Word.carrier]);
  }

  /** A slot without owner, link and bytes. What else its record holds is the last task's: who needs it writes it first. */
  acquire(): number {
    if (this.#free.isCrowded) this.#grow();
    const slot = this.#free.take() << SLOT_SHIFT;
    const words = this.words;
    words[slot + Word.state] = TaskState.received;
    words[slot + Word.flags] = 0;
    words[slot + Word.owner] = NO_PLACE;
    words[slot + Word.carrier] = NO_PLACE;
    words[slot + Word.attempt] = 0;
    words[slot + Word.kept] = NO_PLACE;
    this.#newest = (this.#newest + 1) | 0;
    this.setSide(slot, Side.generation, this.#newest);
    return slot;
  }

  /** Its owner loses it too. */
  release(slot: number): void {
    const words = this.words;
    check(words[slot + Word.state] !== TaskState.free, 'a task slot is released once');
    if (words[slot + Word.owner] !== NO_PLACE) this.disown(slot);
    words[slot + Word.state] = TaskState.free;
    if (words[slot + Word.kept] !== NO_PLACE) this.drop(slot);
    this.#free.give(slot >> SLOT_SHIFT);
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
    this.setSide(slot, Side.keptStart, start);
    this.setSide(slot, Side.keptEnd, end);
  }

  /** Bytes of the task, of which `Side.keptStart` and `keptEnd` are its part. */
  bytesOf(slot: number): Uint8Array | undefined {
    return this.kept.at(this.words[slot + Word.kept]);
  }

  /** How many of them are its part. */
  keptLength(slot: number): number {
    return this.side(slot, Side.keptEnd) - this.side(slot, Side.keptStart);
  }

  drop(slot: number): void {
    this.kept.drop(this.words[slot + Word.kept]);
    this.words[slot + Word.kept] = NO_PLACE;
  }

  beginAttempt(slot: number, backendIndex: number): void {
    const newest = this.words[slot + Word.attempt];
    const attempts = (newest >> ATTEMPTS_SHIFT) & ATTEMPTS_MASK;
    if (attempts > 0 && attempts < LEDGER_ENTRIES) this.setRare(slot, Rare.ledger + attempts - 1, newest);
    const count = attempts < ATTEMPTS_MASK ? attempts + 1 : attempts;
    this.words[slot + Word.attempt] = (backendIndex << BACKEND_SHIFT) | (count << ATTEMPTS_SHIFT) | AttemptEnd.open;
  }

  endAttempt(slot: number, end: number): void {
    this.words[slot + Word.attempt] = (this.words[slot + Word.attempt] & ~END_MASK) | end;
  }

  /** How many there were, up to 255. */
  attempts(slot: number): number {
    return (this.words[slot + Word.attempt] >> ATTEMPTS_SHIFT) & ATTEMPTS_MASK;
  }

  /** The attempts of a task, oldest first: which backend, and how each ended (a value of `AttemptEnd`). For reports. */
  attemptsOf(slot: number): { backend: number; end: number }[] {
    const attempts = this.attempts(slot);
    if (attempts === 0) return [];
    const entries = [];
    for (let i = 0; i < Math.min(attempts, LEDGER_ENTRIES) - 1; i++) entries.push(this.rare(slot, Rare.ledger + i));
    entries.push(this.words[slot + Word.attempt]);
    return entries.map((entry) => ({ backend: entry >> BACKEND_SHIFT, end: entry & END_MASK }));
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
    const { words, sideFields } = this;
    this.words = widen(words, this.#records(to * SLOT_STEP));
    this.times = timesOver(this.words);
    this.sideFields = widen(sideFields, this.#records(to * SIDE_FIELDS));
    this.sideTimes = timesOver(this.sideFields);
    this.#disarm(from, to);
    this.rareFields = widen(this.rareFields, new Int32Array(to * RARE_FIELDS));
    this.#free.grow(to);
    this.#fillLists(from, to);
    this.#onGrow(to);
  }

  #disarm(from: number, to: number): void {
    for (let slot = from * SLOT_STEP; slot < to * SLOT_STEP; slot += SLOT_STEP) {
      this.times[(slot >> 1) + Time.deadline] = Infinity;
      this.sideTimes[(slot >> 2) + SideTime.linked] = Infinity;
    }
  }

  /** `length` numbers, all 0. */
  #records(length: number): Int32Array {
    const { buffer, byteOffset } = this.#allocate(length * Int32Array.BYTES_PER_ELEMENT);
    return new Int32Array(buffer, byteOffset, length);
  }

  /** Pushed one by one the arrays stay packed: holes would make every read of them slower. */
  #fillLists(from: number, to: number): void {
    for (let index = from; index < to; index++) {
      this.queue.push(undefined);
      this.order.push(undefined);
    }
  }
}

/** The same memory by numbers of 64 bits. */
function timesOver(words: Int32Array): Float64Array {
  return new Float64Array(words.buffer, words.byteOffset, words.length / 2);
}

function widen<T extends Int32Array | Float64Array>(from: T, to: T): T {
  to.set(from);
  return to;
}
