/**
 * How long bystanders may wait while others are at fault. A stall of the gateway must show, a slow machine must not. So there is a
 * witness at the same time: a few requests to the bystanders' own backend, past the gateway. What it waits, this process, that backend
 * and the machine are to blame for.
 */
import { Latencies } from './latencies.js';

/** Calm machines need 10 and 100 ms (docs/RELIABILITY.md). */
const P99_MS = 1_000;
const MAX_MS = 3_000;
/** Where the processor is short the gateway, which has the load of all, waits for it more often than the witness. */
const TIMES_WITNESS = 6;

/** In ms. */
export interface PaceVerdict {
  readonly p99Ms: number;
  readonly maxMs: number;
  readonly witnessP99Ms: number;
  readonly witnessMaxMs: number;
  readonly p99BoundMs: number;
  readonly maxBoundMs: number;
}

export class Pace {
  readonly bystanders = new Latencies();
  readonly witness = new Latencies();

  /** What was before does not count. */
  reset(): void {
    this.bystanders.reset();
    this.witness.reset();
  }

  verdict(): PaceVerdict {
    const { bystanders, witness } = this;
    const witnessP99Ms = witness.percentileMs(0.99);
    return {
      p99Ms: bystanders.percentileMs(0.99),
      maxMs: bystanders.maxMs,
      witnessP99Ms,
      witnessMaxMs: witness.maxMs,
      p99BoundMs: P99_MS + TIMES_WITNESS * witnessP99Ms,
      maxBoundMs: MAX_MS + TIMES_WITNESS * witness.maxMs,
    };
  }
}
