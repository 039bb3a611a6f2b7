/** The `onread` option: chunks are copied into a buffer of the user's, and no stream event tells of them. */
import { isUint8Array } from 'node:util/types';

type NextBuffer = () => Uint8Array;
type OnReadCallback = (bytes: number, buffer: Uint8Array) => unknown;

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

  /** Answers what is left of the chunk, perhaps nothing, when the callback asked for no more. */
  push(chunk: Buffer): Buffer | true {
    let at = 0;
    while (at < chunk.length) {
      const buffer = this.#buffer;
      if (buffer === undefined || buffer.length === 0) break;
      const count = Math.min(buffer.length, chunk.length - at);
      buffer.set(chunk.subarray(at, at + count));
      at += count;
      const more = this.#callback(count, buffer) !== false;
      if (this.#nextBuffer !== undefined) this.#takeNext();
      if (!more) return chunk.subarray(at);
    }
    return true;
  }

  #takeNext(): void {
    const next = this.#nextBuffer?.();
    if (isUint8Array(next)) this.#buffer = next;
  }
}
