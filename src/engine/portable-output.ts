/**
 * The sending half of a portable connection: one write at a time from its queue to the socket, the watermarks and bounds of
 * what waits, and our FIN behind it.
 */
import type { Socket } from 'node:net';
import { checkBytes, checkRange } from '../bytes.js';
import type { ConnectionHost } from './connection-host.js';
import type { PortableConnection } from './portable-connection.js';
import type { ResolvedConnectionOptions } from './resolve-options.js';
import { GATHERED_PART_BYTES, SendQueue } from './send-queue.js';
import { surface } from './surface.js';

/** Gathered bytes that are given to the kernel without waiting for the end of the turn. */
const EARLY_FLUSH_BYTES = 65_536;
/** One write to the socket: how exactly the progress of a large frame is known. */
const LARGEST_WRITE_BYTES = 262_144;

export class PortableOutput {
  readonly #connection: PortableConnection;
  readonly #host: ConnectionHost;
  readonly #socket: Socket;
  readonly #options: ResolvedConnectionOptions;
  readonly #queue: SendQueue;
  /** What the socket is writing, which stands before the queue. */
  #writing = 0;
  /** Callbacks still to come for writes that the kernel took at once. */
  #finishedWrites = 0;
  #lastProgress = 0;
  #owesDrain = false;
  #bytesQueued = 0;
  #handed = 0;
  #finAsked = false;
  #finSent = false;

  constructor(
    connection: PortableConnection,
    host: ConnectionHost,
    socket: Socket,
    options: ResolvedConnectionOptions,
  ) {
    this.#connection = connection;
    this.#host = host;
    this.#socket = socket;
    this.#options = options;
    this.#queue = new SendQueue(host);
  }

  get bytesQueued(): number {
    return this.#bytesQueued;
  }

  /** Of those, what the kernel has. */
  get bytesHanded(): number {
    return this.#handed;
  }

  get bufferedAmount(): number {
    return this.#bytesQueued - this.#handed;
  }

  get maySend(): boolean {
    if (this.#finAsked) return false;
    const { state } = this.#connection;
    return state === 'open' || state === 'connecting';
  }

  get finAsked(): boolean {
    return this.#finAsked;
  }

  get finSent(): boolean {
    return this.#finSent;
  }

  send(parts: Uint8Array[]): boolean {
    // All before the first: no half of it may leave.
    for (let i = 0; i < parts.length; i++) checkBytes('a part', parts[i]);
    if (!this.maySend) return false;
    let bytes = 0;
    for (let i = 0; i < parts.length; i++) {
      const part = parts[i];
      this.#queue.add(part, 0, part.length);
      bytes += part.length;
    }
    return this.#queued(bytes);
  }

  sendPinned(bytes: Uint8Array): boolean {
    checkBytes('bytes', bytes);
    if (bytes.length <= GATHERED_PART_BYTES) return this.send([bytes]);
    if (!this.maySend) return false;
    this.#queue.addPinned(bytes);
    this.#queued(bytes.length);
    if (this.#connection.state === 'open') this.write();
    if (this.#bytesQueued === this.#handed) return true;
    this.#owesDrain = true;
    return false;
  }

  sendFrame(header: Uint8Array, headerLength: number, bytes: Uint8Array, start: number, end: number): boolean {
    checkRange('header', header, 0, headerLength);
    checkRange('bytes', bytes, start, end);
    if (!this.maySend) return false;
    this.#queue.add(header, 0, headerLength);
    this.#queue.add(bytes, start, end);
    return this.#queued(headerLength + end - start);
  }

  sendNow(header: Uint8Array, headerLength: number, bytes: Uint8Array, start: number, end: number): boolean {
    checkRange('header', header, 0, headerLength);
    checkRange('bytes', bytes, start, end);
    if (!this.maySend) return false;
    this.#queue.add(header, 0, headerLength);
    this.#queue.addCopy(bytes, start, end);
    return this.#queued(headerLength + end - start);
  }

  /** @returns what `send` answers. */
  #queued(bytes: number): boolean {
    const host = this.#host;
    this.#bytesQueued += bytes;
    if (this.#options.isAccounted) host.bufferedBytes += bytes;
    if (host.delivering !== this.#connection) this.flushLater();
    const waiting = this.#bytesQueued - this.#handed;
    // Who takes what it gets does not pay for those who filled the engine.
    if (waiting <= this.#options.highWaterMark) return true;
    return this.#aboveWatermark(waiting);
  }

  #aboveWatermark(waiting: number): boolean {
    const host = this.#host;
    const connection = this.#connection;
    if (waiting >= EARLY_FLUSH_BYTES && this.#writing === 0 && connection.state === 'open') {
      this.write();
      waiting = this.#bytesQueued - this.#handed;
    }
    if (waiting > this.#options.maxBufferedBytes) {
      const message = `${waiting} bytes waited to be sent, maxBufferedBytes is ${this.#options.maxBufferedBytes}`;
      connection.abort('send-buffer-full', message);
      return false;
    }
    if (
      this.#options.isAccounted &&
      waiting > this.#options.highWaterMark &&
      host.bufferedBytes > host.maxEngineBytes
    ) {
      const message = `${host.bufferedBytes} bytes waited to be sent in the whole engine, maxEngineBytes is ${host.maxEngineBytes}`;
      connection.abort('memory-full', message);
      return false;
    }
    if (waiting <= this.#options.highWaterMark) return true;
    this.#owesDrain = true;
    return false;
  }

  // --- Writing -----------------------------------------------------------------------------------------------------

  flushLater(): void {
    const connection = this.#connection;
    if (connection.awaitsFlush) return;
    connection.awaitsFlush = true;
    this.#host.flushAtTurnEnd(connection);
  }

  /** Gives the socket what waits, and does what had to wait for it. */
  flush(): void {
    const { state } = this.#connection;
    if (state === 'connecting' || state === 'closed') return;
    this.write();
    this.#afterWrite();
  }

  /** Gives the socket what waits, as far as it is free. */
  write(): void {
    const queue = this.#queue;
    while (this.#writing === 0) {
      if (queue.hasPieces) this.#give(queue.takePiece(LARGEST_WRITE_BYTES));
      else if (queue.gatheredLength > 0) this.#writeGathered();
      else return;
    }
  }

  #writeGathered(): void {
    const length = this.#queue.gatheredLength;
    const block = this.#queue.takeGathered();
    if (this.#give(length === block.length ? block : block.subarray(0, length))) this.#host.blocks.release(block);
  }

  /** @returns whether the kernel took all of it at once; the memory is then free again. */
  #give(bytes: Uint8Array): boolean {
    const { counts } = this.#host;
    counts.sends++;
    const now = this.#connection.touch();
    this.#socket.write(bytes, this.#written);
    if (this.#socket.writableLength === 0) {
      this.#finishedWrites++;
      this.#taken(bytes.length);
      return true;
    }
    counts.short_sends++;
    this.#writing = bytes.length;
    this.#lastProgress = now;
    const { writeStallTimeoutMs } = this.#options;
    if (writeStallTimeoutMs > 0) this.#connection.armBy(now + writeStallTimeoutMs);
    return false;
  }

  #taken(bytes: number): void {
    this.#handed += bytes;
    if (this.#options.isAccounted) this.#host.bufferedBytes -= bytes;
    this.#host.counts.bytes_sent += bytes;
  }

  /** Comes for every write, also long after one that the kernel took at once. */
  readonly #written = (error?: Error | null): void => {
    if (this.#finishedWrites > 0) {
      this.#finishedWrites--;
      return;
    }
    if (error || this.#writing === 0 || this.#connection.state === 'closed') return;
    this.#taken(this.#writing);
    this.#writing = 0;
    this.#lastProgress = this.#connection.touch();
    this.flush();
  };

  #afterWrite(): void {
    const waiting = this.#bytesQueued - this.#handed;
    if (this.#owesDrain && waiting <= this.#options.lowWaterMark) {
      this.#owesDrain = false;
      try {
        if (this.maySend) this.#connection.handler.drain?.(this.#connection);
      } catch (error) {
        surface(error);
      }
    }
    if (this.#finAsked && !this.#finSent && this.#bytesQueued === this.#handed) this.#sendFin();
  }

  /** Nothing more may be sent; our FIN follows what waits. */
  askFin(): void {
    this.#finAsked = true;
    this.flushLater();
  }

  #sendFin(): void {
    const connection = this.#connection;
    this.#finSent = true;
    const isClosing = connection.state === 'closing';
    if (isClosing && connection.hasPeerEnded) {
      this.#socket.destroySoon();
      return;
    }
    if (!isClosing && connection.handler.finish !== undefined) this.#socket.end(this.#tellFinished);
    else this.#socket.end();
    if (isClosing) connection.linger();
  }

  readonly #tellFinished = (): void => {
    if (this.#connection.state !== 'open') return;
    try {
      this.#connection.handler.finish?.(this.#connection);
    } catch (error) {
      surface(error);
    }
  };

  // --- A peer that takes nothing -----------------------------------------------------------------------------------

  /** 0: none. */
  stallDeadline(): number {
    const { writeStallTimeoutMs } = this.#options;
    return writeStallTimeoutMs === 0 || this.#writing === 0 ? 0 : this.#lastProgress + writeStallTimeoutMs;
  }

  /** A large write may be moving although it is not done. */
  stalled(): void {
    const left = this.#unwritten(this.#writing);
    if (left < this.#writing) {
      this.#taken(this.#writing - left);
      this.#writing = left;
      this.#lastProgress = this.#host.turn();
      return;
    }
    const { writeStallTimeoutMs } = this.#options;
    const message = `the peer took no bytes for writeStallTimeoutMs ${writeStallTimeoutMs}; ${this.bufferedAmount} waited`;
    this.#connection.abort('write-stalled', message);
  }

  /** Of the write under way. Not in Node's documentation, hence optional. */
  #unwritten(unknown: number): number {
    const handle = (this.#socket as Socket & { _handle?: { writeQueueSize?: number } })._handle;
    return Math.min(this.#writing, handle?.writeQueueSize ?? unknown);
  }

  // --- Ending ------------------------------------------------------------------------------------------------------

  /** What waits is not sent any more. */
  drop(): void {
    if (this.#writing > 0) {
      // Asked while there is still a handle; where it does not say, the whole write counts as handed over, which errs safely.
      this.#taken(this.#writing - this.#unwritten(0));
      this.#writing = 0;
    }
    this.#queue.clear();
    this.#finAsked = true;
  }

  /** The socket is closed: what was not sent waits no longer. */
  closed(): void {
    this.drop();
    if (this.#options.isAccounted) this.#host.bufferedBytes -= this.#bytesQueued - this.#handed;
  }
}
