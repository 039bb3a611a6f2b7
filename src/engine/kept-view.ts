import { bufferOver } from '../bytes.js';
import type { Kept } from './engine.js';

const NOTHING = new Uint8Array(0);

/** Kept bytes as Buffers, for a user. Remembers the memory under the last one: to ask a typed array for it takes as long as to make a Buffer. */
export class KeptView {
  #memory: Uint8Array = NOTHING;
  #arrayBuffer: ArrayBufferLike = NOTHING.buffer;
  #offset = 0;

  of(kept: Kept, length: number): Buffer {
    if (kept.bytes !== this.#memory) this.#use(kept.bytes);
    return bufferOver(this.#arrayBuffer, this.#offset + kept.start, length);
  }

  /** At the end of a batch: what was kept in it is its holders'. */
  forget(): void {
    this.#use(NOTHING);
  }

  #use(memory: Uint8Array): void {
    this.#memory = memory;
    this.#arrayBuffer = memory.buffer;
    this.#offset = memory.byteOffset;
  }
}
