/**
 * The sending side of a framing: what goes before and after a payload so that the same framing on the other side delivers
 * that payload again. Nothing is concatenated here; header, payload and trailer are sent one after another.
 */
import { RingwayError } from '../errors.js';
import { FrameStatus } from './framer.js';
import { makeFramer } from './make-framer.js';
import type { ResolvedDelimiterFraming, ResolvedFraming, ResolvedLengthFieldFraming } from './validate-framing.js';

const NOTHING = new Uint8Array(0);

export interface Encoder {
  /** The header of the last `begin`, `header[0, headerLength)`: read it before the next call. */
  readonly header: Uint8Array;
  /** What follows each payload. */
  readonly trailer: Uint8Array;
  /**
   * Checks the payload and writes its header.
   * @returns the header's length.
   * @throws RingwayError `ERR_FRAME_TOO_LONG` over `maxFrameLength` or over what the length field can say;
   *   `ERR_INVALID_FRAME` for a payload that this framing cannot carry (a delimiter inside it).
   */
  begin(payload: Uint8Array, start: number, end: number): number;
}

export function makeEncoder(framing: ResolvedFraming): Encoder {
  switch (framing.format) {
    case 'length-field':
      return framing.initialBytesToStrip > framing.lengthFieldOffset
        ? new LengthFieldEncoder(framing)
        : new WholeFrameEncoder(framing);
    case 'delimiter':
      return new DelimiterEncoder(framing);
    case 'varint':
      return new VarintEncoder(framing.maxFrameLength);
    case 'raw':
      return new RawEncoder();
  }
}

class RawEncoder implements Encoder {
  readonly header = NOTHING;
  readonly trailer = NOTHING;

  begin(): number {
    return 0;
  }
}

/** Puts back what the framer strips: the length field, and zeros in what else belonged to the header. */
class LengthFieldEncoder implements Encoder {
  readonly header: Uint8Array;
  readonly trailer = NOTHING;
  readonly #fieldOffset: number;
  readonly #fieldLength: number;
  readonly #little: boolean;
  readonly #maxFrameLength: number;
  readonly #largestField: number;
  /** The field's value for an empty payload. */
  readonly #fieldOfEmpty: number;
  readonly #headerRest: number;

  constructor(framing: ResolvedLengthFieldFraming) {
    this.header = new Uint8Array(framing.initialBytesToStrip);
    this.#fieldOffset = framing.lengthFieldOffset;
    this.#fieldLength = framing.lengthFieldLength;
    this.#little = framing.byteOrder === 'little';
    this.#maxFrameLength = framing.maxFrameLength;
    this.#largestField = 2 ** (8 * framing.lengthFieldLength) - 1;
    const stripped = framing.initialBytesToStrip - framing.lengthFieldOffset - framing.lengthFieldLength;
    this.#fieldOfEmpty = stripped - framing.lengthAdjustment;
    // Header that the payload must bring along, because the framer delivers it.
    this.#headerRest = framing.headerLength - stripped;
  }

  begin(_payload: Uint8Array, start: number, end: number): number {
    const length = end - start;
    const counted = length - this.#headerRest;
    if (counted > this.#maxFrameLength) throw tooLong(counted, this.#maxFrameLength);
    if (counted < 0) throw invalid(`its header of ${this.#headerRest} bytes is not whole: it has ${length} bytes`);
    const field = length + this.#fieldOfEmpty;
    if (field > this.#largestField || field < 0) throw unsayable(length, this.#fieldLength, field);
    this.#writeField(field);
    return this.header.length;
  }

  #writeField(field: number): void {
    const { header } = this;
    const first = this.#fieldOffset;
    const last = first + this.#fieldLength - 1;
    if (this.#fieldLength === 4 && !this.#little) {
      header[first] = field >>> 24;
      header[first + 1] = field >>> 16;
      header[first + 2] = field >>> 8;
      header[last] = field;
      return;
    }
    // Division, not shifts: a field of 8 bytes may be over 2^32.
    for (let i = 0; i <= last - first; i++) {
      header[this.#little ? first + i : last - i] = field % 256;
      field = Math.floor(field / 256);
    }
  }
}

/** Frames that are delivered with their length field: the caller sends them whole, and here they are held to their word. */
class WholeFrameEncoder implements Encoder {
  readonly header: Uint8Array;
  readonly trailer = NOTHING;
  readonly #framing: ResolvedLengthFieldFraming;
  readonly #framer;

  constructor(framing: ResolvedLengthFieldFraming) {
    this.header = new Uint8Array(framing.initialBytesToStrip);
    this.#framing = framing;
    // The stripped bytes before the length field are put back as zeros and do not matter to the check.
    const lengthFieldOffset = framing.lengthFieldOffset - framing.initialBytesToStrip;
    this.#framer = makeFramer({ ...framing, lengthFieldOffset, initialBytesToStrip: 0 });
  }

  begin(payload: Uint8Array, start: number, end: number): number {
    const framer = this.#framer;
    const status = end > start ? framer.next(payload, start, end) : FrameStatus.needMore;
    if (status === FrameStatus.tooLong) throw tooLong(framer.declared, this.#framing.maxFrameLength);
    if (status === FrameStatus.malformed) throw invalid(`its length field says ${framer.declared}`);
    if (status !== FrameStatus.frame || framer.consumed !== end - start) {
      throw invalid(`it has ${end - start} bytes, which is not what its length field says`);
    }
    return this.header.length;
  }
}

class VarintEncoder implements Encoder {
  readonly header = new Uint8Array(5);
  readonly trailer = NOTHING;
  readonly #maxFrameLength: number;

  constructor(maxFrameLength: number) {
    this.#maxFrameLength = maxFrameLength;
  }

  begin(_payload: Uint8Array, start: number, end: number): number {
    let rest = end - start;
    if (rest > this.#maxFrameLength) throw tooLong(rest, this.#maxFrameLength);
    let at = 0;
    while (rest > 0x7f) {
      this.header[at++] = (rest & 0x7f) | 0x80;
      rest >>>= 7;
    }
    this.header[at++] = rest;
    return at;
  }
}

class DelimiterEncoder implements Encoder {
  readonly header = NOTHING;
  readonly trailer: Uint8Array;
  readonly #delimiter: Buffer;
  readonly #strip: boolean;
  readonly #maxFrameLength: number;

  constructor(framing: ResolvedDelimiterFraming) {
    const { delimiter } = framing;
    this.#delimiter = Buffer.from(delimiter.buffer, delimiter.byteOffset, delimiter.length);
    this.#strip = framing.stripDelimiter;
    this.#maxFrameLength = framing.maxFrameLength;
    this.trailer = this.#strip ? delimiter : NOTHING;
  }

  begin(payload: Uint8Array, start: number, end: number): number {
    const width = this.#delimiter.length;
    const length = this.#strip ? end - start : end - start - width;
    if (length > this.#maxFrameLength) throw tooLong(length, this.#maxFrameLength);
    const whole = Buffer.from(payload.buffer, payload.byteOffset + start, end - start);
    const found = whole.indexOf(this.#delimiter);
    if (this.#strip && found >= 0) throw invalid(`the delimiter stands inside it, at byte ${found}`);
    if (!this.#strip && found !== length) throw invalid('it must end with the delimiter, and nowhere else contain it');
    if (this.#strip && width > 1) this.#checkSeam(whole);
    return 0;
  }

  /** The end of the payload and the beginning of the trailer must not make a delimiter that comes too early. */
  #checkSeam(payload: Buffer): void {
    const tail = payload.subarray(Math.max(0, payload.length - this.#delimiter.length + 1));
    if (Buffer.concat([tail, this.#delimiter]).indexOf(this.#delimiter) !== tail.length) {
      throw invalid('its end and the delimiter behind it read as an earlier delimiter');
    }
  }
}

function tooLong(length: number, limit: number): RingwayError {
  return new RingwayError('ERR_FRAME_TOO_LONG', [length, `maxFrameLength is ${limit}`]);
}

function unsayable(length: number, fieldLength: number, field: number): RingwayError {
  const why = `a length field of ${fieldLength} ${fieldLength === 1 ? 'byte' : 'bytes'} cannot say ${field}`;
  return new RingwayError('ERR_FRAME_TOO_LONG', [length, why]);
}

function invalid(why: string): RingwayError {
  return new RingwayError('ERR_INVALID_FRAME', [why]);
}
