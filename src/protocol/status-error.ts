/** The error that carries a status: what clients get for a failed request and what handlers throw to answer with one. */
import { Status, type StatusName } from '../engine/tables.gen.js';
import { RingwayError, type StatusCode } from '../errors.js';

const STATUS_NAMES = new Map<number, StatusName>(
  Object.entries(Status).map(([name, code]) => [code, name as StatusName]),
);

/** The name of a status code; `STATUS_<code>` for one outside the table. */
export function statusName(code: number): StatusCode {
  return STATUS_NAMES.get(code) ?? `STATUS_${code}`;
}

/** What else a `StatusError` says. */
export interface StatusErrorOptions {
  /** The work was not begun, provably: the request may be sent again whatever it does. Default false. */
  readonly notExecuted?: boolean;
  /** The request says itself that it may be sent twice. Default false. */
  readonly idempotent?: boolean;
  /** The error behind it. */
  readonly cause?: unknown;
}

/** Statuses after which trying an idempotent request again can help: the fault lay with a place, not with the request. */
const TRANSIENT: readonly number[] = [Status.UNAVAILABLE, Status.RESOURCE_EXHAUSTED, Status.ABORTED];

/** A status other than OK, as an error: what a request rejects with. `message` is the sentence that travels with it. */
export class StatusError extends RingwayError {
  /** `StatusError`. */
  override readonly name = 'StatusError';
  /** The status's number, one of `Status` or any other that passed through. */
  declare readonly status: number;
  /** The status's name: `UNAVAILABLE`. */
  declare readonly code: StatusCode;
  /** The work was not begun, provably. */
  readonly notExecuted: boolean;
  /** Sending the same request again is safe, and may succeed. */
  declare readonly retryable: boolean;

  /**
   * What a handler throws to answer with a status.
   *
   * @param status A number, or a name of `Status`.
   * @param sentence What to tell the requester; it travels with the status.
   */
  constructor(status: number | StatusName, sentence: string, options: StatusErrorOptions = {}) {
    super('ERR_STATUS', [sentence], options);
    const { notExecuted = false, idempotent = false } = options;
    this.status = typeof status === 'number' ? status : Status[status];
    this.code = statusName(this.status);
    this.notExecuted = notExecuted;
    this.retryable = TRANSIENT.includes(this.status) && (notExecuted || idempotent);
  }
}
