/** Load at a constant rate, whatever the answers do: what is due is sent, over all clients in turn. */
import type { LedgerClient } from './ledger-client.js';

const TICK_MS = 2;
/** Whoever was stopped himself for longer than this (a busy machine, a debugger) does not make up for it in one go. */
const MOST_BEHIND_MS = 1_000;

export interface LoadOptions {
  readonly ratePerSecond: number;
  /** Default 64. */
  readonly payloadBytes?: number;
}

export class Load {
  readonly clients: LedgerClient[];
  readonly #options: LoadOptions;
  #timer: NodeJS.Timeout | undefined;
  #startedMs = 0;
  #due = 0;
  #turn = 0;

  constructor(clients: LedgerClient[], options: LoadOptions) {
    this.clients = clients;
    this.#options = options;
  }

  start(): void {
    this.#startedMs = performance.now();
    this.#due = 0;
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  get running(): boolean {
    return this.#timer !== undefined;
  }

  #tick(): void {
    const { ratePerSecond, payloadBytes } = this.#options;
    const now = performance.now();
    const behindMs = now - this.#startedMs - (this.#due * 1000) / ratePerSecond;
    if (behindMs > MOST_BEHIND_MS) this.#startedMs += behindMs;
    const dueNow = Math.floor(((now - this.#startedMs) * ratePerSecond) / 1000);
    for (; this.#due < dueNow; this.#due++) {
      const client = this.#nextUsable();
      if (client === undefined) return;
      client.request(payloadBytes, this.#startedMs + (this.#due * 1000) / ratePerSecond);
    }
  }

  #nextUsable(): LedgerClient | undefined {
    const { clients } = this;
    for (let i = 0; i < clients.length; i++) {
      const client = clients[this.#turn++ % clients.length];
      if (client.usable) return client;
    }
    return undefined;
  }
}
