/**
 * From the engine's events to one callback scope per socket: what came in during a turn is gathered, then told to one socket
 * after the other, and after each the next ticks and microtasks run, as when Node calls its own sockets.
 */
import type { CloseInfo, Connection, Handler } from '../engine/engine.js';
import { Arrivals } from './arrivals.js';
import type { Transport } from './transport.js';

/** Something to be told to a socket, in its own scope. */
export type Notice =
  | Buffer
  | typeof OPENED
  | typeof ENDED
  | typeof DRAINED
  | typeof FINISHED
  | typeof CUT_OFF
  | CloseInfo
  | (() => void);
export const OPENED = Symbol('opened');
export const ENDED = Symbol('ended');
export const DRAINED = Symbol('drained');
export const FINISHED = Symbol('finished');
/** The reset that follows, as a `CloseInfo`, came in one turn with bytes. */
export const CUT_OFF = Symbol('cut off');

/** Whose scope a notice runs in. */
export interface Scope {
  take(notice: Notice): void;
}

/** Of an empty queue: a crowd's is let go. */
const KEPT_PLACES = 4_096;

export class Inbox implements Handler {
  readonly #arrivals = new Arrivals();
  /**
   * Scope and notice by turns, from `#next` to `#end`. Empty it begins at 0 again and keeps its memory: setting an array's length
   * is a call of V8's runtime and gives it away (a lone connection, 64 bytes: 2 % of the CPU).
   */
  #queue: (Scope | Notice | undefined)[] = [];
  readonly #accept: ((connection: Connection) => void) | undefined;
  readonly #acceptor: Scope | undefined;
  readonly #enqueue = (scope: Scope, notice: Notice): void => {
    this.#push(scope, notice);
  };
  #next = 0;
  #end = 0;

  /** @param acceptor In whose scope `accept` is called for each accepted connection. */
  constructor(acceptor?: Scope, accept?: (connection: Connection) => void) {
    this.#acceptor = acceptor;
    this.#accept = accept;
  }

  open(connection: Connection): void {
    const transport = connection.context as Transport | undefined;
    if (transport !== undefined) this.#tell(transport, OPENED);
    else if (this.#acceptor !== undefined) this.#tell(this.#acceptor, () => this.#accept?.(connection));
  }

  frame(connection: Connection, bytes: Uint8Array, start: number, end: number): void {
    const transport = connection.context as Transport | undefined;
    if (transport === undefined || transport.isClosed) return;
    if (start === 0 && end === bytes.length && Buffer.isBuffer(bytes)) {
      // A long chunk comes in memory of its own, which is never written again.
      if (!this.#arrivals.isEmpty) this.#arrivals.take(this.#enqueue);
      this.#push(transport, bytes);
      return;
    }
    if (this.#arrivals.add(transport, bytes, start, end)) return;
    this.#arrivals.take(this.#enqueue);
    this.#arrivals.add(transport, bytes, start, end);
  }

  /** Tells one socket one thing. A listener that throws leaves this call; what stands behind it has its turn next. */
  nextScope(): boolean {
    if (!this.#arrivals.isEmpty) this.#arrivals.take(this.#enqueue);
    const at = this.#next;
    if (at < this.#end) {
      const queue = this.#queue;
      const scope = queue[at] as Scope;
      const notice = queue[at + 1] as Notice;
      queue[at] = queue[at + 1] = undefined;
      this.#next = at + 2;
      scope.take(notice);
    }
    if (this.#next < this.#end) return true;
    this.#next = this.#end = 0;
    if (this.#queue.length > KEPT_PLACES) this.#queue = [];
    return false;
  }

  end(connection: Connection): void {
    this.#tellTransport(connection, ENDED);
  }

  drain(connection: Connection): void {
    this.#tellTransport(connection, DRAINED);
  }

  finish(connection: Connection): void {
    this.#tellTransport(connection, FINISHED);
  }

  close(connection: Connection, info: CloseInfo): void {
    if (info.isBehindBytes) this.#tellTransport(connection, CUT_OFF);
    this.#tellTransport(connection, info);
  }

  #tellTransport(connection: Connection, notice: Notice): void {
    const transport = connection.context as Transport | undefined;
    if (transport !== undefined && !transport.isClosed) this.#tell(transport, notice);
  }

  #tell(scope: Scope, notice: Notice): void {
    // Nothing overtakes what the same connection received before.
    if (!this.#arrivals.isEmpty) this.#arrivals.take(this.#enqueue);
    this.#push(scope, notice);
  }

  #push(scope: Scope, notice: Notice): void {
    this.#queue[this.#end++] = scope;
    this.#queue[this.#end++] = notice;
  }
}
