/**
 * Meta as the gateway needs it: checked in place, nothing decoded but where the affinity key lies and whether there is a token,
 * which must not be passed on. `parseMeta` (meta.ts) is the full reader; a test holds both to the same judgement.
 */
import { FIRST_CUSTOM_FIELD, MetaField } from './meta.js';
import { readU16, writeU16 } from './rmp.js';

const LENGTH_BYTES = 2;
const FIELD_HEADER_BYTES = 3;

/** One per thread is enough: valid until the next `scan`. */
export class MetaScan {
  /** Where what follows the meta begins. */
  bodyStart = 0;
  /** The affinity key's bytes; keyStart is -1 where there is none. */
  keyStart = -1;
  keyEnd = -1;
  hasToken = false;

  /** False when the meta does not add up or has an unknown field below 128: a protocol error. */
  scan(bytes: Uint8Array, start: number, end: number): boolean {
    this.keyStart = -1;
    this.hasToken = false;
    if (end - start < LENGTH_BYTES) return false;
    const bodyStart = start + LENGTH_BYTES + readU16(bytes, start);
    if (bodyStart > end) return false;
    this.bodyStart = bodyStart;
    for (let at = start + LENGTH_BYTES; at < bodyStart; ) {
      if (bodyStart - at < FIELD_HEADER_BYTES) return false;
      const value = at + FIELD_HEADER_BYTES;
      const next = value + readU16(bytes, at + 1);
      if (next > bodyStart || !this.#field(bytes[at], value, next)) return false;
      at = next;
    }
    return true;
  }

  #field(type: number, start: number, end: number): boolean {
    if (type >= FIRST_CUSTOM_FIELD) return true;
    if (type === MetaField.priority) return end - start === 1;
    if (type < MetaField.traceContext || type > MetaField.affinityKey) return false;
    if (type === MetaField.token) this.hasToken = true;
    if (type === MetaField.affinityKey) {
      this.keyStart = start;
      this.keyEnd = end;
    }
    return true;
  }
}

/** Where the body of a payload with sound meta begins. */
export function bodyStart(bytes: Uint8Array, start: number): number {
  return start + LENGTH_BYTES + readU16(bytes, start);
}

/** A copy of a payload with sound meta, without its token fields. */
export function withoutToken(bytes: Uint8Array, start: number, end: number): Uint8Array {
  const body = bodyStart(bytes, start);
  const copy = new Uint8Array(end - start);
  let to = LENGTH_BYTES;
  for (let at = start + LENGTH_BYTES; at < body; ) {
    const next = at + FIELD_HEADER_BYTES + readU16(bytes, at + 1);
    if (bytes[at] !== MetaField.token) {
      copy.set(bytes.subarray(at, next), to);
      to += next - at;
    }
    at = next;
  }
  writeU16(copy, 0, to - LENGTH_BYTES);
  copy.set(bytes.subarray(body, end), to);
  return copy.subarray(0, to + end - body);
}
