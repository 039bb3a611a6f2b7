/**
 * The state of one backend (one address of a pool): numbers only, no I/O, told the time. The gateway's core keeps
 * `outstanding`, `connected` and `goingAway`; the allocator reads; this class judges health.
 *
 *     up ──consecutive failures──► ejected ──ejectMs × times in a row──► trial ──success──► up (slow start)
 *      ▲                              ▲                                    │
 *      └── first link (slow start)    └────────────── failure ─────────────┘
 */
import { MAX_EJECT_FACTOR, type PoolHealth } from './health.js';

/** `ejected`: left alone after failures. `trial`: one task decides whether it is up again. `draining`: it said going-away. */
export type BackendState = 'up' | 'down' | 'ejected' | 'trial' | 'draining';

export interface BackendOptions {
  /** Place in the pool's life-long numbering; not reused while the backend lives. */
  readonly index: number;
  /** `host:port`, as in the configuration or resolved. */
  readonly name: string;
  /** Share of the pool's work; greater than 0. */
  readonly weight: number;
  /** Requests sent and unanswered at most. */
  readonly maxInFlight: number;
}

/** ms: how long a peak of latency is remembered (brpc and linkerd: 10 s). */
const PEAK_DECAY_MS = 10_000;
/** ms a failure counts as under peak-ewma, so that fast failures do not attract work (linkerd's load biaser). */
const FAILURE_PENALTY_MS = 5_000;
/** ms: an unmeasured backend is not free (linkerd's floor). */
const LATENCY_FLOOR_MS = 1;
/** Weight of one answer in the average that is reported. */
const LATENCY_GAIN = 1 / 16;
/** Share of its weight with which slow start begins (Envoy's min_weight_percent). */
const SLOW_START_FLOOR = 0.1;

export class Backend {
  readonly index: number;
  readonly name: string;
  readonly maxInFlight: number;
  weight: number;
  /** Requests sent and not finally answered. Kept by the core. */
  outstanding = 0;
  /** Established links. Kept by the core. */
  connected = 0;
  /** The backend said going-away and has not yet come back on a new link. Kept by the core. */
  goingAway = false;
  /** Longest payload it takes, in bytes, as its newest link said; Infinity: it said nothing of it. Kept by the core. */
  maxRequestBytes = Infinity;
  /** ms when the link opened that said so, or said nothing of it. */
  #limitOfLinkMs = 0;

  /** Scratch of the round-robin strategies: one pool, one allocator, hence one owner. */
  currentWeight = 0;

  /** Average over the last answers, in ms, for reports; 0 before the first. */
  latencyMs = 0;
  /** Times it was ejected since the start, for reports. */
  ejections = 0;
  /** Answers and failures since the start, for reports. */
  successes = 0;
  failures = 0;

  readonly #health: PoolHealth;
  #failuresInRow = 0;
  /** Ejections without a success between them. */
  #ejectedInRow = 0;
  /** 0: not ejected. */
  #ejectedUntil = 0;
  #ejectedAt = 0;
  /** The verdict of a trial under way is awaited until then: a cancelled trial must not keep a backend out for ever. */
  #trialUntil = 0;
  /** 0: no slow start under way. */
  #rampFrom = 0;
  #rampUntil = 0;
  #peakMs = LATENCY_FLOOR_MS;
  #peakAt = 0;

  constructor(options: BackendOptions, health: PoolHealth) {
    this.index = options.index;
    this.name = options.name;
    this.weight = options.weight;
    this.maxInFlight = options.maxInFlight;
    this.#health = health;
  }

  get isEjected(): boolean {
    return this.#ejectedUntil !== 0;
  }

  state(now: number): BackendState {
    if (this.connected === 0) return 'down';
    if (this.goingAway) return 'draining';
    if (this.#ejectedUntil === 0) return 'up';
    return now < this.#ejectedUntil ? 'ejected' : 'trial';
  }

  /** Whether a request may be sent to it now. */
  available(now: number): boolean {
    return (
      this.connected > 0 &&
      !this.goingAway &&
      this.outstanding < this.maxInFlight &&
      (this.#ejectedUntil === 0 || this.#triable(now))
    );
  }

  #triable(now: number): boolean {
    return (now >= this.#ejectedUntil && now >= this.#trialUntil) || this.#health.suspended(now);
  }

  /** `weight`, less while it starts slowly. */
  effectiveWeight(now: number): number {
    return this.#rampUntil === 0 ? this.weight : this.#rampedWeight(now);
  }

  #rampedWeight(now: number): number {
    if (now >= this.#rampUntil) {
      this.#rampUntil = 0;
      return this.weight;
    }
    const share = (now - this.#rampFrom) / (this.#rampUntil - this.#rampFrom);
    return this.weight * Math.max(SLOW_START_FLOOR, share);
  }

  /** The peak-sensitive average of its latency in ms (Finagle's PeakEwma): up at once, down over 10 s. */
  peakLatencyMs(now: number): number {
    return Math.max(LATENCY_FLOOR_MS, this.#peakMs * decay(now - this.#peakAt));
  }

  /** A request was sent. The first one after the time out is the trial. */
  onSent(now: number): void {
    if (this.#ejectedUntil !== 0 && now >= this.#ejectedUntil && now >= this.#trialUntil) {
      this.#trialUntil = now + Math.max(1, this.#health.options.ejectMs);
    }
  }

  /** A request was answered, whatever its status says, as long as the backend did its part. */
  onSuccess(latencyMs: number, now: number): void {
    this.successes++;
    this.#failuresInRow = 0;
    this.latencyMs += this.latencyMs === 0 ? latencyMs : (latencyMs - this.latencyMs) * LATENCY_GAIN;
    this.#observe(latencyMs, now);
    // Only a request sent after the ejection proves anything about what came after it.
    if (this.#ejectedUntil !== 0 && now - latencyMs >= this.#ejectedAt) this.#reinstate(now);
  }

  /** A request failed by the backend's fault: link broken, deadline passed, UNAVAILABLE, INTERNAL. */
  onFailure(now: number): void {
    this.failures++;
    this.#failuresInRow++;
    this.#observe(FAILURE_PENALTY_MS, now);
    if (this.#ejectedUntil !== 0) {
      if (this.#trialUntil !== 0) this.#eject(now);
      return;
    }
    const limit = this.#health.options.consecutiveFailures;
    if (limit > 0 && this.#failuresInRow >= limit) this.#eject(now);
  }

  /** A link opened at this moment said hello: the backend takes so many bytes. An older one than what is known counts no more. */
  onHello(maxRequestBytes: number, openedMs: number): void {
    if (openedMs < this.#limitOfLinkMs) return;
    this.maxRequestBytes = maxRequestBytes;
    this.#limitOfLinkMs = openedMs;
  }

  /** A link says no hello: if it is newer the backend came back, maybe as another program, and what it said no longer holds. */
  onNoHello(openedMs: number): void {
    if (openedMs > this.#limitOfLinkMs) this.onHello(Infinity, openedMs);
  }

  /** A link was established (call it for each; only the first begins slow start). */
  onConnected(now: number): void {
    if (this.connected <= 1) this.#startSlowly(now);
    this.#health.changed();
  }

  /** A ping stayed unanswered. The core closes the link; here it is one failure more. */
  onPingTimeout(now: number): void {
    this.onFailure(now);
  }

  #eject(now: number): void {
    this.ejections++;
    this.#ejectedInRow++;
    const ejectMs = Math.max(1, this.#health.options.ejectMs * Math.min(this.#ejectedInRow, MAX_EJECT_FACTOR));
    this.#ejectedAt = now;
    this.#ejectedUntil = now + ejectMs;
    this.#trialUntil = 0;
    this.#health.changed();
    this.#health.listener.ejected(this, this.#failuresInRow, ejectMs);
  }

  #reinstate(now: number): void {
    this.#ejectedInRow = 0;
    this.#ejectedUntil = 0;
    this.#trialUntil = 0;
    this.#startSlowly(now);
    this.#health.changed();
    this.#health.listener.reinstated(this);
  }

  #startSlowly(now: number): void {
    const { slowStartMs } = this.#health.options;
    this.#rampFrom = now;
    this.#rampUntil = slowStartMs > 0 ? now + slowStartMs : 0;
  }

  #observe(latencyMs: number, now: number): void {
    if (now === this.#peakAt) {
      // Answers of one turn: nothing has decayed between them.
      if (latencyMs > this.#peakMs) this.#peakMs = latencyMs;
      return;
    }
    const share = decay(now - this.#peakAt);
    const decayed = this.#peakMs * share;
    this.#peakMs = latencyMs > decayed ? latencyMs : decayed + latencyMs * (1 - share);
    this.#peakAt = now;
  }
}

/** exp(-elapsed / tau) to the first order, without its cost: 1 at 0, 1/2 after one tau. */
function decay(elapsedMs: number): number {
  return PEAK_DECAY_MS / (PEAK_DECAY_MS + Math.max(0, elapsedMs));
}
