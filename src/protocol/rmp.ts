/**
 * The Ringway message protocol, version 1: constants, and the 16-byte header read and written in place.
 * docs/PROTOCOL.md is the specification. All integers are big-endian.
 *
 *     0        4    5     6       8        12       16
 *     | length | kind|flags| route |   id   |  arg   | payload …
 *     `length` counts what follows it: 12 + payload.
 */
import type { LengthFieldFraming } from '../framing/framing.js';

export const HEADER_BYTES = 16;
/** What `length` counts besides the payload. */
export const HEADER_AFTER_LENGTH = 12;
export const VERSION = 1;

export const Kind = {
  request: 1,
  response: 2,
  cancel: 3,
  push: 4,
  ack: 5,
  ping: 6,
  pong: 7,
  goingAway: 8,
  hello: 9,
  window: 10,
} as const;

export const Flag = {
  /** A further response with this id follows. */
  more: 1,
  noReply: 2,
  /** May be sent twice. */
  idempotent: 4,
  /** On an error: the work was not begun. */
  notExecuted: 8,
  /** The payload begins with meta fields. */
  meta: 128,
} as const;

/** Frames as the framer must cut them: whole, header included, the payload bounded. */
export function rmpFraming(maxFrameLength: number): LengthFieldFraming {
  return { format: 'length-field', lengthFieldLength: 4, headerLength: HEADER_AFTER_LENGTH, maxFrameLength };
}

// Readers by byte: V8 compiles each to a handful of loads, and no DataView has to be made for the batch's bytes.

export function readU32(bytes: Uint8Array, at: number): number {
  return ((bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3]) >>> 0;
}

export function readU16(bytes: Uint8Array, at: number): number {
  return (bytes[at] << 8) | bytes[at + 1];
}

export function writeU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

export function writeU16(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 8;
  bytes[at + 1] = value;
}

/** Field positions inside a frame that begins at `start`. */
export const At = { length: 0, kind: 4, flags: 5, route: 6, id: 8, arg: 12, payload: 16 } as const;

/** Writes a whole header at the start of `header` (16 bytes). */
export function writeHeader(
  header: Uint8Array,
  payloadLength: number,
  kind: number,
  flags: number,
  route: number,
  id: number,
  arg: number,
): void {
  writeU32(header, At.length, HEADER_AFTER_LENGTH + payloadLength);
  header[At.kind] = kind;
  header[At.flags] = flags;
  writeU16(header, At.route, route);
  writeU32(header, At.id, id);
  writeU32(header, At.arg, arg);
}

/**
 * The header of the frame that is being sent, by whomever: `sendFrame` copies it before it returns. One for all, so that an engine
 * that has seen it once knows how to copy it by words.
 */
export const header = new Uint8Array(HEADER_BYTES);
const words = new Int32Array(header.buffer);
const isLittleEndian = new Uint8Array(Int32Array.of(1).buffer)[0] === 1;

/** `writeHeader` into `header`, in four stores instead of sixteen. */
export function setHeader(
  payloadLength: number,
  kind: number,
  flags: number,
  route: number,
  id: number,
  arg: number,
): void {
  if (!isLittleEndian) {
    writeHeader(header, payloadLength, kind, flags, route, id, arg);
    return;
  }
  words[0] = swapped(HEADER_AFTER_LENGTH + payloadLength);
  words[1] = kind | (flags << 8) | ((route & 0xff00) << 8) | (route << 24);
  words[2] = swapped(id);
  words[3] = swapped(arg);
}

function swapped(word: number): number {
  return (word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24);
}
