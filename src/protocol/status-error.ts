/** The error that carries a status: what clients get for a failed request and what handlers throw to answer with one. */
import { Status, type StatusName } from '../engine/tables.gen.js';

const STATUS_NAMES = new Map<number, StatusName>(
  Object.entries(Status).map(([name, code]) => [code, name as StatusName]),
);

/** The name of a status code; `STATUS_<code>` for one outside the table. */
export function statusName(code: number): string {
  return STATUS_NAMES.get(code) ?? `STATUS_${code}`;
}

export interface StatusErrorOptions {
  /** The work was not begun, provably: the request may be sent again whatever it does. Default false. */
  readonly notExecuted?: boolean;
  /** The request says itself that it may be sent twice. Default false. */
  readonly idempotent?: boolean;
  readonly cause?: unknown;
}

/** Statuses after which trying an idempotent request again can help: the fault lay with a place, not with the request. */
const TRANSIENT: readonly number[] = [Status.UNAVAILABLE, Status.RESOURCE_EXHAUSTED, Status.ABORTED];

/** A status other than OK, as an error. `message` is the sentence that travels with it. */
export class StatusError extends Error {
  override readonly name = 'StatusError';
  /** The code, one of `Status` or any other that passed through. */
  readonly status: number;
  /** The name of the code: `UNAVAILABLE`. Also `code`, as errors of Node carry theirs. */
  readonly code: string;
  readonly notExecuted: boolean;
  /** Sending the same request again is safe, and may succeed. */
  readonly retryable: boolean;

  constructor(status: number | StatusName, sentence: string, options: StatusErrorOptions = {}) {
    super(sentence, options.cause === undefined ? undefined : { cause: options.cause });
    this.status = typeof status === 'number' ? status : Status[status];
    this.code = statusName(this.status);
    this.notExecuted = options.notExecuted ?? false;
    this.retryable = TRANSIENT.includes(this.status) && (this.notExecuted || (options.idempotent ?? false));
  }
}
