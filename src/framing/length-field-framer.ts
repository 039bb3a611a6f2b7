import { Framer } from './framer.js';
import type { ResolvedLengthFieldFraming } from './validate-framing.js';

/** The largest length field value that arithmetic on doubles treats exactly. */
const EXACT = Number.MAX_SAFE_INTEGER;
const INT64_MAX = 2n ** 63n - 1n;

/** Netty's LengthFieldBasedFrameDecoder, on bytes that lie in one piece. */
export class LengthFieldFramer extends Framer {
  readonly #fieldOffset: number;
  readonly #fieldLength: number;
  readonly #fieldEnd: number;
  readonly #little: boolean;
  readonly #adjustment: number;
  readonly #strip: number;
  readonly #headerLength: number;
  readonly #maxFrameLength: number;

  constructor(framing: ResolvedLengthFieldFraming) {
    super();
    this.#fieldOffset = framing.lengthFieldOffset;
    this.#fieldLength = framing.lengthFieldLength;
    this.#fieldEnd = framing.lengthFieldOffset + framing.lengthFieldLength;
    this.#little = framing.byteOrder === 'little';
    this.#adjustment = framing.lengthAdjustment;
    this.#strip = framing.initialBytesToStrip;
    this.#headerLength = framing.headerLength;
    this.#maxFrameLength = framing.maxFrameLength;
  }

  next(bytes: Uint8Array, start: number, end: number): number {
    const available = end - start;
    const fieldEnd = this.#fieldEnd;
    if (available < fieldEnd) return this.needMore(fieldEnd, 0);
    const at = start + this.#fieldOffset;
    let field: number;
    if (this.#fieldLength === 4) {
      field = this.#little
        ? ((bytes[at + 3] << 24) | (bytes[at + 2] << 16) | (bytes[at + 1] << 8) | bytes[at]) >>> 0
        : ((bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3]) >>> 0;
    } else {
      field = this.#readField(bytes, at);
      // Beyond the exact integers the field is judged as the native framer does it, in 64 bits.
      if (field > EXACT) return this.#absurd(bytes, at);
    }
    const body = field + this.#adjustment;
    const payload = body - this.#headerLength;
    if (payload < 0) return this.malformed(field);
    if (payload > this.#maxFrameLength) return this.tooLong(payload);
    const total = fieldEnd + body;
    if (total < this.#strip) return this.malformed(field);
    if (available < total) return this.needMore(total, total);
    return this.frame(total, this.#strip, total - this.#strip);
  }

  #readField(bytes: Uint8Array, at: number): number {
    let value = 0;
    const length = this.#fieldLength;
    if (this.#little) for (let i = length - 1; i >= 0; i--) value = value * 256 + bytes[at + i];
    else for (let i = 0; i < length; i++) value = value * 256 + bytes[at + i];
    return value;
  }

  /** A field of 8 bytes over 2^53: negative as an int64 is malformed; else the payload's length, saturated at 2^63 - 1. */
  #absurd(bytes: Uint8Array, at: number): number {
    let field = 0n;
    for (let i = 0; i < 8; i++) field = (field << 8n) | BigInt(bytes[this.#little ? at + 7 - i : at + i]);
    const signed = BigInt.asIntN(64, field);
    if (signed < 0n) return this.malformed(Number(signed));
    const body = signed + BigInt(this.#adjustment);
    return this.tooLong(Number(body > INT64_MAX ? INT64_MAX : body - BigInt(this.#headerLength)));
  }
}
