/** One connected client: owner of its tasks. What it says and hears in which form is its protocol's (rmp-session, ordered-session). */
import type { CloseInfo, Connection } from '../engine/engine.js';
import type { CloseReason } from '../engine/tables.gen.js';
import { limits } from '../limits.js';
import type { ListenerConfig, Log } from './options.js';
import { NO_PLACE } from './places.js';
import type { Relay } from './relay.js';
import type { TaskOwner } from './task-table.js';

/** What the sessions of one listener share. */
export interface SessionContext {
  readonly config: ListenerConfig;
  readonly relay: Relay;
  readonly log: Log;
  readonly counters: ClientCounters;
}

export interface ClientCounters {
  /** Connections closed because the client broke the protocol. */
  protocolErrors: number;
  /** Frames of unknown kinds that may be ignored, and known ones that mean nothing from a client. */
  ignoredFrames: number;
  /** Connections closed because a request failed and the protocol has no room for a status. */
  failuresClosed: number;
  /** Times reading from a client was stopped: it does not take its answers, or the queue is full. */
  pauses: number;
  /** Ended connections of clients and links, by reason. */
  readonly closeReasons: Map<CloseReason, number>;
}

/** Ends that an operator wants to see: what a client did wrong, but not that it left, was idle, or what is logged already. */
const IS_PEERS_FAULT: ReadonlySet<CloseReason> = new Set<CloseReason>([
  'frame-too-long',
  'bad-frame',
  'truncated-frame',
  'partial-frame-timeout',
  'write-stalled',
  'send-buffer-full',
  'memory-full',
  'response-buffer-full',
]);

/** No client takes longer frames. A small integer, so that the relay compares without touching the heap. */
export const NO_LIMIT = 0x7fff_ffff;

/** Why a client is not read. */
export const Pause = { congested: 1, queueFull: 2, pipelined: 4 } as const;

export abstract class Session implements TaskOwner {
  readonly number: number;
  readonly connection: Connection;
  /** Hash of the client's address, or its number where it has none, for consistent hashing. */
  readonly key: number;
  place = NO_PLACE;
  firstTask = -1;
  lastTask = -1;
  openTasks = 0;
  queuedTasks = 0;
  /** Gone, or sent away: nothing is read from it and nothing is answered. */
  left = false;
  answerBytes = NO_LIMIT;
  streams = 0;
  reservedBytes = 0;
  protected readonly context: SessionContext;
  /** The connection's buffer is above its high watermark. */
  protected congested = false;
  #pauses = 0;

  constructor(number: number, key: number, connection: Connection, context: SessionContext) {
    this.number = number;
    this.key = key;
    this.connection = connection;
    this.context = context;
  }

  abstract readonly refusesWhenFull: boolean;
  abstract frame(bytes: Uint8Array, start: number, end: number): void;
  abstract answer(slot: number, status: number, flags: number, bytes: Uint8Array, start: number, end: number): void;
  abstract partial(slot: number, flags: number, bytes: Uint8Array, start: number, end: number): Uint8Array | undefined;
  abstract refusal(slot: number, flags: number, bytes: Uint8Array, start: number, end: number): Uint8Array | undefined;
  abstract fail(slot: number, status: number, flags: number, sentence: Uint8Array): void;
  /** The client sent FIN. */
  abstract end(): void;
  abstract sayGoingAway(graceMs: number): void;

  get maxQueuedTasks(): number {
    return this.context.config.maxQueuedPerClient;
  }

  /** Half, so that partial responses twice as long as those before them still find room. */
  get streamBytes(): number {
    return this.context.config.maxStreamBufferedBytes / 2;
  }

  takes(_slot: number): number {
    return this.congested ? 0 : limits.streamWindow;
  }

  hold(_slot: number, _status: number, _flags: number, _bytes: Uint8Array, _start: number, _end: number): boolean {
    return false;
  }

  drained(): void {
    this.congested = false;
    this.resume(Pause.congested);
    this.context.relay.grants.grantAll(this);
  }

  queueFull(): void {}

  queueRoom(): void {
    if ((this.#pauses & Pause.queueFull) === 0 || this.left) return;
    if (this.queuedTasks * 2 <= this.maxQueuedTasks) this.resume(Pause.queueFull);
  }

  /** The connection has ended. */
  closed(info: CloseInfo): void {
    this.#leave();
    this.forget();
    const { closeReasons } = this.context.counters;
    closeReasons.set(info.reason, (closeReasons.get(info.reason) ?? 0) + 1);
    const { remoteAddress: client, remotePort: port } = this.connection;
    const level = IS_PEERS_FAULT.has(info.reason) ? 'warn' : 'debug';
    const { reason, message } = info;
    this.context.log(level, 'client.closed', { listener: this.context.config.name, client, port, reason, message });
  }

  /** It is over, and may be held on to for long: what it gathered for the client goes. */
  protected forget(): void {}

  /** Ends the connection; its tasks are cancelled. */
  dismiss(reason: CloseReason, message?: string): void {
    this.#leave();
    this.connection.close(reason, message);
  }

  protected violation(what: string): void {
    const { counters, config, log } = this.context;
    counters.protocolErrors++;
    const client = this.connection.remoteAddress;
    log('warn', 'client.protocol-error', { listener: config.name, client, what });
    this.dismiss('protocol-error', what);
  }

  /** Stops reading, for one more reason. */
  protected pause(why: number): void {
    if (this.#pauses === 0) {
      this.context.counters.pauses++;
      this.connection.pause();
    }
    this.#pauses |= why;
  }

  protected resume(why: number): void {
    if ((this.#pauses & why) === 0) return;
    this.#pauses &= ~why;
    if (this.#pauses === 0 && !this.left) this.connection.resume();
  }

  #leave(): void {
    if (this.left) return;
    this.left = true;
    this.context.relay.leave(this);
  }
}
