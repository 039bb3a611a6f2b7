/**
 * A connection of the portable engine: the life of one `net.Socket`, from connecting to closed, and its deadlines. What it
 * receives is its input's, what it sends its output's.
 */
import type { Socket } from 'node:net';
import { RingwayError } from '../errors.js';
import type { Framing } from '../framing/framing.js';
import { familyOf } from './address-family.js';
import { COUNTER_OF_REASON, closeInfo, closeMessage, type SystemError } from './close-info.js';
import type { ConnectionHost } from './connection-host.js';
import type { AddressFamily, Connection, Handler } from './engine.js';
import { PortableInput } from './portable-input.js';
import { PortableOutput } from './portable-output.js';
import type { ResolvedConnectionOptions } from './resolve-options.js';
import { surface } from './surface.js';
import { type CloseReason, ENGINE_LIMITS } from './tables.gen.js';
import type { Timed } from './timing-wheel.js';

type State = Connection['state'];

const RESET_CODES = new Set<string | undefined>(['ECONNRESET', 'EPIPE']);

const CONNECTION = Symbol('connection');
type OwnedSocket = Socket & { [CONNECTION]: PortableConnection };

export class PortableConnection implements Connection, Timed {
  context: unknown = undefined;
  remoteAddress = '';
  remotePort = 0;
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
  readonly #options: ResolvedConnectionOptions;
  readonly #input: PortableInput;
  readonly #output: PortableOutput;

  #state: State = 'connecting';
  /** It was open once. */
  #established = false;
  #connectDeadline = 0;
  #connectTimeoutMs = 0;
  #localAddress = '';
  #localPort = 0;
  #lastActive: number;

  #peerEnded = false;
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
    this.#input = new PortableInput(this, host, socket, options);
    this.#output = new PortableOutput(this, host, socket, options);
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
    return this.#output.bufferedAmount;
  }

  get bytesQueued(): number {
    return this.#output.bytesQueued;
  }

  // For its input and output:

  /** When something was last received or sent, in the wheel's time. */
  get lastActive(): number {
    return this.#lastActive;
  }

  get hasPeerEnded(): boolean {
    return this.#peerEnded;
  }

  /** Something was received or sent. @returns when */
  touch(): number {
    return (this.#lastActive = this.#host.turn());
  }

  /** At the end of the frames of one chunk: what was answered to them leaves while it is in the cache. */
  flushAnswers(): void {
    if (this.#output.bufferedAmount > 0 || this.#output.finAsked) this.#output.flush();
  }

  // --- Opening ---------------------------------------------------------------------------------------------------

  /** For an outgoing connection: it has so long to be established. */
  awaitConnect(timeoutMs: number): void {
    this.#connectTimeoutMs = timeoutMs;
    if (timeoutMs > 0) this.#connectDeadline = this.#host.turn() + timeoutMs;
    this.arm();
  }

  opened(): void {
    if (this.#state !== 'connecting') return;
    this.#state = 'open';
    this.#established = true;
    this.#connectDeadline = 0;
    this.#lastActive = this.#host.turn();
    this.arm();
    try {
      this.handler.open?.(this);
    } catch (error) {
      surface(error);
    }
    this.#output.flushLater();
  }

  // --- Receiving -------------------------------------------------------------------------------------------------

  received(chunk: Buffer): void {
    const { counts } = this.#host;
    this.touch();
    counts.bytes_received += chunk.length;
    this.bytesReceived += chunk.length;
    if (this.#state === 'open') this.#input.take(chunk);
    else this.#discard(chunk.length);
  }

  setFraming(framing: Framing): void {
    this.#input.setFraming(framing);
  }

  detach(): Promise<number> {
    const why = 'Node gives the descriptor of a socket to nobody; use the io_uring or epoll engine';
    return Promise.reject(new RingwayError('ERR_UNSUPPORTED', ['detach on the portable engine', why]));
  }

  #discard(bytes: number): void {
    if (this.#state !== 'closing') return;
    this.#host.counts.dropped_bytes_after_close += bytes;
    this.#lingeredBytes += bytes;
    if (this.#output.finSent && this.#lingeredBytes > ENGINE_LIMITS.lingerBytes) this.#socket.destroy();
  }

  /** FIN came. */
  peerEnded(): void {
    this.touch();
    this.#peerEnded = true;
    if (this.#state === 'closing') {
      if (this.#output.finSent) this.#socket.destroy();
      return;
    }
    if (this.#state !== 'open' || !this.#input.ended()) return;
    if (this.#reason === undefined && !this.#output.finAsked) this.#giveReason('peer-closed');
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

  pause(): void {
    this.#input.pause();
  }

  resume(): void {
    this.#input.resume();
  }

  // --- Sending ---------------------------------------------------------------------------------------------------

  send(...parts: Uint8Array[]): boolean {
    return this.#output.send(parts);
  }

  sendPinned(bytes: Uint8Array): boolean {
    return this.#output.sendPinned(bytes);
  }

  sendNow(header: Uint8Array, headerLength: number, bytes: Uint8Array, start: number, end: number): boolean {
    return this.#output.sendNow(header, headerLength, bytes, start, end);
  }

  sendFrame(header: Uint8Array, headerLength: number, bytes: Uint8Array, start: number, end: number): boolean {
    return this.#output.sendFrame(header, headerLength, bytes, start, end);
  }

  flush(): void {
    this.#output.flush();
  }

  // --- Ending ----------------------------------------------------------------------------------------------------

  shutdown(): void {
    if (!this.#output.maySend) return;
    if (!this.#peerEnded) this.#giveReason('closed');
    this.#output.askFin();
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
    this.#input.drop();
    this.#input.readToEnd();
    if (this.#output.finSent) this.linger();
    this.#output.askFin();
    this.arm();
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
    this.#output.write();
    this.#output.drop();
    this.#input.drop();
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
    this.#output.drop();
    this.#state = 'closing';
    this.#input.drop();
    // A unix socket has no reset, and a handle that is not connected nothing to reset.
    if (connecting || this.remotePort === 0) this.#socket.destroy();
    else this.#socket.resetAndDestroy();
  }

  #giveReason(reason: CloseReason, message?: string): void {
    if (this.#reason !== undefined) return;
    this.#reason = reason;
    this.#message = message ?? closeMessage(reason);
  }

  /** Our FIN is sent: the peer has so long to send its own. */
  linger(): void {
    this.#lingerDeadline = this.#host.turn() + ENGINE_LIMITS.lingerTimeoutMs;
    this.arm();
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
    this.#output.closed();
    this.#input.drop();
    this.#giveReason(this.#peerEnded ? 'peer-closed' : 'closed');
    this.#state = 'closed';
    host.wheel.cancel(this);
    host.counts.closed++;
    const counter = COUNTER_OF_REASON[this.#reason!];
    if (counter !== undefined) host.counts[counter]++;
    host.closed(this);
    try {
      this.handler.close?.(this, closeInfo(this.#reason!, this.#message, this.#error, this.#output.bytesHanded));
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

  arm(): void {
    const deadline = this.#nextDeadline();
    if (deadline !== 0) this.armBy(deadline);
  }

  armBy(deadline: number): void {
    if (this.timerAt === 0 || deadline < this.timerAt) this.#host.wheel.schedule(this, Math.max(1, deadline));
  }

  /** 0: none. Traffic only stamps; a deadline that has moved meanwhile is found out here when the earlier one is due. */
  #nextDeadline(): number {
    const stall = this.#output.stallDeadline();
    if (this.#state === 'connecting') return this.#connectDeadline;
    if (this.#state === 'closing') return earlier(stall, this.#lingerDeadline);
    if (this.#state === 'closed') return 0;
    return earlier(stall, earlier(this.#idleDeadline(), this.#input.partialDeadline()));
  }

  #idleDeadline(): number {
    const { idleTimeoutMs } = this.#options;
    return idleTimeoutMs === 0 || this.#input.isStopped ? 0 : this.#lastActive + idleTimeoutMs;
  }

  expired(now: number): void {
    if (this.#state === 'closed') return;
    if (this.#state === 'connecting') {
      if (isDue(this.#connectDeadline, now)) {
        this.abort('connect-timeout', `could not connect within ${this.#connectTimeoutMs} ms`);
      }
    } else if (isDue(this.#output.stallDeadline(), now)) this.#output.stalled();
    else if (this.#state === 'closing') {
      if (isDue(this.#lingerDeadline, now)) this.#socket.destroy();
    } else if (isDue(this.#input.partialDeadline(), now)) this.#input.partialTimedOut();
    else if (isDue(this.#idleDeadline(), now)) this.#idled(now);
    this.arm();
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
