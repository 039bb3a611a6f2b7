/**
 * What of a portable connection's input is not delivered yet: the beginning of a frame, or what is kept while it is held. Its
 * memory grows by what arrived, never by what a peer declared, and is counted against the engine's `maxPartialBytes`.
 */
import { LARGEST_BLOCK } from './block-pool.js';
import type { ConnectionHost } from './connection-host.js';
import type { PortableConnection } from './portable-connection.js';

export class PartialBuffer {
  readonly #host: ConnectionHost;
  readonly #connection: PortableConnection;
  readonly #isAccounted: boolean;
  #block: Buffer | undefined = undefined;
  #length = 0;

  constructor(host: ConnectionHost, connection: PortableConnection, isAccounted: boolean) {
    this.#host = host;
    this.#connection = connection;
    this.#isAccounted = isAccounted;
  }

  get length(): number {
    return this.#length;
  }

  /** The first `length` bytes of it count; undefined where there is nothing. */
  get bytes(): Buffer | undefined {
    return this.#block;
  }

  /** @returns false where the engine's bound was reached: nothing was taken. `frameBytes`: the whole frame's size, 0: unknown. */
  append(chunk: Buffer, start: number, end: number, frameBytes: number): boolean {
    const length = this.#length + end - start;
    if (!this.#reserve(length, frameBytes)) return false;
    chunk.copy(this.#block!, this.#length, start, end);
    this.#length = length;
    return true;
  }

  /**
   * Only what stands behind the first `bytes` stays. `inPlace`: nobody uses the memory any more, so that it can be moved within it.
   * @returns as `append`
   */
  shift(bytes: number, inPlace: boolean, frameBytes: number): boolean {
    const old = this.#block!;
    const length = this.#length;
    if (inPlace) {
      old.copyWithin(0, bytes, length);
      this.#length = length - bytes;
      return true;
    }
    this.release(false);
    return this.append(old, bytes, length, frameBytes);
  }

  /** Room for `bytes`. It doubles as bytes arrive and ends at the frame's size. */
  #reserve(bytes: number, frameBytes: number): boolean {
    const host = this.#host;
    const old = this.#block;
    const capacity = old === undefined ? 0 : old.length;
    if (bytes <= capacity) return true;
    let wanted = Math.max(bytes, 2 * capacity);
    if (wanted > LARGEST_BLOCK && frameBytes >= bytes) wanted = Math.min(wanted, frameBytes);
    const block = host.blocks.acquire(wanted);
    if (this.#isAccounted) {
      const total = host.partialBytes + block.length - capacity;
      // Who holds no more than its share does not pay for those who filled it.
      if (total > host.maxPartialBytes && block.length > host.partialShare(this.#connection)) {
        host.blocks.release(block);
        return false;
      }
      host.partialBytes = total;
    }
    if (old !== undefined) {
      old.copy(block, 0, 0, this.#length);
      host.blocks.release(old);
    }
    this.#block = block;
    return true;
  }

  /** `recycle`: nobody looks at the memory any more. */
  release(recycle: boolean): void {
    const block = this.#block;
    if (block === undefined) return;
    if (this.#isAccounted) this.#host.partialBytes -= block.length;
    if (recycle) this.#host.blocks.release(block);
    this.#block = undefined;
    this.#length = 0;
  }
}
