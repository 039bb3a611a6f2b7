/**
 * The receiving half of a portable connection: cuts what was received into frames and delivers them, keeps what is incomplete,
 * holds up what comes behind a hold, and stops reading while paused.
 */
import type { Socket } from 'node:net';
import { FrameStatus, type Framer } from '../framing/framer.js';
import type { Framing } from '../framing/framing.js';
import { makeFramer } from '../framing/make-framer.js';
import { type ResolvedFraming, resolveFraming } from '../framing/validate-framing.js';
import { closeMessage } from './close-info.js';
import type { ConnectionHost } from './connection-host.js';
import { PartialBuffer } from './partial-buffer.js';
import type { PortableConnection } from './portable-connection.js';
import type { ResolvedConnectionOptions } from './resolve-options.js';
import { surface } from './surface.js';
import { ENGINE_LIMITS } from './tables.gen.js';

/** Unframed input that a held connection keeps before it is no longer read. */
const MOST_HELD_BYTES = 262_144;

export class PortableInput {
  readonly #connection: PortableConnection;
  readonly #host: ConnectionHost;
  readonly #socket: Socket;
  readonly #partialFrameTimeoutMs: number;
  readonly #partial: PartialBuffer;
  #partialSince = 0;
  #framer: Framer;
  #framing: ResolvedFraming;
  /** A delimiter may stand anywhere; the other formats know how many bytes they miss. */
  #scans: boolean;
  /** Each frame ends with a hold. */
  #holds: boolean;
  /** The last frame ended with a hold: what comes is kept until `setFraming` says how it goes on. */
  #held = false;
  /** FIN came while held. */
  #endHeld = false;
  /** What was kept is to be cut anew. */
  #reframe = false;
  #paused = false;
  #pausedAt = 0;

  constructor(
    connection: PortableConnection,
    host: ConnectionHost,
    socket: Socket,
    options: ResolvedConnectionOptions,
  ) {
    this.#connection = connection;
    this.#host = host;
    this.#socket = socket;
    this.#partialFrameTimeoutMs = options.partialFrameTimeoutMs;
    this.#partial = new PartialBuffer(host, connection, options.isAccounted);
    this.#framing = options.framing;
    this.#framer = makeFramer(options.framing);
    this.#scans = options.framing.format === 'delimiter';
    this.#holds = endsWithHold(options.framing);
  }

  /** Nobody waits for the peer: it is paused, or held. */
  get isStopped(): boolean {
    return this.#paused || this.#held;
  }

  /** Of an open connection. */
  take(chunk: Buffer): void {
    const host = this.#host;
    const connection = this.#connection;
    if (this.#reframe) this.#takeHeld();
    if (this.#held) {
      this.#hold(chunk, 0);
      return;
    }
    host.delivering = connection;
    let at = 0;
    if (this.#partial.length > 0) at = this.#completePartial(chunk);
    if (at < chunk.length && connection.state === 'open') {
      // The frame that was completed may have ended with a hold.
      if (!this.#held) at = this.#deliver(chunk, at, chunk.length);
      if (at < chunk.length && connection.state === 'open') {
        if (this.#held) this.#hold(chunk, at);
        else this.#beginPartial(chunk, at);
      }
    }
    if (at < chunk.length && connection.state !== 'open') host.counts.dropped_bytes_after_close += chunk.length - at;
    host.delivering = undefined;
    host.deliveredBytes = undefined;
    connection.flushAnswers();
  }

  /** @returns the position of the first byte that is not done with. */
  #deliver(bytes: Buffer, start: number, end: number): number {
    const host = this.#host;
    const connection = this.#connection;
    let framer = this.#framer;
    const { handler } = connection;
    host.deliveredBytes = bytes;
    host.deliveredPinned = false;
    let frames = 0;
    let at = start;
    while (at < end) {
      const status = framer.next(bytes, at, end);
      if (status !== FrameStatus.frame) {
        if (status !== FrameStatus.needMore) this.#closeForFrame(status);
        break;
      }
      const from = at + framer.offset;
      at += framer.consumed;
      frames++;
      this.#held = this.#holds;
      try {
        handler.frame(connection, bytes, from, from + framer.length);
      } catch (error) {
        surface(error);
      }
      if (connection.state !== 'open' || this.#held) break;
      framer = this.#framer;
    }
    if (frames > 0) {
      host.counts.frames_received += frames;
      host.batchEndAtTurnEnd(handler);
    }
    return at;
  }

  #closeForFrame(status: number): void {
    const numbers = { declared: this.#framer.declared, limit: maxFrameLengthOf(this.#framing) };
    const reason = status === FrameStatus.tooLong ? 'frame-too-long' : 'bad-frame';
    this.#connection.close(reason, closeMessage(reason, numbers));
  }

  // --- What is incomplete ------------------------------------------------------------------------------------------

  #beginPartial(chunk: Buffer, at: number): void {
    if (this.#keep(chunk, at, chunk.length)) this.#partialBegins();
  }

  #partialBegins(): void {
    this.#partialSince = this.#connection.lastActive;
    const deadline = this.partialDeadline();
    if (deadline !== 0) this.#connection.armBy(deadline);
  }

  /** @returns the position in the chunk of the first byte that did not go into the incomplete frame. */
  #completePartial(chunk: Buffer): number {
    const partial = this.#partial;
    let at = 0;
    while (at < chunk.length && partial.length > 0 && this.#connection.state === 'open' && !this.#held) {
      const missing = this.#framer.needed - partial.length;
      const taken = this.#scans ? chunk.length - at : Math.min(missing, chunk.length - at);
      if (!this.#keep(chunk, at, at + taken)) break;
      at += taken;
      if (partial.length < this.#framer.needed) continue;
      this.#deliverPartial();
    }
    return at;
  }

  #deliverPartial(): void {
    const partial = this.#partial;
    const { length } = partial;
    const consumed = this.#deliver(partial.bytes!, 0, length);
    if (consumed === 0 || partial.bytes === undefined) return;
    const { deliveredPinned } = this.#host;
    if (consumed === length) {
      partial.release(!deliveredPinned);
      return;
    }
    // Only where the format scans: frames behind the completed one lay in the same chunk.
    if (partial.shift(consumed, !deliveredPinned, this.#framer.frameBytes)) this.#partialBegins();
    else this.#closeForMemory();
  }

  #hold(chunk: Buffer, at: number): void {
    if (!this.#keep(chunk, at, chunk.length)) return;
    if (this.#partial.length >= MOST_HELD_BYTES && !this.#paused) this.#socket.pause();
  }

  /** @returns false where the engine's bound was reached and the connection closed. */
  #keep(chunk: Buffer, start: number, end: number): boolean {
    if (this.#partial.append(chunk, start, end, this.#framer.frameBytes)) return true;
    this.#closeForMemory();
    return false;
  }

  #closeForMemory(): void {
    const message = `incomplete frames of all connections are at maxPartialBytes ${this.#host.maxPartialBytes}`;
    this.#connection.close('memory-full', message);
  }

  /** 0: none. */
  partialDeadline(): number {
    const { length } = this.#partial;
    if (this.#partialFrameTimeoutMs === 0 || length === 0 || this.isStopped) return 0;
    const whole = Math.max(this.#framer.frameBytes, length);
    const allowance = Math.ceil((whole * 1_000) / ENGINE_LIMITS.partialFrameMinRate);
    return this.#partialSince + this.#partialFrameTimeoutMs + allowance;
  }

  partialTimedOut(): void {
    const { frameBytes } = this.#framer;
    const wanted = frameBytes > 0 ? ` of ${frameBytes}` : '';
    const message = `a frame stayed incomplete (${this.#partial.length}${wanted} bytes) past partialFrameTimeoutMs ${this.#partialFrameTimeoutMs}`;
    this.#connection.close('partial-frame-timeout', message);
  }

  /** What is kept is not wanted any more; a handler that is being told of it may still look at it. */
  drop(): void {
    const { bytes } = this.#partial;
    this.#partial.release(bytes === undefined || this.#host.deliveredBytes !== bytes);
  }

  // --- Holding -----------------------------------------------------------------------------------------------------

  setFraming(framing: Framing): void {
    const resolved = resolveFraming(framing);
    const { state } = this.#connection;
    if (state === 'closing' || state === 'closed') return;
    this.#framing = resolved;
    this.#framer = makeFramer(resolved);
    this.#scans = resolved.format === 'delimiter';
    this.#holds = endsWithHold(resolved);
    this.#held = false;
    if (this.#host.delivering === this.#connection) return;
    this.#reframe = true;
    setImmediate(() => this.#takeHeld());
  }

  /** What was kept while held goes through the framer that was named meanwhile. */
  #takeHeld(): void {
    const connection = this.#connection;
    if (!this.#reframe || this.#held || connection.state !== 'open') return;
    this.#reframe = false;
    const host = this.#host;
    host.turn();
    host.delivering = connection;
    if (this.#partial.length > 0) this.#deliverPartial();
    host.delivering = undefined;
    host.deliveredBytes = undefined;
    connection.flushAnswers();
    if (this.#held) return;
    if (!this.#paused) this.#socket.resume();
    if (!this.#endHeld) return;
    this.#endHeld = false;
    connection.peerEnded();
  }

  // --- The peer's FIN ----------------------------------------------------------------------------------------------

  /** @returns whether it is to be told now: not while held, and not where what was incomplete ended the connection. */
  ended(): boolean {
    if (this.#held) {
      this.#endHeld = true;
      return false;
    }
    return this.#partial.length === 0 || this.#finishPartial();
  }

  /** @returns whether the connection goes on. */
  #finishPartial(): boolean {
    const partial = this.#partial;
    const connection = this.#connection;
    const bytes = partial.bytes!;
    const framer = this.#framer;
    const status = framer.finish(bytes, 0, partial.length);
    if (status === FrameStatus.needMore) {
      const held = `${partial.length} bytes of it had come`;
      connection.close('truncated-frame', `${closeMessage('truncated-frame')} (${held})`);
      return false;
    }
    if (status !== FrameStatus.frame) {
      this.#closeForFrame(status);
      return false;
    }
    const host = this.#host;
    host.delivering = connection;
    host.deliveredBytes = bytes;
    host.deliveredPinned = false;
    try {
      connection.handler.frame(connection, bytes, framer.offset, framer.offset + framer.length);
    } catch (error) {
      surface(error);
    }
    host.counts.frames_received++;
    host.batchEndAtTurnEnd(connection.handler);
    host.delivering = undefined;
    host.deliveredBytes = undefined;
    partial.release(!host.deliveredPinned);
    connection.flushAnswers();
    return connection.state === 'open';
  }

  // --- Reading or not ----------------------------------------------------------------------------------------------

  pause(): void {
    const { state } = this.#connection;
    if (this.#paused || state === 'closing' || state === 'closed') return;
    this.#paused = true;
    this.#pausedAt = this.#host.turn();
    this.#socket.pause();
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    const now = this.#connection.touch();
    // What the peer could not send while nobody read is not held against it.
    this.#partialSince += now - this.#pausedAt;
    this.#socket.resume();
    this.#connection.arm();
  }

  /** What comes while the connection closes is read and dropped, also where it was paused. */
  readToEnd(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#socket.resume();
  }
}

function maxFrameLengthOf(framing: ResolvedFraming): number {
  return framing.format === 'raw' ? 0 : framing.maxFrameLength;
}

function endsWithHold(framing: ResolvedFraming): boolean {
  return framing.format !== 'raw' && framing.hold;
}
