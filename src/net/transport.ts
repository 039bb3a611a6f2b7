/**
 * What a socket stands on: one connection of the engine, as Node's own sockets stand on a handle. It ends with the socket's
 * destruction; a socket that connects again gets another.
 */
import { AsyncResource } from 'node:async_hooks';
import type { CloseInfo, Connection, ConnectOptions, Engine } from '../engine/engine.js';
import { systemError } from './errors.js';
import { HeldInput } from './held-input.js';
import { CUT_OFF, DRAINED, ENDED, FINISHED, type Inbox, type Notice, OPENED, type Scope } from './inbox.js';
import type { SocketMethods } from './socket.js';
import { socketEvents } from './socket-events.js';

/** From here on a write is not copied but given to the kernel in the same call, as Node does it. */
const PINNED_BYTES = 16 * 1024;
/** Of shorter writes, which leave together at the end of the turn, so many bytes may wait. */
export const GATHERED_BYTES = 64 * 1024;
/** What the engine takes at once: it counts what the kernel took by 32 bits. */
const LARGEST_PART_BYTES = 1024 * 1024 * 1024;

/** Waits for an outgoing connection. */
export interface Attempt {
  opened(): void;
  failed(info: CloseInfo): void;
  /** The socket was destroyed meanwhile; told before its `'close'`. */
  cancelled?(): void;
}

type Done = (error?: Error | null) => void;

/** What only a transport that connects has. */
interface Outgoing {
  readonly isPipe: boolean;
  attempt: Attempt | undefined;
  /** The kernel takes one more connect(2) on a socket that was connected by one. */
  mayConnectAgain: boolean;
}

/** A write of which the kernel has not taken everything. */
interface PendingWrite {
  /** What the engine has not got yet: from `next` on. */
  readonly parts: readonly Uint8Array[];
  readonly next: number;
  readonly done: Done;
}

/** What waits until the kernel has taken it. */
interface Unsent {
  write: PendingWrite | undefined;
  /** Of the FIN behind all writes. */
  finish: Done | undefined;
}

/** Since Node 22 a write that the socket's end cuts short fails; before that it is said to be done. */
const TELLS_CANCELLED = Number(process.versions.node.split('.')[0]) >= 22;

/**
 * Until 1.51 libuv asks a connection that has hung up for no more than a first short read, and calls that an end; from 1.52 on
 * (Node 24) it reads the reset.
 */
const CALLS_HANGUP_END = Number(process.versions.uv.split('.')[1]) < 52;

const NO_PARTS: readonly Uint8Array[] = [];
const NO_HEADER = new Uint8Array(0);

export class Transport extends AsyncResource implements Scope {
  /** Its index among the arrivals of the turn, or −1. */
  arrival = -1;
  /** Whether what arrives goes to the socket. */
  reading = false;
  bytesRead = 0;
  connection: Connection | undefined;
  readonly #socket: SocketMethods;
  /** The engine reads, or was asked not to; the socket was told of the peer's end; it hears of nothing any more. */
  #input: 'flowing' | 'paused' | 'ended' | 'closed' = 'flowing';
  #held: HeldInput | undefined = undefined;
  readonly #outgoing: Outgoing | undefined;
  /** Made for the first that waits, and kept. */
  #unsent: Unsent | undefined = undefined;
  /** The connection is gone by an error of which the socket has not heard as one: what it writes does. */
  #broken: CloseInfo | undefined = undefined;
  #referenced = true;

  /** @param connection Undefined: `connect` makes one. */
  constructor(socket: SocketMethods, isPipe: boolean, connection?: Connection) {
    super(isPipe ? 'PIPEWRAP' : 'TCPWRAP', { requireManualDestroy: true });
    this.#socket = socket;
    this.connection = connection;
    if (connection === undefined) this.#outgoing = { isPipe, attempt: undefined, mayConnectAgain: false };
    else connection.context = this;
  }

  /** A descriptor that was taken over is thought to be TCP's until the connection is open and knows. */
  get isPipe(): boolean {
    if (this.#outgoing !== undefined) return this.#outgoing.isPipe;
    return this.connection?.state !== 'connecting' && this.connection?.remoteFamily === 'unix';
  }

  get isClosed(): boolean {
    return this.#input === 'closed';
  }

  /** A failure arrives as `failed`, never in this call. */
  connect(engine: Engine, inbox: Inbox, options: ConnectOptions, attempt: Attempt): void {
    const outgoing = this.#outgoing;
    if (this.connection !== undefined || outgoing === undefined) {
      this.#connectAgain(attempt);
      return;
    }
    outgoing.attempt = attempt;
    outgoing.mayConnectAgain = !outgoing.isPipe;
    let connection: Connection;
    try {
      connection = engine.connect(options, inbox);
    } catch {
      // What no engine of ours takes (port 0, a path that is too long): the kernel would have said this.
      const errorCode = options.port === 0 ? 'ECONNREFUSED' : 'EINVAL';
      const info: CloseInfo = { reason: 'connect-failed', message: '', errorCode, bytesHandedToKernel: 0 };
      setImmediate(() => this.take(info));
      return;
    }
    connection.context = this;
    this.connection = connection;
    if (!this.#referenced) connection.unref();
  }

  /** What connect(2) answers where a connection is, or is on its way: a failure arrives in this call. */
  #connectAgain(attempt: Attempt): void {
    const outgoing = this.#outgoing;
    const isConnecting = outgoing?.attempt !== undefined && !outgoing.isPipe;
    if (isConnecting || !outgoing?.mayConnectAgain) {
      const errorCode = isConnecting ? 'EALREADY' : 'EISCONN';
      attempt.failed({ reason: 'connect-failed', message: '', errorCode, bytesHandedToKernel: 0 });
      return;
    }
    outgoing.mayConnectAgain = false;
    outgoing.attempt = attempt;
    setImmediate(() => this.take(OPENED));
  }

  /** It connects, or is about to be told that it has. */
  get attempt(): Attempt | undefined {
    return this.#outgoing?.attempt;
  }

  /** The attempt is over; its owner hears of it from who calls this. */
  takeAttempt(): Attempt | undefined {
    const { attempt } = this;
    if (this.#outgoing !== undefined) this.#outgoing.attempt = undefined;
    return attempt;
  }

  /** The attempt is given up; another `connect` may follow. */
  abandon(): void {
    const { connection } = this;
    this.connection = undefined;
    this.takeAttempt();
    if (connection === undefined) return;
    connection.context = undefined;
    connection.abort();
  }

  /** Of all writes, whole. */
  get bytesWritten(): number {
    return (this.connection?.bytesQueued ?? 0) + this.#restBytes;
  }

  /** Bytes that the kernel has not taken. */
  get writeQueueSize(): number {
    return (this.connection?.bufferedAmount ?? 0) + this.#restBytes;
  }

  get #restBytes(): number {
    const write = this.#unsent?.write;
    if (write === undefined) return 0;
    const { parts, next } = write;
    let bytes = 0;
    for (let i = next; i < parts.length; i++) bytes += parts[i].length;
    return bytes;
  }

  ref(): void {
    this.#referenced = true;
    this.holdLoop();
  }

  unref(): void {
    this.#referenced = false;
    this.holdLoop();
  }

  /**
   * A handle of Node's keeps the process alive only while it reads, writes or connects. To be called when any of these may
   * have begun or ended.
   */
  holdLoop(): void {
    const { connection } = this;
    if (connection === undefined) return;
    const isReading = this.reading && this.#input !== 'ended';
    const holds = isReading || this.isWriting || this.attempt !== undefined || this.#unsent?.finish !== undefined;
    if (this.#referenced && (holds || this.#hasUnsent(connection))) connection.ref();
    else connection.unref();
  }

  /** Writes that were called done are still with the engine: it will say when they are gone, since its low watermark is 0. */
  #hasUnsent(connection: Connection): boolean {
    if (connection.bufferedAmount === 0) return false;
    connection.wantDrain?.();
    return true;
  }

  hasRef(): boolean {
    return this.#referenced && !this.isClosed;
  }

  // --- reading

  startReading(): void {
    if (this.reading) return;
    this.reading = true;
    this.holdLoop();
    this.#deliver();
  }

  /** Also before anybody read: without it the engine reads on, for a reader that may never come. */
  stopReading(): void {
    this.reading = false;
    if (this.#input === 'flowing') {
      this.#input = 'paused';
      this.connection?.pause();
    }
    this.holdLoop();
  }

  /** What was held, then on with reading. */
  #deliver(): void {
    while (this.reading) {
      const chunk = this.#held?.chunks.shift();
      if (chunk === undefined) break;
      this.#pushHeld(chunk);
    }
    if (!this.reading) return;
    const held = this.#held;
    this.#held = undefined;
    if (held?.failure !== undefined) {
      socketEvents.failed(this.#socket, this, held.failure);
    } else if (held?.end) {
      this.#tellEnd();
    } else if (this.#input === 'paused') {
      this.#input = 'flowing';
      this.connection?.resume();
    }
  }

  /** A listener that throws leaves `#deliver`; what it had still to do is done all the same. */
  #pushHeld(chunk: Buffer): void {
    let returned = false;
    try {
      this.#push(chunk);
      returned = true;
    } finally {
      if (!returned && this.reading) this.#deliverSoon(this.#hold());
    }
  }

  #hold(): HeldInput {
    this.#held ??= new HeldInput();
    return this.#held;
  }

  #deliverSoon(held: HeldInput): void {
    if (held.isDue) return;
    held.isDue = true;
    setImmediate(() => {
      held.isDue = false;
      this.runInAsyncScope(this.#deliver, this);
    });
  }

  #push(chunk: Buffer): void {
    this.bytesRead += chunk.length;
    const answer = socketEvents.data(this.#socket, chunk, this);
    if (answer === true) return;
    if (answer !== false) this.putBack(answer);
    this.stopReading();
  }

  /** The rest of a chunk that is being pushed: it comes first when reading goes on. */
  putBack(rest: Buffer): void {
    if (rest.length === 0 || this.isClosed) return;
    this.bytesRead -= rest.length;
    const held = this.#hold();
    held.chunks.unshift(rest);
    if (this.reading) this.#deliverSoon(held);
  }

  // What Node's own modules call on a socket's `_handle`: `http.Server` stops and starts the reading of bodies so, and says
  // in `reading` what it is about to do.

  readStart(): void {
    this.reading = false;
    this.startReading();
  }

  readStop(): void {
    this.stopReading();
  }

  /** For http's agent, which tells what ran under the request that has left a socket from what runs under the next. */
  getAsyncId(): number {
    return this.asyncId();
  }

  // --- writing

  /** A write waits for the kernel. */
  get isWriting(): boolean {
    return this.#unsent?.write !== undefined;
  }

  /** `done` is called when the bytes may change: in this call where the kernel took them or they were copied. */
  write(bytes: Uint8Array, done: Done): void {
    if (this.#broken !== undefined) {
      done(writeError(this.#broken));
    } else if (bytes.length > LARGEST_PART_BYTES) {
      if (this.#sendAll(partsOf(bytes), 0, done)) done();
    } else if (this.#send(bytes)) {
      done();
    } else {
      this.#wait().write = { parts: NO_PARTS, next: 0, done };
    }
  }

  /** The parts one after another, as one write. */
  writeAll(parts: readonly Uint8Array[], done: Done): void {
    if (this.#broken !== undefined) done(writeError(this.#broken));
    else if (this.#sendAll(parts, 0, done)) done();
  }

  /** False where the write is pending. */
  #sendAll(parts: readonly Uint8Array[], from: number, done: Done): boolean {
    for (let i = from; i < parts.length; i++) {
      if (this.#send(parts[i])) continue;
      this.#wait().write = { parts, next: i + 1, done };
      return false;
    }
    return true;
  }

  /** True: the bytes may change, and more may be sent. Otherwise both when the engine has drained. */
  #send(bytes: Uint8Array): boolean {
    const { connection } = this;
    const { length } = bytes;
    if (connection === undefined) return false;
    if (length < PINNED_BYTES && connection.bufferedAmount + length <= GATHERED_BYTES) {
      return connection.sendFrame(NO_HEADER, 0, bytes, 0, length);
    }
    return connection.sendPinned(bytes);
  }

  #wait(): Unsent {
    this.#unsent ??= { write: undefined, finish: undefined };
    return this.#unsent;
  }

  #releaseWrite(): PendingWrite | undefined {
    const write = this.#unsent?.write;
    if (this.#unsent !== undefined) this.#unsent.write = undefined;
    return write;
  }

  #releaseFinish(): Done | undefined {
    const finish = this.#unsent?.finish;
    if (this.#unsent !== undefined) this.#unsent.finish = undefined;
    return finish;
  }

  #drained(): void {
    const write = this.#releaseWrite();
    if (write === undefined) return;
    if (!this.#sendAll(write.parts, write.next, write.done)) return;
    socketEvents.active(this.#socket);
    write.done(null);
  }

  /** FIN after everything that was written; `done` is called when it left. */
  shutdown(done: Done): void {
    this.#wait().finish = done;
    if (this.#broken === undefined) this.connection?.shutdown();
    else setImmediate(() => this.take(FINISHED));
    this.holdLoop();
  }

  // --- the end

  /** Never again calls the socket, but `closed`, once, soon. */
  close(closed: () => void): void {
    this.#end();
    this.connection?.destroy();
    this.#afterImmediates(closed);
  }

  /** The same with a reset. */
  reset(closed: () => void): void {
    this.#end();
    this.connection?.reset();
    this.#afterImmediates(closed);
  }

  #end(): void {
    this.#input = 'closed';
    this.reading = false;
    this.#held = undefined;
  }

  /** The engine closed it: what waits for a write hears why. False where nobody waits for one. */
  failWrite(error: Error): boolean {
    const write = this.#releaseWrite();
    if (write === undefined) return false;
    write.done(error);
    return true;
  }

  #afterImmediates(closed: () => void): void {
    const write = this.#releaseWrite();
    const finish = this.#releaseFinish();
    setImmediate(() => {
      write?.done(TELLS_CANCELLED ? systemError('ECANCELED', 'write') : null);
      finish?.(null);
      this.runInAsyncScope(closed);
      this.emitDestroy();
    });
  }

  // --- from the engine

  take(notice: Notice): void {
    if (!this.isClosed) this.runInAsyncScope(this.#take, this, notice);
  }

  #take(notice: Notice): void {
    if (Buffer.isBuffer(notice)) this.#takeChunk(notice);
    else if (notice === DRAINED) this.#takeDrain();
    else if (notice === ENDED) this.#takeEnd();
    else if (notice === CUT_OFF) this.#takeCutOff();
    else if (notice === FINISHED) this.#takeFinish();
    else if (notice === OPENED) this.takeAttempt()?.opened();
    else if (typeof notice === 'object') this.#takeClose(notice);
  }

  #takeChunk(chunk: Buffer): void {
    socketEvents.active(this.#socket);
    if (this.reading && this.#held === undefined) {
      this.#push(chunk);
    } else {
      this.#hold().chunks.push(chunk);
    }
  }

  #takeEnd(): void {
    socketEvents.active(this.#socket);
    if (this.reading && this.#held === undefined) this.#tellEnd();
    else this.#hold().end = true;
  }

  #tellEnd(): void {
    this.#input = 'ended';
    this.holdLoop();
    socketEvents.ended(this.#socket);
  }

  #takeDrain(): void {
    this.#drained();
    if (!this.isClosed) this.holdLoop();
  }

  #takeClose(info: CloseInfo): void {
    // Both directions are over; the socket is destroyed when its user has read everything.
    const isOver = info.reason === 'closed' || info.reason === 'peer-closed';
    if (isOver && info.errorCode === undefined) this.#takeFinish();
    else if (info.syscall === 'read' && this.attempt === undefined && this.#isFoundLater(info)) this.#takeUnread(info);
    else socketEvents.failed(this.#socket, this, info);
  }

  /** By another read, or by a write that waits: libuv writes before it reads again. */
  #isFoundLater({ isBehindBytes = false }: CloseInfo): boolean {
    return this.#isUnread || (isBehindBytes && this.isWriting);
  }

  /** Nobody asked for what reading would find now. */
  get #isUnread(): boolean {
    return this.#input === 'ended' || !this.reading || this.#held !== undefined;
  }

  /** Bytes and a reset behind them. */
  #takeCutOff(): void {
    if (CALLS_HANGUP_END && !this.#isUnread) this.#takeEnd();
  }

  /** A failure is found by who reads, or writes. */
  #takeUnread(info: CloseInfo): void {
    this.#broken = info;
    if (this.#input !== 'ended') this.#hold().failure = info;
    if (this.isWriting) socketEvents.failed(this.#socket, this, { ...info, syscall: 'write' });
    else this.#takeFinish();
  }

  #takeFinish(): void {
    const finish = this.#releaseFinish();
    this.holdLoop();
    finish?.(null);
  }
}

function writeError({ errorCode = 'ECONNABORTED' }: CloseInfo): Error {
  return systemError(errorCode, 'write');
}

/** Of one that is longer than the engine takes. */
function partsOf(bytes: Uint8Array): Uint8Array[] {
  const parts: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += LARGEST_PART_BYTES) parts.push(bytes.subarray(at, at + LARGEST_PART_BYTES));
  return parts;
}
