/** 32-bit hashes for affinity: FNV-1a over bytes, then MurmurHash3's finaliser, because FNV's low bits alone are poor. */

const OFFSET = 0x811c9dc5;
const PRIME = 0x01000193;

/** MurmurHash3 fmix32: every bit of the input reaches every bit of the answer. */
export function mix32(value: number): number {
  let h = value | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}

export function hashBytes(bytes: Uint8Array, start = 0, end = bytes.length): number {
  let h = OFFSET;
  for (let i = start; i < end; i++) h = Math.imul(h ^ bytes[i], PRIME);
  return mix32(h);
}

/** Over UTF-16 code units, low byte first: the same on every machine. */
export function hashString(text: string): number {
  let h = OFFSET;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    h = Math.imul(h ^ (unit & 0xff), PRIME);
    h = Math.imul(h ^ (unit >>> 8), PRIME);
  }
  return mix32(h);
}
