/** Writes RMP frames to one connection, and holds them back while its peer takes no more. */
import type { Connection } from '../engine/engine.js';
import { HEADER_BYTES, header, setHeader } from './rmp.js';

export const EMPTY = new Uint8Array(0);

/** Shared by all writers: `sendFrame` copies it before it returns. */

export class RmpWriter {
  readonly #connection: Connection;
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #congested = false;
  #ended = false;

  constructor(connection: Connection) {
    this.#connection = connection;
  }

  /** Above the high watermark: what is written now waits here for `drained`. */
  get congested(): boolean {
    return this.#congested;
  }

  /** Bytes that wait here, besides those in the engine. */
  get waitingBytes(): number {
    return this.#waitingBytes;
  }

  /** @returns whether the peer takes more. `bytes` may be reused at once. Frames leave in the order of the calls. */
  write(
    kind: number,
    flags: number,
    route: number,
    id: number,
    arg: number,
    bytes: Uint8Array = EMPTY,
    start = 0,
    end: number = bytes.length,
  ): boolean {
    if (this.#ended) return false;
    setHeader(end - start, kind, flags, route, id, arg);
    if (this.#congested) {
      this.#hold(bytes, start, end);
      return false;
    }
    this.#congested = !this.#connection.sendFrame(header, HEADER_BYTES, bytes, start, end);
    return !this.#congested;
  }

  /** To be called by the handler's `drain`. @returns whether everything that waited is on its way and more may follow. */
  drained(): boolean {
    this.#congested = false;
    const waiting = this.#waiting;
    let sent = 0;
    while (sent < waiting.length && !this.#congested) {
      this.#waitingBytes -= waiting[sent].length;
      this.#congested = !this.#connection.send(waiting[sent++]);
    }
    this.#waiting = sent === waiting.length ? [] : waiting.slice(sent);
    return !this.#congested;
  }

  /** The connection is gone: nothing waits for it any longer. */
  end(): void {
    this.#ended = true;
    this.#waiting = [];
    this.#waitingBytes = 0;
  }

  #hold(bytes: Uint8Array, start: number, end: number): void {
    const frame = new Uint8Array(HEADER_BYTES + end - start);
    frame.set(header);
    frame.set(bytes.subarray(start, end), HEADER_BYTES);
    this.#waiting.push(frame);
    this.#waitingBytes += frame.length;
  }
}
