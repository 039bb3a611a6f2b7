/**
 * Memory that long chunks of raw connections are received into: ordinary Buffers, which the garbage collector frees with its
 * young generation. Native memory that is handed over (native-block.ts) it keeps until it goes through all of the heap.
 */
import type { Addon, EngineHandle } from './native.js';

const LANDING_BYTES = 65_536;
/** There are as many as were ever wanted at once, up to 16 MB: those with the kernel, and those that a turn filled. */
const MOST_LANDINGS = 256;
/** A shorter chunk is copied, so that no more than half of what a kept one holds is waste. */
const HANDED_OVER_BYTES = LANDING_BYTES / 2;

const LANDED = Symbol('landed');
type LandedBuffer = ArrayBufferLike & { [LANDED]?: true };

/** Whether the bytes were received so: then they may be sent on from where they lie. */
export function isLanded(bytes: Uint8Array): boolean {
  return (bytes.buffer as LandedBuffer)[LANDED] === true;
}

function landed(bytes: Buffer): Buffer {
  (bytes.buffer as LandedBuffer)[LANDED] = true;
  return bytes;
}

export class Landing {
  readonly #addon: Addon;
  readonly #handle: EngineHandle;
  /** By index; each is with the reactor, or on its way back. */
  readonly #buffers: Buffer[] = [];

  constructor(addon: Addon, handle: EngineHandle) {
    this.#addon = addon;
    this.#handle = handle;
  }

  /** One more. */
  grow(): void {
    const index = this.#buffers.length;
    if (index < MOST_LANDINGS) this.#offer(index, Buffer.allocUnsafeSlow(LANDING_BYTES));
  }

  /** What was received at `index`: the caller's, and not written to again. */
  take(index: number, length: number): Buffer {
    const buffer = this.#buffers[index];
    if (length < HANDED_OVER_BYTES) {
      const copy = Buffer.allocUnsafeSlow(length);
      buffer.copy(copy, 0, 0, length);
      this.#offer(index, buffer);
      return landed(copy);
    }
    this.#offer(index, Buffer.allocUnsafeSlow(LANDING_BYTES));
    return landed(length === LANDING_BYTES ? buffer : buffer.subarray(0, length));
  }

  /** Nobody wants what was received there. */
  putBack(index: number): void {
    this.#offer(index, this.#buffers[index]);
  }

  #offer(index: number, buffer: Buffer): void {
    this.#buffers[index] = buffer;
    this.#addon.offerLanding(this.#handle, index, buffer);
  }
}
