/** A connection between the gateway and a simulated peer: frames, counted in bytes, without the bytes of those that left. */
import type { CloseInfo, Connection, ConnectionOptions, Handler } from '../../src/engine/engine.js';
import { type CloseReason, ENGINE_LIMITS } from '../../src/engine/tables.gen.js';
import type { SimulatedEngine } from './engine.js';

/** A frame that the gateway sent, as the witness understood it. */
export interface Sent {
  readonly kind: number;
  readonly flags: number;
  readonly route: number;
  readonly id: number;
  readonly arg: number;
  /** -1 where the frame belongs to none. */
  readonly task: number;
  /** Of what follows header and meta. */
  readonly bodyBytes: number;
}

/** The other end. Is called from the engine's turn, and answers by `SimulatedConnection.push`. */
export interface Peer {
  opened(): void;
  take(sent: Sent): void;
  /** No more comes: FIN, or reset. */
  over(reset: boolean): void;
}

export type PeerEvent =
  | { readonly kind: 'open' | 'refuse' | 'fin' | 'rst' }
  | { readonly kind: 'frame'; readonly bytes: Uint8Array }
  | { readonly kind: 'fault'; readonly reason: CloseReason };

interface Ending {
  readonly reason: CloseReason;
  readonly message: string;
  readonly reset: boolean;
}

/** Share of the turns in which what the kernel took is known to JavaScript. */
const PUBLISHED = 0.7;

export class SimulatedConnection implements Connection {
  context: unknown;
  readonly id: number;
  state: 'connecting' | 'open' | 'closing' | 'closed' = 'connecting';
  readonly remoteAddress: string;
  readonly remotePort = 1;
  readonly remoteFamily = 'IPv4';
  readonly localAddress = '127.0.0.1';
  readonly localPort = 2;
  readonly localFamily = 'IPv4';
  bytesReceived = 0;
  readonly handler: Handler;
  readonly options: ConnectionOptions;
  /** Whoever knows more of it: the witness's own record. */
  record: unknown;
  peer: Peer;
  /** The peer takes no bytes. */
  stalled = false;
  /** Bytes the peer takes per turn at most. */
  takesPerTurn = Infinity;
  /** The peer neither accepts nor refuses. */
  blackhole = false;
  paused = false;
  /** Frames delivered since reading was stopped: they had been read before. */
  deliveredWhilePaused = 0;
  bytesQueued = 0;
  /** Of them, those the kernel took. */
  bytesTaken = 0;
  lastActiveMs: number;
  lastTakenMs: number;
  readonly openedMs: number;

  readonly #engine: SimulatedEngine;
  #events: PeerEvent[] = [];
  #sent: (Sent | undefined)[] = [];
  #ends: number[] = [];
  #bytesPublished = 0;
  #needsDrain = false;
  #finQueued = false;
  #finSent = false;
  #ending: Ending | undefined;
  #endingSinceMs = 0;

  constructor(
    engine: SimulatedEngine,
    id: number,
    options: ConnectionOptions,
    handler: Handler,
    address: string,
    peer: Peer,
  ) {
    this.#engine = engine;
    this.id = id;
    this.options = options;
    this.handler = handler;
    this.remoteAddress = address;
    this.peer = peer;
    this.lastActiveMs = this.lastTakenMs = this.openedMs = engine.now();
  }

  // The gateway's side.

  get bufferedAmount(): number {
    return this.bytesQueued - this.#bytesPublished;
  }

  send(...parts: Uint8Array[]): boolean {
    for (const part of parts) this.sendFrame(part, part.length, part, 0, 0);
    return this.#belowMark();
  }

  setFraming(): void {
    throw new Error('a simulated connection has one framing');
  }

  detach(): Promise<number> {
    return Promise.reject(new Error('a simulated connection has no descriptor'));
  }

  sendPinned(bytes: Uint8Array): boolean {
    return this.send(bytes);
  }

  sendNow(header: Uint8Array, headerLength: number, bytes: Uint8Array, start: number, end: number): boolean {
    return this.sendFrame(header, headerLength, bytes, start, end);
  }

  sendFrame(header: Uint8Array, headerLength: number, bytes: Uint8Array, start: number, end: number): boolean {
    const queued = this.state === 'open' && !this.#finQueued;
    const sent = this.#engine.witness.said(this, queued, header, headerLength, bytes, start, end);
    if (!queued) return false;
    this.bytesQueued += headerLength + end - start;
    if (this.bytesQueued - this.bytesTaken > (this.options.maxBufferedBytes ?? ENGINE_LIMITS.maxBufferedBytes)) {
      this.fail('send-buffer-full');
    }
    this.#sent.push(sent);
    this.#ends.push(this.bytesQueued);
    return this.#belowMark();
  }

  pause(): void {
    this.#engine.witness.reading(this, false);
    this.paused = true;
    this.deliveredWhilePaused = 0;
  }

  resume(): void {
    this.#engine.witness.reading(this, true);
    this.paused = false;
  }

  shutdown(): void {
    this.#finQueued = true;
  }

  close(reason: CloseReason = 'closed', message = ''): void {
    this.#engine.witness.closing(this, reason);
    this.#end(reason, message, false, true);
  }

  abort(reason: CloseReason = 'aborted', message = ''): void {
    this.#engine.witness.closing(this, reason);
    this.#end(reason, message, true, true);
  }

  destroy(reason: CloseReason = 'closed', message = ''): void {
    this.abort(reason, message);
  }

  reset(reason: CloseReason = 'aborted', message = ''): void {
    this.abort(reason, message);
  }

  setNoDelay(): void {}
  setKeepAlive(): void {}
  ref(): void {}
  unref(): void {}

  // The peer's side.

  push(event: PeerEvent): void {
    if (this.state !== 'closed') this.#events.push(event);
  }

  /** What the peer sent and the gateway has not read. */
  get unread(): number {
    return this.#events.length;
  }

  // The engine's side.

  fail(reason: CloseReason, message = ''): void {
    if (this.state !== 'closed') this.#end(reason, message, true);
  }

  /** Gives bytes to the peer. Answers whether anything happened. */
  flush(): boolean {
    if (this.state === 'closed' || this.#ending?.reset) return false;
    let moved = this.#take();
    if (this.#bytesPublished !== this.bytesTaken) {
      moved = true;
      if (this.#engine.random.chance(PUBLISHED)) this.#bytesPublished = this.bytesTaken;
    }
    if (this.#finQueued && !this.#finSent && this.bytesTaken === this.bytesQueued) {
      this.#finSent = true;
      this.peer.over(false);
    }
    const low = this.options.lowWaterMark ?? this.#highWaterMark >> 1;
    if (this.#needsDrain && this.state === 'open' && this.bytesQueued - this.bytesTaken <= low) {
      this.#needsDrain = false;
      this.handler.drain?.(this);
    }
    return moved;
  }

  /** Tells the gateway what happened here. Answers whether anything did. */
  deliver(): boolean {
    if (this.state === 'closed') return false;
    if (this.#ending !== undefined) return this.#linger(this.#ending);
    let left = Math.min(this.#events.length, this.#engine.credit());
    const moved = left > 0 && !this.#waits(this.#events[0]);
    // Reading may be stopped from within: what was read with it in one go still comes.
    if (moved) for (; left > 0 && this.#ending === undefined; left--) this.#handle(this.#events.shift()!);
    return moved;
  }

  sweep(nowMs: number): void {
    if (this.#ending !== undefined || this.state === 'closed') return;
    if (this.state === 'connecting') {
      const { connectTimeoutMs } = this.options as { connectTimeoutMs?: number };
      if (connectTimeoutMs !== undefined && nowMs - this.openedMs >= connectTimeoutMs) this.fail('connect-timeout');
      return;
    }
    const stallMs = this.options.writeStallTimeoutMs ?? ENGINE_LIMITS.writeStallTimeoutMs;
    if (this.bytesQueued === this.bytesTaken) this.lastTakenMs = nowMs;
    else if (stallMs > 0 && nowMs - this.lastTakenMs >= stallMs) this.fail('write-stalled');
    this.#sweepIdle(nowMs);
  }

  #sweepIdle(nowMs: number): void {
    const idleMs = this.options.idleTimeoutMs ?? ENGINE_LIMITS.idleTimeoutMs;
    if (idleMs === 0 || nowMs - this.lastActiveMs < idleMs || this.#ending !== undefined) return;
    if (this.handler.idle?.(this)) this.lastActiveMs = nowMs;
    else this.#end('idle-timeout', '', false);
  }

  get #highWaterMark(): number {
    return this.options.highWaterMark ?? this.#engine.highWaterMark;
  }

  #belowMark(): boolean {
    if (this.state !== 'open') return false;
    if (this.bytesQueued - this.bytesTaken <= this.#highWaterMark) return true;
    this.#needsDrain = true;
    return false;
  }

  #take(): boolean {
    const waiting = this.bytesQueued - this.bytesTaken;
    if (this.stalled || waiting === 0) return false;
    this.bytesTaken += Math.min(waiting, this.takesPerTurn);
    this.lastActiveMs = this.lastTakenMs = this.#engine.now();
    let whole = 0;
    while (whole < this.#ends.length && this.#ends[whole] <= this.bytesTaken) whole++;
    if (whole === 0) return true;
    this.#ends.splice(0, whole);
    for (const sent of this.#sent.splice(0, whole)) if (sent !== undefined) this.peer.take(sent);
    return true;
  }

  #waits(event: PeerEvent): boolean {
    if (event.kind === 'open') return this.blackhole;
    return this.paused && event.kind !== 'rst';
  }

  #handle(event: PeerEvent): void {
    const { witness } = this.#engine;
    switch (event.kind) {
      case 'open':
        this.state = 'open';
        witness.opened(this);
        this.peer.opened();
        this.handler.open?.(this);
        break;
      case 'frame':
        this.lastActiveMs = this.#engine.now();
        this.bytesReceived += event.bytes.length;
        if (this.paused) this.deliveredWhilePaused++;
        this.#engine.deliver(this, event.bytes);
        break;
      case 'fin':
        witness.ended(this);
        if (this.handler.end === undefined) this.close('peer-closed');
        else this.handler.end(this);
        break;
      case 'refuse':
        this.#end('connect-failed', 'refused', true);
        break;
      case 'rst':
        this.#end('peer-reset', 'reset', true);
        break;
      case 'fault':
        this.#end(event.reason, 'a fault of the peer', true);
    }
  }

  #end(reason: CloseReason, message: string, reset: boolean, byGateway = false): void {
    if (byGateway && this.state === 'open') this.state = 'closing';
    if (this.state === 'closed' || this.#ending?.reset || (this.#ending !== undefined && !reset)) return;
    this.#ending = { reason, message, reset };
    this.#endingSinceMs = this.#engine.now();
    // What happened to the socket is known to the reactor before it is to JavaScript, which goes on sending.
    const unnoticed = reset && !byGateway && this.#engine.random.chance(0.5);
    if (this.state === 'open' && !unnoticed) this.state = 'closing';
  }

  /** Closing sends what is queued, for a while. */
  #linger({ reason, message, reset }: Ending): boolean {
    const unsent = this.bytesQueued > this.bytesTaken;
    if (!reset && unsent && this.#engine.now() - this.#endingSinceMs < ENGINE_LIMITS.lingerTimeoutMs) return false;
    this.state = 'closed';
    this.#events = [];
    const info: CloseInfo = { reason, message, bytesHandedToKernel: this.bytesTaken };
    this.#engine.forget(this);
    this.#engine.witness.closed(this, info);
    this.peer.over(reset);
    this.handler.close?.(this, info);
    return true;
  }
}
