/** Partial responses of one task that wait to be granted or sent, in order. */
import type { StatusError } from '../protocol/status-error.js';

interface Waiting {
  readonly bytes: Uint8Array;
  readonly resolve: (sent: Promise<void>) => void;
  readonly reject: (error: StatusError) => void;
}

export class PendingPartials {
  #waiting: Waiting[] = [];
  /** Those before it are gone. */
  #first = 0;
  #bytes = 0;

  get bytes(): number {
    return this.#bytes;
  }

  get isEmpty(): boolean {
    return this.#first === this.#waiting.length;
  }

  /** Copies `bytes`. Resolves with what sending it resolves with; a rejection that nobody awaits crashes nobody. */
  add(bytes: Uint8Array): Promise<void> {
    const promise = new Promise<void>((resolve, reject) => {
      this.#waiting.push({ bytes: Uint8Array.from(bytes), resolve, reject });
    });
    promise.catch(() => {});
    this.#bytes += bytes.length;
    return promise;
  }

  sendFirst(send: (bytes: Uint8Array) => Promise<void>): void {
    const { bytes, resolve } = this.#waiting[this.#first++];
    this.#bytes -= bytes.length;
    resolve(send(bytes));
    if (this.#first * 2 < this.#waiting.length) return;
    this.#waiting = this.#waiting.slice(this.#first);
    this.#first = 0;
  }

  rejectAll(error: StatusError): void {
    for (const { reject } of this.#waiting.slice(this.#first)) reject(error);
    this.#waiting = [];
    this.#first = 0;
    this.#bytes = 0;
  }
}
