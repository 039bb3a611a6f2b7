import { FrameStatus, Framer } from './framer.js';
import type { ResolvedDelimiterFraming } from './validate-framing.js';

const CR = 0x0d;
/** Below it a loop beats making a view for the engine's own search. */
const SHORT_SCAN = 24;

/** Netty's DelimiterBasedFrameDecoder with one delimiter. */
export class DelimiterFramer extends Framer {
  readonly #delimiter: Uint8Array;
  readonly #first: number;
  readonly #strip: boolean;
  readonly #stripCarriageReturn: boolean;
  readonly #acceptUnterminated: boolean;
  readonly #maxFrameLength: number;
  /** The longest frame on the wire: payload, a CR to be dropped, delimiter. Beyond it no delimiter is looked for. */
  readonly #scanLimit: number;
  /** Bytes from the frame's start at which no delimiter begins. */
  #scanned = 0;

  constructor(framing: ResolvedDelimiterFraming) {
    super();
    this.#delimiter = framing.delimiter;
    this.#first = framing.delimiter[0];
    this.#strip = framing.stripDelimiter;
    this.#stripCarriageReturn = framing.stripCarriageReturn;
    this.#acceptUnterminated = framing.acceptUnterminated;
    this.#maxFrameLength = framing.maxFrameLength;
    this.#scanLimit = framing.maxFrameLength + (framing.stripCarriageReturn ? 1 : 0) + framing.delimiter.length;
  }

  next(bytes: Uint8Array, start: number, end: number): number {
    const windowEnd = Math.min(end, start + this.#scanLimit);
    const found = this.#find(bytes, start + this.#scanned, windowEnd);
    if (found < 0) return this.#unfinished(bytes, start, windowEnd);
    const dropped = this.#stripCarriageReturn && found > start && bytes[found - 1] === CR ? 1 : 0;
    const payload = found - start - dropped;
    const total = found - start + this.#delimiter.length;
    // How long it would have become is not known and must not depend on how the bytes were cut: what was looked at counts.
    if (payload > this.#maxFrameLength) return this.tooLong(total);
    this.#scanned = 0;
    return this.frame(total, 0, this.#strip ? payload : total);
  }

  override finish(_bytes: Uint8Array, start: number, end: number): number {
    if (!this.#acceptUnterminated) return FrameStatus.needMore;
    if (end - start > this.#maxFrameLength) return this.tooLong(end - start);
    this.#scanned = 0;
    return this.frame(end - start, 0, end - start);
  }

  #unfinished(bytes: Uint8Array, start: number, windowEnd: number): number {
    const available = windowEnd - start;
    if (available === this.#scanLimit) return this.tooLong(this.#scanLimit);
    this.#scanned = available - this.#begunDelimiter(bytes, start, windowEnd);
    return this.needMore(Math.min(this.#scanned + this.#delimiter.length, this.#scanLimit), 0);
  }

  /** How many of the last bytes may be the beginning of a delimiter. */
  #begunDelimiter(bytes: Uint8Array, start: number, end: number): number {
    let begun = Math.min(end - start, this.#delimiter.length - 1);
    while (begun > 0 && !this.#matches(bytes, end - begun, begun)) begun--;
    return begun;
  }

  /** @returns where the first delimiter begins, or -1. */
  #find(bytes: Uint8Array, from: number, end: number): number {
    const last = end - this.#delimiter.length;
    for (let at = from; at <= last; at++) {
      at = indexOfByte(bytes, this.#first, at, last + 1);
      if (at < 0) return -1;
      if (this.#matches(bytes, at, this.#delimiter.length)) return at;
    }
    return -1;
  }

  #matches(bytes: Uint8Array, at: number, length: number): boolean {
    const delimiter = this.#delimiter;
    for (let i = 0; i < length; i++) if (bytes[at + i] !== delimiter[i]) return false;
    return true;
  }
}

/** `indexOf` that ends at `end`: what lies behind it is stale, and may be much longer than what is searched. */
function indexOfByte(bytes: Uint8Array, byte: number, from: number, end: number): number {
  const near = Math.min(end, from + SHORT_SCAN);
  for (let at = from; at < near; at++) if (bytes[at] === byte) return at;
  if (near === end) return -1;
  if (end === bytes.length) return bytes.indexOf(byte, near);
  const found = bytes.subarray(near, end).indexOf(byte);
  return found < 0 ? -1 : near + found;
}
