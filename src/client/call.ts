/** One request of a client: from the caller to its one outcome. */
import { Status } from '../engine/tables.gen.js';
import { StatusError } from '../protocol/status-error.js';
import { Flag } from '../protocol/rmp.js';
import { type Deadlines, NOT_IN_WHEEL, type Timed } from '../timer/deadlines.js';
import type { ClientLink } from './client-link.js';
import type { ResponseSink, SinkOwner } from './response-sink.js';

/** What calls need of their client. */
export interface CallHost {
  readonly deadlines: Deadlines;
  /** Why no connection can be had, for the sentence of a request that waited in vain. */
  readonly lastError: string | undefined;
  /** A call waits no longer: it was sent, or ended before. Once for each. */
  dequeued(): void;
}

export interface CallInit {
  /** Meta, where `flags` say so, and payload. */
  readonly bytes: Uint8Array;
  readonly route: number;
  readonly flags: number;
  /** ms; 0: the gateway's default. */
  readonly deadlineMs: number;
  /** ms; for calls without a deadline, until they are sent. */
  readonly queueTimeoutMs: number;
  readonly signal: AbortSignal | undefined;
}

export class Call implements Timed, SinkOwner {
  readonly route: number;
  readonly flags: number;
  id = 0;
  /** Partial responses granted and not taken: on their way, or waiting for the consumer. */
  granted = 0;
  /** Partial responses that came, and bytes of the longest. */
  received = 0;
  longest = 0;
  /** More waits for its consumer than should. */
  slow = false;
  /** `bytesQueued` of the connection when the frame was given to it. */
  sentAt = 0;

  expiresAt = 0;
  wheelSlot = NOT_IN_WHEEL;
  wheelNext: Timed | undefined;
  wheelPrevious: Timed | undefined;

  readonly #host: CallHost;
  readonly #sink: ResponseSink;
  readonly #hasDeadline: boolean;
  readonly #signal: AbortSignal | undefined;
  readonly #onAbort: (() => void) | undefined;
  #bytes: Uint8Array | undefined;
  #link: ClientLink | undefined;
  #done = false;

  constructor(host: CallHost, sink: ResponseSink, init: CallInit) {
    this.#host = host;
    this.#sink = sink;
    this.route = init.route;
    this.flags = init.flags;
    this.#bytes = init.bytes;
    this.#hasDeadline = init.deadlineMs > 0;
    sink.owner = this;
    host.deadlines.add(this, this.#hasDeadline ? init.deadlineMs : init.queueTimeoutMs);
    this.#signal = init.signal;
    if (init.signal === undefined) return;
    this.#onAbort = () => this.#aborted();
    init.signal.addEventListener('abort', this.#onAbort, { once: true });
  }

  get done(): boolean {
    return this.#done;
  }

  get idempotent(): boolean {
    return (this.flags & Flag.idempotent) !== 0;
  }

  get bufferedBytes(): number {
    return this.#sink.bufferedBytes;
  }

  /** For the header: what is left of the budget, never 0 where there is one. */
  get remainingMs(): number {
    return this.#hasDeadline ? Math.max(1, Math.round(this.expiresAt - performance.now())) : 0;
  }

  /** The payload, for as long as it has not been sent. */
  get bytes(): Uint8Array {
    return this.#bytes as Uint8Array;
  }

  /** It waits: the caller may reuse its buffer meanwhile. */
  copyBytes(): void {
    this.#bytes = Uint8Array.from(this.bytes);
  }

  sent(link: ClientLink): void {
    this.#link = link;
    this.#bytes = undefined;
    this.#host.dequeued();
    if (!this.#hasDeadline) this.#host.deadlines.remove(this);
  }

  partial(bytes: Buffer): void {
    this.#sink.partial(bytes);
  }

  final(bytes: Buffer): void {
    if (this.#close()) this.#sink.final(bytes);
  }

  fail(error: StatusError): void {
    if (this.#close()) this.#sink.fail(error);
  }

  expire(): void {
    if (this.#link === undefined) this.unconnected();
    else this.#give(new StatusError(Status.DEADLINE_EXCEEDED, 'the deadline passed'));
  }

  consumed(count: number): void {
    this.#link?.consumed(this, count);
  }

  abandon(error: StatusError): void {
    this.#give(error);
  }

  /** Ends here, and tells the peer when it knows of the request. */
  #give(error: StatusError): void {
    if (this.#done) return;
    const link = this.#link;
    this.fail(error);
    link?.cancel(this);
  }

  #aborted(): void {
    const notExecuted = this.#link === undefined;
    this.#give(
      new StatusError(Status.CANCELLED, 'cancelled by the caller', { notExecuted, cause: this.#signal?.reason }),
    );
  }

  /** It will not be sent. */
  unconnected(): void {
    const why = this.#host.lastError === undefined ? ' in time' : `: ${this.#host.lastError}`;
    this.fail(new StatusError(Status.UNAVAILABLE, `no connection${why}`, { notExecuted: true }));
  }

  /** @returns false when it had ended before. */
  #close(): boolean {
    if (this.#done) return false;
    this.#done = true;
    this.#host.deadlines.remove(this);
    if (this.#onAbort !== undefined) this.#signal?.removeEventListener('abort', this.#onAbort);
    if (this.#link === undefined) this.#host.dequeued();
    this.#bytes = undefined;
    return true;
  }
}
