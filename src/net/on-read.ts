/** The `onread` option: chunks are copied into a buffer of the user's, and no stream event tells of them. */
import { isUint8Array } from 'node:util/types';

type NextBuffer = () => Uint8Array;
type OnReadCallback = (bytes: number, buffer: Uint8Array) => unknown;

/** What the chunks come from. */
export interface OnReadSource {
  /** False: no more, by `pause` or `destroy` in the callback. */
  readonly reading: boolean;
  /** What a callback that threw has not seen: it comes by itself. */
  putBack(rest: Buffer): void;
}

export class OnRead {
  #buffer: Uint8Array | undefined;
  readonly #nextBuffer: NextBuffer | undefined;
  readonly #callback: OnReadCallback;
  private constructor(buffer: Uint8Array | NextBuffer, callback: OnReadCallback) {
    this.#callback = callback;
    if (typeof buffer === 'function') this.#nextBuffer = buffer;
    else this.#buffer = buffer;
  }

  /** Undefined where the option is not what it must be: Node then reads as usual. */
  static from(option: unknown): OnRead | undefined {
    if (option === null || typeof option !== 'object') return undefined;
    const { buffer, callback } = option as { buffer?: unknown; callback?: unknown };
    if (typeof callback !== 'function') return undefined;
    if (!isUint8Array(buffer) && typeof buffer !== 'function') return undefined;
    return new OnRead(buffer as Uint8Array | NextBuffer, callback as OnReadCallback);
  }

  /** The connection has its transport: asks for the first buffer. */
  begin(): void {
    if (this.#nextBuffer !== undefined) this.#takeNext();
  }

  /** Answers what is left of the chunk, perhaps nothing, when the callback asked for no more or ended the reading. */
  push(chunk: Buffer, source: OnReadSource): Buffer | true {
    let at = 0;
    while (at < chunk.length) {
      const buffer = this.#buffer;
      if (buffer === undefined || buffer.length === 0) break;
      const count = Math.min(buffer.length, chunk.length - at);
      buffer.set(chunk.subarray(at, at + count));
      at += count;
      const more = this.#call(count, buffer, chunk.subarray(at), source);
      if (this.#nextBuffer !== undefined) this.#takeNext();
      if (!more || !source.reading) return chunk.subarray(at);
    }
    return true;
  }

  #call(count: number, buffer: Uint8Array, rest: Buffer, source: OnReadSource): boolean {
    let returned = false;
    try {
      const more = this.#callback(count, buffer) !== false;
      returned = true;
      return more;
    } finally {
      if (!returned) source.putBack(rest);
    }
  }

  #takeNext(): void {
    const next = this.#nextBuffer?.();
    if (isUint8Array(next)) this.#buffer = next;
  }
}
