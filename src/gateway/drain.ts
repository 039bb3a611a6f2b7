/**
 * The end of a gateway in order: what is in flight is finished and flushed; at the end of the grace period the rest is cut. Told
 * the time; asks the gateway, through `DrainTarget`, and resolves once.
 */
import { limits } from '../limits.js';

/** How a drain went. */
export interface GatewayDrainReport {
  /** Tasks that got their outcome while draining. */
  readonly finished: number;
  /** Tasks answered UNAVAILABLE because the grace period was over. 0: nothing was lost. */
  readonly cut: number;
  /** Connections that had not taken all their bytes when they were closed. */
  readonly unflushed: number;
  /** From the call to the last connection closed, in ms. */
  readonly durationMs: number;
}

export interface DrainTarget {
  /** Tasks without an outcome. */
  readonly open: number;
  /** Connections of clients. */
  readonly clients: number;
  /** Connections of clients with bytes not sent. */
  unflushed(): number;
  /** Settles all open tasks. Answers with their number. */
  cut(): number;
  /** Closes all connections. */
  hangUp(): void;
}

export class Drain {
  readonly done: Promise<GatewayDrainReport>;
  readonly #target: DrainTarget;
  readonly #startedMs: number;
  readonly #endsMs: number;
  readonly #crossingEndsMs: number;
  readonly #openAtStart: number;
  #flushEndsMs = Infinity;
  #cut = 0;
  #resolve: (report: GatewayDrainReport) => void = () => {};
  #over = false;

  constructor(target: DrainTarget, now: number, graceMs: number) {
    this.#target = target;
    this.#startedMs = now;
    this.#endsMs = now + graceMs;
    this.#crossingEndsMs = now + Math.min(graceMs, limits.crossingMs);
    this.#openAtStart = target.open;
    this.done = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  /** ms until the rest is cut. */
  graceLeftMs(now: number): number {
    return Math.max(0, Math.round(this.#endsMs - now));
  }

  tick(now: number): void {
    if (this.#over) return;
    const target = this.#target;
    if (target.open > 0 && now >= this.#endsMs) this.#cut = target.cut();
    if (target.open > 0) return;
    // Who has not heard of it yet still sends.
    if (now < this.#crossingEndsMs && target.clients > 0) return;
    // Bytes that a client does not take cannot hold up the end for longer than this, whatever the grace.
    if (this.#flushEndsMs === Infinity) this.#flushEndsMs = now + limits.flushGraceMs;
    if (target.unflushed() === 0 || now >= this.#flushEndsMs) this.finish(now);
  }

  /** Whatever was open by now must have been settled; `cut`: how many were settled for that. */
  finish(now: number, cut = 0): void {
    if (this.#over) return;
    this.#over = true;
    this.#cut += cut;
    const unflushed = this.#target.unflushed();
    this.#target.hangUp();
    this.#resolve({
      finished: Math.max(0, this.#openAtStart - this.#cut),
      cut: this.#cut,
      unflushed,
      durationMs: now - this.#startedMs,
    });
  }
}
