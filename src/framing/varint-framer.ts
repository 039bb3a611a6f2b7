import { Framer } from './framer.js';

/** A uint32 takes at most this many bytes of 7 bits. */
const MAX_PREFIX_BYTES = 5;
const UINT32_MAX = 0xffff_ffff;

/** Protobuf's length prefix. The value is a uint32: what Netty reads as a negative length is merely a long one here. */
export class VarintFramer extends Framer {
  readonly #maxFrameLength: number;

  constructor(maxFrameLength: number) {
    super();
    this.#maxFrameLength = maxFrameLength;
  }

  next(bytes: Uint8Array, start: number, end: number): number {
    const available = end - start;
    let value = 0;
    let scale = 1;
    for (let i = 0; i < MAX_PREFIX_BYTES; i++) {
      if (i === available) return this.needMore(available + 1, 0);
      const byte = bytes[start + i];
      value += (byte & 0x7f) * scale;
      scale *= 128;
      if (byte < 0x80) return this.#payload(available, i + 1, value);
    }
    return this.malformed(value);
  }

  #payload(available: number, prefix: number, length: number): number {
    if (length > UINT32_MAX) return this.malformed(length);
    if (length > this.#maxFrameLength) return this.tooLong(length);
    const total = prefix + length;
    if (available < total) return this.needMore(total, total);
    return this.frame(total, prefix, length);
  }
}
