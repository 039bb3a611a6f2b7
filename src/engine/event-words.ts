/**
 * The numbers in an event's bytes, which stand at any position. The machine's byte order is the one that the addon wrote in:
 * little-endian on every platform it is built for.
 */
const UINT32 = 0x1_0000_0000;

export function word(bytes: Uint8Array, at: number): number {
  return (bytes[at] | (bytes[at + 1] << 8) | (bytes[at + 2] << 16) | (bytes[at + 3] << 24)) >>> 0;
}

export function wide(bytes: Uint8Array, at: number): number {
  return word(bytes, at) + word(bytes, at + 4) * UINT32;
}

export function signedWide(bytes: Uint8Array, at: number): number {
  return word(bytes, at) + (word(bytes, at + 4) | 0) * UINT32;
}
