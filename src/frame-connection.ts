/** A connection of frames: what the handlers of `createServer` and `connect` are given. */
import { bytesOf } from './bytes.js';
import type { Connection } from './engine/engine.js';
import type { CloseReason } from './engine/tables.gen.js';
import type { FrameChannel } from './frame-channel.js';
import type { Encoder } from './framing/encoder.js';

const NOTHING = new Uint8Array(0);

/** One connection, in frames: what handlers are given and `connect` returns. */
export class FrameConnection {
  /** Yours. */
  context: unknown = undefined;
  readonly #frames: FrameChannel;
  #connection: Connection | undefined;
  /** What was sent before there was a connection (its host name was being resolved): frames, whole. */
  #early: Uint8Array[] | undefined = undefined;
  #earlyEnd: ((reason: CloseReason) => void) | undefined = undefined;

  /** @internal Made by `createServer` and `connect`. */
  constructor(frames: FrameChannel, connection: Connection | undefined, earlyEnd?: (reason: CloseReason) => void) {
    this.#frames = frames;
    this.#connection = connection;
    this.#earlyEnd = earlyEnd;
  }

  /**
   * Sends one frame; the kernel takes the bytes in this call or they are copied: the buffer may be used again at once.
   * @returns false when more than `highWaterMark` bytes wait (`drain` follows), or nothing can be sent any more.
   * @throws RingwayError `ERR_FRAME_TOO_LONG`, `ERR_INVALID_FRAME`; TypeError `ERR_INVALID_BYTES` for what is neither a Uint8Array
   *   nor a string
   */
  send(payload: Uint8Array | string): boolean {
    const bytes = bytesOf('the payload', payload);
    const frames = this.#frames;
    const { encoder } = frames;
    const headerLength = encoder.begin(bytes, 0, bytes.length);
    const connection = this.#connection;
    if (connection === undefined) return this.#sendEarly(encoder, headerLength, bytes);
    const sent =
      bytes === frames.delivered
        ? connection.sendNow(encoder.header, headerLength, frames.bytes, frames.start, frames.endOfFrame)
        : connection.sendNow(encoder.header, headerLength, bytes, 0, bytes.length);
    const { trailer } = encoder;
    return trailer.length === 0 ? sent : connection.sendFrame(trailer, trailer.length, NOTHING, 0, 0);
  }

  #sendEarly(encoder: Encoder, headerLength: number, bytes: Uint8Array): boolean {
    if (this.#earlyEnd === undefined) return false;
    this.#early ??= [];
    this.#early.push(Buffer.concat([encoder.header.subarray(0, headerLength), bytes, encoder.trailer]));
    return true;
  }

  /** @internal The connection is there: what was sent early leaves first. */
  attach(connection: Connection): void {
    this.#connection = connection;
    this.#earlyEnd = undefined;
    if (this.#early !== undefined) connection.send(...this.#early);
    this.#early = undefined;
  }

  /** @internal There will be no connection. */
  detach(): void {
    this.#earlyEnd = undefined;
    this.#early = undefined;
  }

  /** Stops reading: no more than what was read already is delivered. Nothing the peer then fails to send counts against it. */
  pause(): void {
    this.#connection?.pause();
  }

  /** Reads again after `pause`. */
  resume(): void {
    this.#connection?.resume();
  }

  /** Sends what is queued, then FIN; reading goes on. */
  shutdown(): void {
    if (this.#connection === undefined) this.#earlyEnd?.('closed');
    else this.#connection.shutdown();
  }

  /** Sends what is queued, then FIN, and closes. No more frames are delivered. */
  close(reason?: CloseReason, message?: string): void {
    if (this.#connection === undefined) this.#earlyEnd?.(reason ?? 'closed');
    else this.#connection.close(reason, message);
  }

  /** Drops what is queued and resets. */
  abort(reason?: CloseReason, message?: string): void {
    if (this.#connection === undefined) this.#earlyEnd?.(reason ?? 'aborted');
    else this.#connection.abort(reason, message);
  }

  /** It keeps the process alive, which is the default. */
  ref(): void {
    this.#connection?.ref();
  }

  /** It no longer keeps the process alive. */
  unref(): void {
    this.#connection?.unref();
  }

  /** Unique among the open connections of its engine; -1 before there is one. */
  get id(): number {
    return this.#connection?.id ?? -1;
  }

  /** `connecting` → `open` → `closing` (sends what is queued, then FIN) → `closed`. */
  get state(): Connection['state'] {
    if (this.#connection !== undefined) return this.#connection.state;
    return this.#earlyEnd === undefined ? 'closed' : 'connecting';
  }

  /** IP address, or the path of a unix socket; empty before there is a connection. */
  get remoteAddress(): string {
    return this.#connection?.remoteAddress ?? '';
  }

  /** 0 for unix sockets and before there is a connection. */
  get remotePort(): number {
    return this.#connection?.remotePort ?? 0;
  }

  /** Bytes that the kernel has not taken yet. */
  get bufferedAmount(): number {
    return this.#connection?.bufferedAmount ?? 0;
  }

  /** Bytes sent so far, headers included: compare with `CloseInfo.bytesHandedToKernel`. */
  get bytesQueued(): number {
    return this.#connection?.bytesQueued ?? 0;
  }
}
