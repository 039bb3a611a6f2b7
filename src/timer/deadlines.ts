/**
 * Deadlines of objects (tasks of a backend, requests of a client) without a timer or an allocation for each: a hashed
 * timing wheel with intrusive lists (Varghese & Lauck 1987, scheme 6). The gateway's own wheel is over its task table's
 * slots; this one is for the SDKs, whose tasks are objects.
 */

/** What can wait in `Deadlines`. The fields belong to the wheel. */
export interface Timed {
  expiresAt: number;
  wheelSlot: number;
  wheelNext: Timed | undefined;
  wheelPrevious: Timed | undefined;
  /** Called once, with the object already out of the wheel. */
  expire(): void;
}

/** Starts and stops a periodic call: `Engine.every`. */
export type Ticker = (intervalMs: number, callback: () => void) => () => void;

/** Fine enough for deadlines of tasks, coarse enough to cost nothing. */
const TICK_MS = 10;
/** A power of two; what lies further ahead than 512 ticks (5 s) is passed over once per turn of the wheel. */
const SLOTS = 512;
export const NOT_IN_WHEEL = -1;

export class Deadlines {
  readonly #slots: (Timed | undefined)[] = new Array(SLOTS).fill(undefined);
  readonly #every: Ticker;
  #stopTicking: (() => void) | undefined;
  #count = 0;
  #lastTick = 0;

  constructor(every: Ticker) {
    this.#every = every;
  }

  /** Calls `timed.expire()` after `delayMs`, never early and at most two ticks late while the loop turns. */
  add(timed: Timed, delayMs: number): void {
    const now = performance.now();
    if (this.#stopTicking === undefined) this.#start(now);
    timed.expiresAt = now + delayMs;
    const slot = (Math.floor(timed.expiresAt / TICK_MS) + 1) & (SLOTS - 1);
    const head = this.#slots[slot];
    timed.wheelSlot = slot;
    timed.wheelPrevious = undefined;
    timed.wheelNext = head;
    if (head !== undefined) head.wheelPrevious = timed;
    this.#slots[slot] = timed;
    this.#count++;
  }

  /** Nothing happens for one that is not waiting. */
  remove(timed: Timed): void {
    if (timed.wheelSlot === NOT_IN_WHEEL) return;
    const { wheelNext, wheelPrevious } = timed;
    if (wheelPrevious === undefined) this.#slots[timed.wheelSlot] = wheelNext;
    else wheelPrevious.wheelNext = wheelNext;
    if (wheelNext !== undefined) wheelNext.wheelPrevious = wheelPrevious;
    timed.wheelSlot = NOT_IN_WHEEL;
    timed.wheelNext = undefined;
    timed.wheelPrevious = undefined;
    this.#count--;
  }

  /** Forgets the ticker; what waits never expires. */
  stop(): void {
    this.#stopTicking?.();
    this.#stopTicking = undefined;
  }

  #start(now: number): void {
    this.#lastTick = Math.floor(now / TICK_MS);
    this.#stopTicking = this.#every(TICK_MS, () => this.#advance(performance.now()));
  }

  #advance(now: number): void {
    const tick = Math.floor(now / TICK_MS);
    // After a pause of more than a whole turn every slot is looked at once.
    const first = Math.max(this.#lastTick + 1, tick - SLOTS + 1);
    this.#lastTick = tick;
    for (let at = first; at <= tick; at++) this.#expireSlot(at & (SLOTS - 1), now);
    if (this.#count === 0) this.stop();
  }

  #expireSlot(slot: number, now: number): void {
    const due: Timed[] = [];
    for (let timed = this.#slots[slot]; timed !== undefined; timed = timed.wheelNext) {
      if (timed.expiresAt <= now) due.push(timed);
    }
    for (const timed of due) {
      // One that expired before it in this slot may have taken it out.
      if (timed.wheelSlot !== slot) continue;
      this.remove(timed);
      timed.expire();
    }
  }
}
