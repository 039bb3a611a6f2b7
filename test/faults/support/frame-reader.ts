/** Cuts a stream of u32-length frames; each is handed over whole, with its length field. */
import { readU32 } from '../../../src/protocol/rmp.js';

const LENGTH_BYTES = 4;

export class FrameReader {
  readonly #onFrame: (frame: Buffer) => void;
  #chunks: Buffer[] = [];
  #held = 0;
  /** Bytes that make the next step possible: a length field, or a whole frame. */
  #wanted = LENGTH_BYTES;

  constructor(onFrame: (frame: Buffer) => void) {
    this.#onFrame = onFrame;
  }

  push(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#held += chunk.length;
    if (this.#held < this.#wanted) return;
    let bytes = this.#chunks.length === 1 ? this.#chunks[0] : Buffer.concat(this.#chunks);
    this.#wanted = LENGTH_BYTES;
    while (bytes.length >= LENGTH_BYTES) {
      const end = LENGTH_BYTES + readU32(bytes, 0);
      if (bytes.length < end) {
        this.#wanted = end;
        break;
      }
      this.#onFrame(bytes.subarray(0, end));
      bytes = bytes.subarray(end);
    }
    this.#chunks = bytes.length > 0 ? [bytes] : [];
    this.#held = bytes.length;
  }
}
