/**
 * Deadlines of many objects on one timer: a two-level hashed timing wheel with intrusive lists (Varghese & Lauck 1987,
 * schemes 6 and 7). Near deadlines lie in slots of 8 ms; far ones in slots of 1,024 ms, from where they move near in time.
 *
 * Its clock stands still while the process did not turn its loop: what JavaScript was too busy to read never counts
 * against a peer. The loop's own lateness shows how long that was.
 */
import { performance } from 'node:perf_hooks';

/** What can wait in a wheel. The fields belong to the wheel. */
export interface Timed {
  /** In ms of the wheel's clock; 0 while it does not wait. */
  timerAt: number;
  timerSlot: number;
  timerNext: Timed | undefined;
  timerPrevious: Timed | undefined;
  /** Called once, with the object already out of the wheel. */
  expired(now: number): void;
}

const NEAR_TICK_MS = 8;
const NEAR_SLOTS = 256;
const NEAR_SPAN_MS = NEAR_SLOTS * NEAR_TICK_MS;
const FAR_TICK_MS = 1_024;
const FAR_SLOTS = 512;
/** The slot of what is being looked at: in no list. */
const IN_HAND = -1;
/** The wheel wakes at least so often while anything waits, or it could not tell a busy loop from a sleeping one. */
const LONGEST_SLEEP_MS = 1_000;
/** Lateness below it is ordinary scheduling. */
const BUSY_MS = 50;

export class TimingWheel {
  /** The near slots, and behind them the far ones. */
  readonly #slots: (Timed | undefined)[] = new Array(NEAR_SLOTS + FAR_SLOTS).fill(undefined);
  #count = 0;
  #nearTick = 0;
  #farTick = 0;
  /** Time in which the loop did not turn. */
  #lostMs = 0;
  #wakeAt = 0;
  #timer: NodeJS.Timeout | undefined;
  #immediate: NodeJS.Immediate | undefined;

  /** Monotonic ms that stand still while the loop does. */
  clock(): number {
    return Math.trunc(performance.now() - this.#lostMs);
  }

  /** Also moves what is waiting already. */
  schedule(timed: Timed, at: number): void {
    const now = this.clock();
    if (timed.timerAt !== 0) this.#unlink(timed);
    else if (this.#count++ === 0) this.#start(now);
    this.#link(timed, at, now);
    if (at < this.#wakeAt) this.#sleepUntil(at, now);
  }

  cancel(timed: Timed): void {
    if (timed.timerAt === 0) return;
    this.#unlink(timed);
    timed.timerAt = 0;
    if (--this.#count === 0) this.stop();
  }

  /** What still waits stays where it is, and nothing expires. */
  stop(): void {
    clearTimeout(this.#timer);
    clearImmediate(this.#immediate);
    this.#timer = undefined;
    this.#immediate = undefined;
    this.#wakeAt = 0;
  }

  #start(now: number): void {
    this.#nearTick = Math.floor(now / NEAR_TICK_MS);
    this.#farTick = Math.floor(now / FAR_TICK_MS);
    this.#sleepUntil(now + LONGEST_SLEEP_MS, now);
  }

  #sleepUntil(at: number, now: number): void {
    clearTimeout(this.#timer);
    this.#wakeAt = Math.max(at, now + 1);
    this.#timer = setTimeout(this.#wake, this.#wakeAt - now);
    this.#timer.unref();
  }

  readonly #wake = (): void => {
    const late = this.clock() - this.#wakeAt;
    if (late > BUSY_MS) this.#lostMs += late;
    // Timers run before the sockets are read: what has arrived meanwhile must be seen first. (Referenced: an immediate that
    // is not lets the loop sleep on.)
    this.#immediate = setImmediate(this.#advance);
  };

  readonly #advance = (): void => {
    this.#immediate = undefined;
    const now = this.clock();
    this.#turnFar(now);
    this.#turnNear(now);
    if (this.#count > 0 && this.#immediate === undefined) this.#sleepUntil(this.#nextWake(now), now);
  };

  #turnFar(now: number): void {
    const last = Math.floor(now / FAR_TICK_MS);
    const first = Math.max(this.#farTick + 1, last - FAR_SLOTS + 1);
    for (let tick = first; tick <= last; tick++) this.#empty(NEAR_SLOTS + (tick & (FAR_SLOTS - 1)), now);
    this.#farTick = last;
  }

  #turnNear(now: number): void {
    const last = Math.floor(now / NEAR_TICK_MS);
    const first = Math.max(this.#nearTick + 1, last - NEAR_SLOTS + 1);
    this.#nearTick = last;
    for (let tick = first; tick <= last; tick++) this.#empty(tick & (NEAR_SLOTS - 1), now);
  }

  #empty(slot: number, now: number): void {
    const head = this.#slots[slot];
    if (head === undefined) return;
    this.#slots[slot] = undefined;
    // All are taken in hand first: an expiry may cancel or move others of the same slot.
    const inHand: Timed[] = [];
    for (let timed: Timed | undefined = head; timed !== undefined; timed = timed.timerNext) inHand.push(timed);
    for (const timed of inHand) timed.timerSlot = IN_HAND;
    for (const timed of inHand) {
      if (timed.timerAt === 0 || timed.timerSlot !== IN_HAND) continue;
      if (timed.timerAt > now) this.#link(timed, timed.timerAt, now);
      else this.#expire(timed, now);
    }
  }

  #expire(timed: Timed, now: number): void {
    timed.timerAt = 0;
    this.#count--;
    timed.expired(now);
  }

  #link(timed: Timed, at: number, now: number): void {
    timed.timerAt = at;
    const slot = this.#slotOf(at, now);
    const head = this.#slots[slot];
    timed.timerSlot = slot;
    timed.timerPrevious = undefined;
    timed.timerNext = head;
    if (head !== undefined) head.timerPrevious = timed;
    this.#slots[slot] = timed;
  }

  #slotOf(at: number, now: number): number {
    if (at - now >= NEAR_SPAN_MS - LONGEST_SLEEP_MS) {
      const far = Math.floor(at / FAR_TICK_MS);
      if (far > this.#farTick) return NEAR_SLOTS + (far & (FAR_SLOTS - 1));
    }
    // The slot after the deadline: never early.
    return Math.max(Math.floor(at / NEAR_TICK_MS) + 1, this.#nearTick + 1) & (NEAR_SLOTS - 1);
  }

  #unlink(timed: Timed): void {
    if (timed.timerSlot === IN_HAND) return;
    const { timerNext, timerPrevious } = timed;
    if (timerPrevious !== undefined) timerPrevious.timerNext = timerNext;
    else this.#slots[timed.timerSlot] = timerNext;
    if (timerNext !== undefined) timerNext.timerPrevious = timerPrevious;
  }

  #nextWake(now: number): number {
    const horizon = now + LONGEST_SLEEP_MS;
    for (let tick = this.#nearTick + 1; tick * NEAR_TICK_MS < horizon; tick++) {
      if (this.#slots[tick & (NEAR_SLOTS - 1)] !== undefined) return tick * NEAR_TICK_MS;
    }
    return horizon;
  }
}
