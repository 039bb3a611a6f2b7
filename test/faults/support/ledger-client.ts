/** A client over node:net that writes every request and every outcome into a ledger. It speaks rmp, or plain with errorReply text. */
import { connect, type Socket } from 'node:net';
import { Flag, HEADER_BYTES, Kind, readU32, writeHeader, writeU32 } from '../../../src/protocol/rmp.js';
import { FrameReader } from './frame-reader.js';
import type { Latencies } from './latencies.js';
import type { Ledger } from './ledger.js';

export interface LedgerClientOptions {
  readonly port: number;
  /** A unix socket instead of the port. */
  readonly path?: string;
  readonly ledger: Ledger;
  /** Default `rmp`. */
  readonly protocol?: 'rmp' | 'plain';
  /** rmp. Default 0. */
  readonly route?: number;
  /** rmp: may be executed twice. */
  readonly idempotent?: boolean;
  /** rmp. Default 0: the pool's. */
  readonly budgetMs?: number;
  readonly latencies?: Latencies;
}

/** The id and its client, in front of each payload. */
export const STAMP_BYTES = 8;
const PLAIN_HEADER_BYTES = 4;
let clients = 0;

export class LedgerClient {
  readonly socket: Socket;
  /** The gateway said that it is going away: a good client sends nothing new. */
  goingAway = false;
  /** Both halves are closed, and what was open is written down as cut. */
  ended = false;
  readonly #options: LedgerClientOptions;
  readonly #number = ++clients;
  /** Ids without an outcome in the order they were sent, each with the length of its payload. */
  readonly #open = new Map<number, number>();
  readonly #reader: FrameReader;
  /** Told once when nothing is open any more. */
  #onIdle: (() => void) | undefined;

  private constructor(socket: Socket, options: LedgerClientOptions) {
    this.socket = socket;
    this.#options = options;
    this.#reader = new FrameReader((frame) => this.#frame(frame));
    socket.on('data', (bytes) => this.#reader.push(bytes));
    socket.on('error', () => {});
    socket.on('end', () => socket.end());
    socket.once('close', () => {
      this.ended = true;
      for (const id of this.#open.keys()) options.ledger.cut(id);
      this.#open.clear();
      this.#settled();
    });
  }

  static async connect(options: LedgerClientOptions): Promise<LedgerClient> {
    const { path, port } = options;
    const socket = connect(path === undefined ? { host: '127.0.0.1', port, noDelay: true } : { path });
    await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
    return new LedgerClient(socket, options);
  }

  /** Requests without an outcome. */
  get open(): number {
    return this.#open.size;
  }

  get usable(): boolean {
    return !this.ended && !this.goingAway && this.socket.writable;
  }

  /** @param atMs when it had to be sent: latency counts from there, also where the sender was late */
  request(payloadBytes = 64, atMs = performance.now()): void {
    const { ledger, protocol = 'rmp', idempotent = false } = this.#options;
    const length = Math.max(STAMP_BYTES, payloadBytes);
    const id = ledger.begin(this.#number, idempotent, atMs);
    const header = protocol === 'rmp' ? HEADER_BYTES : PLAIN_HEADER_BYTES;
    const frame = Buffer.allocUnsafe(header + length);
    if (protocol === 'plain') writeU32(frame, 0, length);
    else {
      const { route = 0, budgetMs = 0 } = this.#options;
      writeHeader(frame, length, Kind.request, idempotent ? Flag.idempotent : 0, route, id, budgetMs);
    }
    this.#stamp(frame, header, id);
    this.#open.set(id, length);
    this.socket.write(frame);
  }

  /** One request after the other until then. */
  async keepAsking(endMs: number): Promise<void> {
    while (performance.now() < endMs && this.usable) {
      this.request();
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
      });
    }
  }

  /** Sends FIN after what was written. */
  leave(): void {
    this.socket.end();
  }

  reset(): void {
    this.socket.resetAndDestroy();
  }

  destroy(): void {
    this.socket.destroy();
  }

  #stamp(frame: Buffer, at: number, id: number): void {
    writeU32(frame, at, id);
    writeU32(frame, at + 4, this.#number);
    frame.fill(id & 0xff, at + STAMP_BYTES);
  }

  #frame(frame: Buffer): void {
    if (this.#options.protocol === 'plain') this.#plainAnswer(frame.subarray(PLAIN_HEADER_BYTES));
    else if (frame[4] === Kind.response) this.#rmpAnswer(frame);
    else if (frame[4] === Kind.goingAway) this.goingAway = true;
    if (this.#onIdle !== undefined) this.#settled();
  }

  #settled(): void {
    if (this.#open.size > 0) return;
    const onIdle = this.#onIdle;
    this.#onIdle = undefined;
    onIdle?.();
  }

  #rmpAnswer(frame: Buffer): void {
    const { ledger } = this.#options;
    const id = readU32(frame, 8);
    const status = readU32(frame, 12);
    if (status === 0) this.#answered(id, frame.subarray(HEADER_BYTES));
    else ledger.fail(id, this.#number, status, (frame[5] & Flag.notExecuted) !== 0);
    this.#open.delete(id);
  }

  /** Answers come in order: this one is the oldest request's. */
  #plainAnswer(payload: Buffer): void {
    const { ledger } = this.#options;
    const [id = 0] = this.#open.keys();
    const error = /^ERR ([A-Z_]+) /.exec(payload.subarray(0, 32).toString('latin1'));
    if (error !== null) ledger.failNamed(id, this.#number, error[1], false);
    else this.#answered(id, payload);
    this.#open.delete(id);
  }

  #answered(id: number, payload: Buffer): void {
    const { ledger, latencies } = this.#options;
    if (ledger.answer(id, this.#number, this.#isEcho(id, payload))) {
      latencies?.record(performance.now() - ledger.sentAtMs(id));
    }
  }

  #isEcho(id: number, payload: Buffer): boolean {
    if (payload.length !== this.#open.get(id)) return false;
    if (readU32(payload, 0) !== id || readU32(payload, 4) !== this.#number) return false;
    const filler = id & 0xff;
    for (let at = STAMP_BYTES; at < payload.length; at++) if (payload[at] !== filler) return false;
    return true;
  }
}
