/** A connection of the portable engine: one `net.Socket`, its framer, what waits to be sent, and its deadlines. */
import type { Socket } from 'node:net';
import { checkBytes, checkRange } from '../bytes.js';
import { RingwayError } from '../errors.js';
import { FrameStatus, type Framer } from '../framing/framer.js';
import type { Framing } from '../framing/framing.js';
import { makeFramer } from '../framing/make-framer.js';
import { type ResolvedFraming, resolveFraming } from '../framing/validate-framing.js';
import { familyOf } from './address-family.js';
import { type BlockPool, LARGEST_BLOCK } from './block-pool.js';
import { COUNTER_OF_REASON, closeInfo, closeMessage, type SystemError } from './close-info.js';
import type { AddressFamily, Connection, Handler } from './engine.js';
import type { ResolvedConnectionOptions } from './resolve-options.js';
import { type CloseReason, type CounterName, ENGINE_LIMITS } from './tables.gen.js';
import type { Timed, TimingWheel } from './timing-wheel.js';

/** What a connection needs of its engine. */
export interface ConnectionHost {
  readonly counts: Record<CounterName, number>;
  readonly blocks: BlockPool;
  readonly wheel: TimingWheel;
  readonly maxEngineBytes: number;
  readonly maxPartialBytes: number;
  /** Bytes waiting to be sent, all connections together. */
  bufferedBytes: number;
  /** Bytes of memory that incomplete frames hold, all connections together. */
  partialBytes: number;
  /** The connection whose frames are being delivered, and the bytes they lie in. */
  delivering: PortableConnection | undefined;
  deliveredBytes: Uint8Array | undefined;
  /** Somebody went on using the delivered bytes: their memory must not be recycled. */
  deliveredPinned: boolean;
  /** Begins a turn where none is running, and tells the wheel's time in it. */
  turn(): number;
  /** Of `maxPartialBytes`, in bytes. */
  partialShare(connection: PortableConnection): number;
  flushAtTurnEnd(connection: PortableConnection): void;
  batchEndAtTurnEnd(handler: Handler): void;
  closed(connection: PortableConnection): void;
}

type State = Connection['state'];

/** Shorter parts are gathered in one block; a longer one is sent as a piece of its own. */
const GATHERED_PART_BYTES = 16_384;
/** Gathered bytes that are given to the kernel without waiting for the end of the turn. */
const EARLY_FLUSH_BYTES = 65_536;
/** One write to the socket: how exactly the progress of a large frame is known. */
const LARGEST_WRITE_BYTES = 262_144;
/** The first block for what is gathered, and for an incomplete frame. */
const FIRST_BLOCK_BYTES = 4_096;
/** Unframed input that a held connection keeps before it is no longer read. */
const MOST_HELD_BYTES = 262_144;
/** Below it a loop beats making a view to copy from. */
const SHORT_COPY = 16;

const CONNECTION = Symbol('connection');
type OwnedSocket = Socket & { [CONNECTION]: PortableConnection };

export class PortableConnection implements Connection, Timed {
  context: unknown = undefined;
  remoteAddress = '';
  remotePort = 0;
  bytesQueued = 0;
  bytesReceived = 0;
  /** Where the per-address count is kept; empty for one that is not counted. */
  countedAddress = '';

  timerAt = 0;
  timerSlot = 0;
  timerNext: Timed | undefined = undefined;
  timerPrevious: Timed | undefined = undefined;

  /** In the engine's list of those to be flushed at the end of the turn. */
  awaitsFlush = false;

  readonly id: number;
  readonly handler: Handler;
  readonly #host: ConnectionHost;
  readonly #socket: Socket;
  #framer: Framer;
  #framing: ResolvedFraming;
  readonly #options: ResolvedConnectionOptions;
  /** A delimiter may stand anywhere; the other formats know how many bytes they miss. */
  #scans: boolean;
  /** Each frame ends with a hold. */
  #holds: boolean;

  #state: State = 'connecting';
  /** It was open once. */
  #established = false;
  #connectDeadline = 0;
  #connectTimeoutMs = 0;
  #localAddress = '';
  #localPort = 0;
  #lastActive: number;

  // Receiving.
  #paused = false;
  #pausedAt = 0;
  #peerEnded = false;
  #partial: Buffer | undefined = undefined;
  #partialLength = 0;
  #partialSince = 0;
  /** The last frame ended with a hold: what comes is kept until `setFraming` says how it goes on. */
  #held = false;
  /** FIN came while held. */
  #endHeld = false;
  /** What was kept is to be cut anew. */
  #reframe = false;

  // Sending. In this order: what the socket is writing, the queue from its head, what is being gathered.
  #writing = 0;
  /** Callbacks still to come for writes that the kernel took at once. */
  #finishedWrites = 0;
  #queue: Uint8Array[] = [];
  #queueHead = 0;
  #gathered: Buffer | undefined = undefined;
  #gatheredLength = 0;
  #handed = 0;
  #lastProgress = 0;
  #owesDrain = false;

  // Ending.
  #finAsked = false;
  #finSent = false;
  #lingerDeadline = 0;
  #lingeredBytes = 0;
  #reason: CloseReason | undefined = undefined;
  #message = '';
  #error: SystemError | undefined = undefined;

  constructor(host: ConnectionHost, id: number, socket: Socket, options: ResolvedConnectionOptions, handler: Handler) {
    this.#host = host;
    this.id = id;
    this.handler = handler;
    this.#socket = socket;
    this.#options = options;
    this.#framing = options.framing;
    this.#framer = makeFramer(options.framing);
    this.#scans = options.framing.format === 'delimiter';
    this.#holds = endsWithHold(options.framing);
    this.#lastActive = host.turn();
    (socket as OwnedSocket)[CONNECTION] = this;
    socket.on('data', onData);
    socket.on('end', onEnd);
    socket.on('error', onError);
    socket.on('close', onClose);
  }

  get state(): State {
    return this.#state;
  }

  get remoteFamily(): AddressFamily {
    return familyOf(this.remoteAddress, this.remotePort);
  }

  get localFamily(): AddressFamily {
    return this.remoteFamily;
  }

  get localAddress(): string {
    return (this.#localAddress ||= this.#socket.localAddress ?? '');
  }

  get localPort(): number {
    return (this.#localPort ||= this.#socket.localPort ?? 0);
  }

  get bufferedAmount(): number {
    return this.bytesQueued - this.#handed;
  }

  // --- Opening ---------------------------------------------------------------------------------------------------

  /** For an outgoing connection: it has so long to be established. */
  awaitConnect(timeoutMs: number): void {
    this.#connectTimeoutMs = timeoutMs;
    if (timeoutMs > 0) this.#connectDeadline = this.#host.turn() + timeoutMs;
    this.#arm();
  }

  opened(): void {
    if (this.#state !== 'connecting') return;
    this.#state = 'open';
    this.#established = true;
    this.#connectDeadline = 0;
    this.#lastActive = this.#host.turn();
    this.#arm();
    try {
      this.handler.open?.(this);
    } catch (error) {
      surface(error);
    }
    this.#needFlush();
  }

  // --- Receiving -------------------------------------------------------------------------------------------------

  received(chunk: Buffer): void {
    const host = this.#host;
    this.#lastActive = host.turn();
    host.counts.bytes_received += chunk.length;
    this.bytesReceived += chunk.length;
    if (this.#state !== 'open') {
      this.#discard(chunk.length);
      return;
    }
    if (this.#reframe) this.#takeHeld();
    if (this.#held) {
      this.#hold(chunk, 0);
      return;
    }
    host.delivering = this;
    let at = 0;
    if (this.#partialLength > 0) at = this.#completePartial(chunk);
    if (at < chunk.length && this.#state === 'open') {
      at = this.#deliver(chunk, at, chunk.length);
      if (at < chunk.length && this.#state === 'open') {
        if (this.#held) this.#hold(chunk, at);
        else this.#beginPartial(chunk, at);
      }
    }
    if (at < chunk.length && this.#state !== 'open') host.counts.dropped_bytes_after_close += chunk.length - at;
    host.delivering = undefined;
    host.deliveredBytes = undefined;
    this.#flushGathered();
  }

  /** @returns the position of the first byte that is not done with. */
  #deliver(bytes: Buffer, start: number, end: number): number {
    const host = this.#host;
    let framer = this.#framer;
    const handler = this.handler;
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
        handler.frame(this, bytes, from, from + framer.length);
      } catch (error) {
        surface(error);
      }
      if (this.#state !== 'open' || this.#held) break;
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
    this.close(reason, closeMessage(reason, numbers));
  }

  #beginPartial(chunk: Buffer, at: number): void {
    const length = chunk.length - at;
    if (!this.#reservePartial(length)) return;
    chunk.copy(this.#partial!, 0, at);
    this.#partialLength = length;
    this.#partialBegins();
  }

  #partialBegins(): void {
    this.#partialSince = this.#lastActive;
    const deadline = this.#partialDeadline();
    if (deadline !== 0) this.#armBy(deadline);
  }

  /** @returns the position in the chunk of the first byte that did not go into the incomplete frame. */
  #completePartial(chunk: Buffer): number {
    let at = 0;
    while (at < chunk.length && this.#partialLength > 0 && this.#state === 'open' && !this.#held) {
      const missing = this.#framer.needed - this.#partialLength;
      const taken = this.#scans ? chunk.length - at : Math.min(missing, chunk.length - at);
      if (!this.#reservePartial(this.#partialLength + taken)) break;
      chunk.copy(this.#partial!, this.#partialLength, at, at + taken);
      this.#partialLength += taken;
      at += taken;
      if (this.#partialLength < this.#framer.needed) continue;
      this.#deliverPartial();
    }
    return at;
  }

  #deliverPartial(): void {
    const partial = this.#partial!;
    const consumed = this.#deliver(partial, 0, this.#partialLength);
    if (consumed === 0 || this.#partial === undefined) return;
    const rest = this.#partialLength - consumed;
    if (rest === 0) {
      this.#releasePartial(!this.#host.deliveredPinned);
      return;
    }
    // Only where the format scans: frames behind the completed one lay in the same chunk.
    if (this.#host.deliveredPinned) this.#movePartial(consumed, rest);
    else partial.copyWithin(0, consumed, this.#partialLength);
    this.#partialLength = rest;
    this.#partialBegins();
  }

  #hold(chunk: Buffer, at: number): void {
    const length = this.#partialLength + chunk.length - at;
    if (!this.#reservePartial(length)) return;
    chunk.copy(this.#partial!, this.#partialLength, at);
    this.#partialLength = length;
    if (length >= MOST_HELD_BYTES && !this.#paused) this.#socket.pause();
  }

  setFraming(framing: Framing): void {
    const resolved = resolveFraming(framing);
    if (this.#state === 'closing' || this.#state === 'closed') return;
    this.#framing = resolved;
    this.#framer = makeFramer(resolved);
    this.#scans = resolved.format === 'delimiter';
    this.#holds = endsWithHold(resolved);
    this.#held = false;
    if (this.#host.delivering === this) return;
    this.#reframe = true;
    setImmediate(() => this.#takeHeld());
  }

  /** What was kept while held goes through the framer that was named meanwhile. */
  #takeHeld(): void {
    if (!this.#reframe || this.#held || this.#state !== 'open') return;
    this.#reframe = false;
    const host = this.#host;
    host.turn();
    host.delivering = this;
    if (this.#partialLength > 0) this.#deliverPartial();
    host.delivering = undefined;
    host.deliveredBytes = undefined;
    this.#flushGathered();
    if (this.#held) return;
    if (!this.#paused) this.#socket.resume();
    if (!this.#endHeld) return;
    this.#endHeld = false;
    this.peerEnded();
  }

  detach(): Promise<number> {
    const why = 'Node gives the descriptor of a socket to nobody; use the io_uring or epoll engine';
    return Promise.reject(new RingwayError('ERR_UNSUPPORTED', ['detach on the portable engine', why]));
  }

  /** Somebody still uses the old memory, so that the rest cannot be moved within it. */
  #movePartial(consumed: number, rest: number): void {
    const old = this.#partial!;
    this.#releasePartial(false);
    if (this.#reservePartial(rest)) old.copy(this.#partial!, 0, consumed, consumed + rest);
  }

  /**
   * Room for `bytes`. It doubles as bytes arrive and ends at the frame's size; what a peer merely declares costs nothing.
   * @returns false where the engine's bound was reached and the connection closed.
   */
  #reservePartial(bytes: number): boolean {
    const host = this.#host;
    const capacity = this.#partial === undefined ? 0 : this.#partial.length;
    if (bytes <= capacity) return true;
    let wanted = Math.max(bytes, 2 * capacity);
    const whole = this.#framer.frameBytes;
    if (wanted > LARGEST_BLOCK && whole >= bytes) wanted = Math.min(wanted, whole);
    const block = host.blocks.acquire(wanted);
    // Who holds no more than its share does not pay for those who filled it.
    const isFull = host.partialBytes + block.length - capacity > host.maxPartialBytes;
    if (this.#options.isAccounted && isFull && block.length > host.partialShare(this)) {
      host.blocks.release(block);
      const message = `incomplete frames of all connections are at maxPartialBytes ${host.maxPartialBytes}`;
      this.close('memory-full', message);
      return false;
    }
    if (this.#options.isAccounted) host.partialBytes += block.length - capacity;
    if (this.#partial !== undefined) {
      this.#partial.copy(block, 0, 0, this.#partialLength);
      host.blocks.release(this.#partial);
    }
    this.#partial = block;
    return true;
  }

  #releasePartial(recycle: boolean): void {
    const partial = this.#partial;
    if (partial === undefined) return;
    if (this.#options.isAccounted) this.#host.partialBytes -= partial.length;
    if (recycle) this.#host.blocks.release(partial);
    this.#partial = undefined;
    this.#partialLength = 0;
  }

  #discard(bytes: number): void {
    if (this.#state !== 'closing') return;
    this.#host.counts.dropped_bytes_after_close += bytes;
    this.#lingeredBytes += bytes;
    if (this.#finSent && this.#lingeredBytes > ENGINE_LIMITS.lingerBytes) this.#socket.destroy();
  }

  /** FIN came. */
  peerEnded(): void {
    this.#lastActive = this.#host.turn();
    this.#peerEnded = true;
    if (this.#state === 'closing') {
      if (this.#finSent) this.#socket.destroy();
      return;
    }
    if (this.#state !== 'open') return;
    if (this.#held) {
      this.#endHeld = true;
      return;
    }
    if (this.#partialLength > 0 && !this.#finishPartial()) return;
    if (this.#reason === undefined && !this.#finAsked) this.#giveReason('peer-closed');
    if (this.handler.end === undefined) {
      this.close('peer-closed');
      return;
    }
    try {
      this.handler.end(this);
    } catch (error) {
      surface(error);
    }
  }

  /** @returns whether the connection goes on. */
  #finishPartial(): boolean {
    const partial = this.#partial!;
    const framer = this.#framer;
    const status = framer.finish(partial, 0, this.#partialLength);
    if (status === FrameStatus.needMore) {
      const held = `${this.#partialLength} bytes of it had come`;
      this.close('truncated-frame', `${closeMessage('truncated-frame')} (${held})`);
      return false;
    }
    if (status !== FrameStatus.frame) {
      this.#closeForFrame(status);
      return false;
    }
    const host = this.#host;
    host.delivering = this;
    host.deliveredBytes = partial;
    host.deliveredPinned = false;
    try {
      this.handler.frame(this, partial, framer.offset, framer.offset + framer.length);
    } catch (error) {
      surface(error);
    }
    host.counts.frames_received++;
    host.batchEndAtTurnEnd(this.handler);
    host.delivering = undefined;
    host.deliveredBytes = undefined;
    this.#releasePartial(!host.deliveredPinned);
    this.#flushGathered();
    return this.#state === 'open';
  }

  pause(): void {
    if (this.#paused || this.#state === 'closing' || this.#state === 'closed') return;
    this.#paused = true;
    this.#pausedAt = this.#host.turn();
    this.#socket.pause();
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    const now = this.#host.turn();
    // What the peer could not send while nobody read is not held against it.
    this.#partialSince += now - this.#pausedAt;
    this.#lastActive = now;
    this.#socket.resume();
    this.#arm();
  }

  // --- Sending ---------------------------------------------------------------------------------------------------

  send(...parts: Uint8Array[]): boolean {
    // All before the first: no half of it may leave.
    for (let i = 0; i < parts.length; i++) checkBytes('a part', parts[i]);
    if (!this.#maySend()) return false;
    let bytes = 0;
    for (let i = 0; i < parts.length; i++) {
      const part = parts[i];
      this.#gather(part, 0, part.length);
      bytes += part.length;
    }
    return this.#queued(bytes);
  }

  sendPinned(bytes: Uint8Array): boolean {
    checkBytes('bytes', bytes);
    if (bytes.length <= GATHERED_PART_BYTES) return this.send(bytes);
    if (!this.#maySend()) return false;
    if (this.#gatheredLength > 0) this.#enqueueGathered();
    this.#queue.push(bytes);
    this.#queued(bytes.length);
    if (this.#state === 'open') this.#write();
    if (this.bytesQueued === this.#handed) return true;
    this.#owesDrain = true;
    return false;
  }

  sendFrame(header: Uint8Array, headerLength: number, bytes: Uint8Array, start: number, end: number): boolean {
    checkRange('header', header, 0, headerLength);
    checkRange('bytes', bytes, start, end);
    if (!this.#maySend()) return false;
    this.#gather(header, 0, headerLength);
    this.#gather(bytes, start, end);
    return this.#queued(headerLength + end - start);
  }

  #maySend(): boolean {
    return !this.#finAsked && (this.#state === 'open' || this.#state === 'connecting');
  }

  #gather(bytes: Uint8Array, start: number, end: number): void {
    const length = end - start;
    if (length > GATHERED_PART_BYTES) {
      this.#enqueueLong(bytes, start, end);
      return;
    }
    const at = this.#gatheredLength;
    let block = this.#gathered;
    if (block === undefined || at + length > block.length) {
      block = this.#growGathered(length);
      this.#copy(bytes, start, end, block, this.#gatheredLength);
      this.#gatheredLength += length;
      return;
    }
    this.#copy(bytes, start, end, block, at);
    this.#gatheredLength = at + length;
  }

  #copy(bytes: Uint8Array, start: number, end: number, block: Buffer, at: number): void {
    if (end - start <= SHORT_COPY) {
      while (start < end) block[at++] = bytes[start++];
    } else {
      block.set(new Uint8Array(bytes.buffer, bytes.byteOffset + start, end - start), at);
    }
  }

  /** A block with room for `length` more; a full one goes to the queue. */
  #growGathered(length: number): Buffer {
    const { blocks } = this.#host;
    const old = this.#gathered;
    const wanted = this.#gatheredLength + length;
    if (old === undefined || wanted > LARGEST_BLOCK) {
      this.#enqueueGathered();
      return (this.#gathered = blocks.acquire(Math.max(length, FIRST_BLOCK_BYTES)));
    }
    const block = blocks.acquire(wanted);
    old.copy(block, 0, 0, this.#gatheredLength);
    blocks.release(old);
    return (this.#gathered = block);
  }

  #enqueueGathered(): void {
    if (this.#gathered === undefined) return;
    this.#queue.push(this.#gathered.subarray(0, this.#gatheredLength));
    this.#gathered = undefined;
    this.#gatheredLength = 0;
  }

  /** Long parts are not gathered: the frame being delivered is used where it lies, anything else is copied once. */
  #enqueueLong(bytes: Uint8Array, start: number, end: number): void {
    if (this.#gatheredLength > 0) this.#enqueueGathered();
    if (bytes === this.#host.deliveredBytes) {
      this.#host.deliveredPinned = true;
      this.#queue.push(bytes.subarray(start, end));
      return;
    }
    const copy = Buffer.allocUnsafeSlow(end - start);
    copy.set(bytes.subarray(start, end));
    this.#queue.push(copy);
  }

  /** @returns what `send` answers. */
  #queued(bytes: number): boolean {
    const host = this.#host;
    this.bytesQueued += bytes;
    if (this.#options.isAccounted) host.bufferedBytes += bytes;
    if (host.delivering !== this) this.#needFlush();
    const waiting = this.bytesQueued - this.#handed;
    // Who takes what it gets does not pay for those who filled the engine.
    if (waiting <= this.#options.highWaterMark) return true;
    return this.#aboveWatermark(waiting);
  }

  #aboveWatermark(waiting: number): boolean {
    const host = this.#host;
    if (waiting >= EARLY_FLUSH_BYTES && this.#writing === 0 && this.#state === 'open') {
      this.#write();
      waiting = this.bytesQueued - this.#handed;
    }
    if (waiting > this.#options.maxBufferedBytes) {
      const message = `${waiting} bytes waited to be sent, maxBufferedBytes is ${this.#options.maxBufferedBytes}`;
      this.abort('send-buffer-full', message);
      return false;
    }
    if (
      this.#options.isAccounted &&
      waiting > this.#options.highWaterMark &&
      host.bufferedBytes > host.maxEngineBytes
    ) {
      const message = `${host.bufferedBytes} bytes waited to be sent in the whole engine, maxEngineBytes is ${host.maxEngineBytes}`;
      this.abort('memory-full', message);
      return false;
    }
    if (waiting <= this.#options.highWaterMark) return true;
    this.#owesDrain = true;
    return false;
  }

  #needFlush(): void {
    if (this.awaitsFlush) return;
    this.awaitsFlush = true;
    this.#host.flushAtTurnEnd(this);
  }

  /** At the end of the frames of one chunk: what was answered to them leaves while it is in the cache. */
  #flushGathered(): void {
    if (this.bytesQueued > this.#handed || this.#finAsked) this.flush();
  }

  /** Gives the socket what waits, and does what had to wait for it. */
  flush(): void {
    if (this.#state === 'connecting' || this.#state === 'closed') return;
    this.#write();
    this.#afterWrite();
  }

  #write(): void {
    while (this.#writing === 0) {
      if (this.#queueHead < this.#queue.length) this.#writeQueued();
      else if (this.#gatheredLength > 0) this.#writeGathered();
      else return;
    }
  }

  #writeGathered(): void {
    const block = this.#gathered!;
    const length = this.#gatheredLength;
    this.#gathered = undefined;
    this.#gatheredLength = 0;
    if (this.#give(length === block.length ? block : block.subarray(0, length))) this.#host.blocks.release(block);
  }

  #writeQueued(): void {
    const piece = this.#queue[this.#queueHead];
    if (piece.length > LARGEST_WRITE_BYTES) {
      this.#queue[this.#queueHead] = piece.subarray(LARGEST_WRITE_BYTES);
      this.#give(piece.subarray(0, LARGEST_WRITE_BYTES));
      return;
    }
    this.#queue[this.#queueHead++] = NOTHING;
    if (this.#queueHead === this.#queue.length) {
      this.#queue.length = 0;
      this.#queueHead = 0;
    }
    this.#give(piece);
  }

  /** @returns whether the kernel took all of it at once; the memory is then free again. */
  #give(bytes: Uint8Array): boolean {
    const { counts } = this.#host;
    counts.sends++;
    this.#lastActive = this.#host.turn();
    this.#socket.write(bytes, this.#written);
    if (this.#socket.writableLength === 0) {
      this.#finishedWrites++;
      this.#taken(bytes.length);
      return true;
    }
    counts.short_sends++;
    this.#writing = bytes.length;
    this.#lastProgress = this.#lastActive;
    if (this.#options.writeStallTimeoutMs > 0) this.#armBy(this.#lastProgress + this.#options.writeStallTimeoutMs);
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
    if (error || this.#writing === 0 || this.#state === 'closed') return;
    this.#taken(this.#writing);
    this.#writing = 0;
    this.#lastProgress = this.#lastActive = this.#host.turn();
    this.flush();
  };

  #afterWrite(): void {
    const waiting = this.bytesQueued - this.#handed;
    if (this.#owesDrain && waiting <= this.#options.lowWaterMark) {
      this.#owesDrain = false;
      try {
        if (this.#maySend()) this.handler.drain?.(this);
      } catch (error) {
        surface(error);
      }
    }
    if (this.#finAsked && !this.#finSent && this.bytesQueued === this.#handed) this.#sendFin();
  }

  // --- Ending ----------------------------------------------------------------------------------------------------

  shutdown(): void {
    if (!this.#maySend()) return;
    this.#finAsked = true;
    if (!this.#peerEnded) this.#giveReason('closed');
    this.#needFlush();
  }

  close(reason?: CloseReason, message?: string): void {
    if (this.#state === 'closing' || this.#state === 'closed') return;
    if (this.#state === 'connecting') {
      this.abort(reason ?? 'closed', message);
      return;
    }
    // Without a reason, the one whose FIN came first counts.
    if (reason !== undefined) this.#reason = undefined;
    this.#giveReason(reason ?? 'closed', message);
    this.#state = 'closing';
    this.#finAsked = true;
    this.#releasePartial(!this.#isDelivering());
    if (this.#paused) {
      this.#paused = false;
      this.#socket.resume();
    }
    if (this.#finSent) this.#linger();
    this.#needFlush();
    this.#arm();
  }

  destroy(reason: CloseReason = 'closed', message?: string): void {
    this.#sendAndEnd(reason, message, false);
  }

  reset(reason: CloseReason = 'aborted', message?: string): void {
    this.#sendAndEnd(reason, message, this.remotePort !== 0);
  }

  #sendAndEnd(reason: CloseReason, message: string | undefined, resets: boolean): void {
    if (this.#state === 'connecting') {
      this.abort(reason, message);
      return;
    }
    if (this.#state === 'closed') return;
    if (this.#state === 'open') {
      this.#reason = undefined;
      this.#giveReason(reason, message);
    }
    this.#state = 'closing';
    this.#write();
    this.#dropQueued();
    this.#releasePartial(!this.#isDelivering());
    if (resets) this.#socket.resetAndDestroy();
    else this.#socket.destroy();
  }

  abort(reason: CloseReason = 'aborted', message?: string): void {
    if (this.#state === 'closed') return;
    if (this.#state !== 'closing') {
      this.#reason = undefined;
      this.#giveReason(reason, message);
    }
    const connecting = this.#state === 'connecting';
    this.#dropQueued();
    this.#state = 'closing';
    this.#releasePartial(!this.#isDelivering());
    // A unix socket has no reset, and a handle that is not connected nothing to reset.
    if (connecting || this.remotePort === 0) this.#socket.destroy();
    else this.#socket.resetAndDestroy();
  }

  #isDelivering(): boolean {
    return this.#partial !== undefined && this.#host.deliveredBytes === this.#partial;
  }

  #giveReason(reason: CloseReason, message?: string): void {
    if (this.#reason !== undefined) return;
    this.#reason = reason;
    this.#message = message ?? closeMessage(reason);
  }

  /** How much of the write under way the kernel took is asked while there is still a handle to ask. */
  #dropQueued(): void {
    if (this.#writing > 0) {
      // Not in the documentation, hence optional; without it the whole write counts as handed over, which errs safely.
      const handle = (this.#socket as Socket & { _handle?: { writeQueueSize?: number } })._handle;
      const left = Math.min(this.#writing, handle?.writeQueueSize ?? 0);
      this.#taken(this.#writing - left);
      this.#writing = 0;
    }
    this.#queue = [];
    this.#queueHead = 0;
    if (this.#gathered !== undefined) this.#host.blocks.release(this.#gathered);
    this.#gathered = undefined;
    this.#gatheredLength = 0;
    this.#finAsked = true;
  }

  #sendFin(): void {
    this.#finSent = true;
    if (this.#state === 'closing' && this.#peerEnded) {
      this.#socket.destroySoon();
      return;
    }
    if (this.#state !== 'closing' && this.handler.finish !== undefined) this.#socket.end(this.#tellFinished);
    else this.#socket.end();
    if (this.#state === 'closing') this.#linger();
  }

  readonly #tellFinished = (): void => {
    if (this.#state !== 'open') return;
    try {
      this.handler.finish?.(this);
    } catch (error) {
      surface(error);
    }
  };

  #linger(): void {
    this.#lingerDeadline = this.#host.turn() + ENGINE_LIMITS.lingerTimeoutMs;
    this.#arm();
  }

  /** The socket failed; `closedBySocket` follows. */
  failed(error: NodeJS.ErrnoException): void {
    if (this.#state === 'closing' || this.#state === 'closed') return;
    const { code = 'UNKNOWN', errno = 0, syscall } = error;
    this.#error = { errorCode: code, errno, ...(syscall && { syscall: syscall as SystemError['syscall'] }) };
    this.#reason = undefined;
    const reason = !this.#established ? 'connect-failed' : RESET_CODES.has(error.code) ? 'peer-reset' : 'io-error';
    this.#giveReason(reason, `${closeMessage(reason)}: ${error.message}`);
  }

  closedBySocket(): void {
    if (this.#state === 'closed') return;
    const host = this.#host;
    if (!this.#established) host.counts.connect_errors++;
    this.#dropQueued();
    if (this.#options.isAccounted) host.bufferedBytes -= this.bytesQueued - this.#handed;
    this.#releasePartial(true);
    this.#giveReason(this.#peerEnded ? 'peer-closed' : 'closed');
    this.#state = 'closed';
    host.wheel.cancel(this);
    host.counts.closed++;
    const counter = COUNTER_OF_REASON[this.#reason!];
    if (counter !== undefined) host.counts[counter]++;
    host.closed(this);
    try {
      this.handler.close?.(this, closeInfo(this.#reason!, this.#message, this.#error, this.#handed));
    } catch (error) {
      surface(error);
    }
  }

  setNoDelay(on: boolean): void {
    this.#socket.setNoDelay(on);
  }

  setKeepAlive(on: boolean, initialDelayMs = 0): void {
    this.#socket.setKeepAlive(on, initialDelayMs);
  }

  ref(): void {
    this.#socket.ref();
  }

  unref(): void {
    this.#socket.unref();
  }

  // --- Deadlines -------------------------------------------------------------------------------------------------

  #arm(): void {
    const deadline = this.#nextDeadline();
    if (deadline !== 0) this.#armBy(deadline);
  }

  #armBy(deadline: number): void {
    if (this.timerAt === 0 || deadline < this.timerAt) this.#host.wheel.schedule(this, Math.max(1, deadline));
  }

  /** 0: none. Traffic only stamps; a deadline that has moved meanwhile is found out here when the earlier one is due. */
  #nextDeadline(): number {
    const stall = this.#stallDeadline();
    if (this.#state === 'connecting') return this.#connectDeadline;
    if (this.#state === 'closing') return earlier(stall, this.#lingerDeadline);
    if (this.#state === 'closed') return 0;
    return earlier(stall, earlier(this.#idleDeadline(), this.#partialDeadline()));
  }

  #idleDeadline(): number {
    const { idleTimeoutMs } = this.#options;
    return idleTimeoutMs === 0 || this.#paused || this.#held ? 0 : this.#lastActive + idleTimeoutMs;
  }

  #partialDeadline(): number {
    const { partialFrameTimeoutMs } = this.#options;
    if (partialFrameTimeoutMs === 0 || this.#partialLength === 0 || this.#paused || this.#held) return 0;
    const length = Math.max(this.#framer.frameBytes, this.#partialLength);
    return this.#partialSince + partialFrameTimeoutMs + Math.ceil((length * 1_000) / ENGINE_LIMITS.partialFrameMinRate);
  }

  #stallDeadline(): number {
    const { writeStallTimeoutMs } = this.#options;
    return writeStallTimeoutMs === 0 || this.#writing === 0 ? 0 : this.#lastProgress + writeStallTimeoutMs;
  }

  expired(now: number): void {
    if (this.#state === 'closed') return;
    if (this.#state === 'connecting') {
      if (isDue(this.#connectDeadline, now)) {
        this.abort('connect-timeout', `could not connect within ${this.#connectTimeoutMs} ms`);
      }
    } else if (isDue(this.#stallDeadline(), now)) this.#stalled();
    else if (this.#state === 'closing') {
      if (isDue(this.#lingerDeadline, now)) this.#socket.destroy();
    } else if (isDue(this.#partialDeadline(), now)) this.#partialTimedOut();
    else if (isDue(this.#idleDeadline(), now)) this.#idled(now);
    this.#arm();
  }

  /** A large write may be moving although it is not done. */
  #stalled(): void {
    const handle = (this.#socket as Socket & { _handle?: { writeQueueSize?: number } })._handle;
    const left = Math.min(this.#writing, handle?.writeQueueSize ?? this.#writing);
    if (left < this.#writing) {
      this.#taken(this.#writing - left);
      this.#writing = left;
      this.#lastProgress = this.#host.turn();
      return;
    }
    const waiting = this.bytesQueued - this.#handed;
    const { writeStallTimeoutMs } = this.#options;
    const message = `the peer took no bytes for writeStallTimeoutMs ${writeStallTimeoutMs}; ${waiting} waited`;
    this.abort('write-stalled', message);
  }

  #partialTimedOut(): void {
    const wanted = this.#framer.frameBytes > 0 ? ` of ${this.#framer.frameBytes}` : '';
    const message = `a frame stayed incomplete (${this.#partialLength}${wanted} bytes) past partialFrameTimeoutMs ${this.#options.partialFrameTimeoutMs}`;
    this.close('partial-frame-timeout', message);
  }

  #idled(now: number): void {
    let keeps = false;
    try {
      keeps = this.handler.idle?.(this) ?? false;
    } catch (error) {
      surface(error);
    }
    if (keeps) this.#lastActive = now;
    else this.close('idle-timeout', `nothing was received or sent for idleTimeoutMs ${this.#options.idleTimeoutMs}`);
  }
}

const NOTHING = new Uint8Array(0);
const RESET_CODES = new Set<string | undefined>(['ECONNRESET', 'EPIPE']);

function onData(this: Socket, chunk: Buffer): void {
  (this as OwnedSocket)[CONNECTION].received(chunk);
}

function onEnd(this: Socket): void {
  (this as OwnedSocket)[CONNECTION].peerEnded();
}

function onError(this: Socket, error: NodeJS.ErrnoException): void {
  (this as OwnedSocket)[CONNECTION].failed(error);
}

function onClose(this: Socket): void {
  (this as OwnedSocket)[CONNECTION].closedBySocket();
}

/** The earlier of two deadlines, where 0 is none. */
function earlier(a: number, b: number): number {
  if (a === 0) return b;
  return b === 0 ? a : Math.min(a, b);
}

function isDue(deadline: number, now: number): boolean {
  return deadline !== 0 && deadline <= now;
}

function maxFrameLengthOf(framing: ResolvedFraming): number {
  return framing.format === 'raw' ? 0 : framing.maxFrameLength;
}

function endsWithHold(framing: ResolvedFraming): boolean {
  return framing.format !== 'raw' && framing.hold;
}

/** As an uncaught exception, without stopping what stands behind the handler that threw. */
export function surface(error: unknown): void {
  process.nextTick(() => {
    throw error;
  });
}
