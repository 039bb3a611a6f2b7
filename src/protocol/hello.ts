/** The payload of a hello: u16 version, u32 feature bits, u32 largest payload, u32 stream window. Later bytes are ignored. */
import { readU16, readU32, VERSION, writeU16, writeU32 } from './rmp.js';

export const HELLO_BYTES = 14;

export const Feature = {
  /** Partial responses are sent only as far as they were granted. */
  streamWindows: 1,
} as const;

export interface Hello {
  readonly version: number;
  /** Bits of `Feature`; in use are those that both sides set. */
  readonly features: number;
  /** The largest payload this side accepts, in bytes; 0 says nothing about it. */
  readonly maxFrameLength: number;
  /** Partial responses of one request this side takes before it grants more. */
  readonly streamWindow: number;
}

export function encodeHello(hello: Omit<Hello, 'version'>): Buffer {
  const payload = Buffer.alloc(HELLO_BYTES);
  writeU16(payload, 0, VERSION);
  writeU32(payload, 2, hello.features);
  writeU32(payload, 6, hello.maxFrameLength);
  writeU32(payload, 10, hello.streamWindow);
  return payload;
}

/** Undefined when the payload is too short or the version is 0: a protocol error. */
export function parseHello(bytes: Uint8Array, start: number, end: number): Hello | undefined {
  if (end - start < HELLO_BYTES) return undefined;
  const version = readU16(bytes, start);
  if (version === 0) return undefined;
  return {
    version,
    features: readU32(bytes, start + 2),
    maxFrameLength: readU32(bytes, start + 6),
    streamWindow: readU32(bytes, start + 10),
  };
}
