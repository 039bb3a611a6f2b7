/** Meta (flag 128): a u16 length and that many bytes of fields (u8 type, u16 length, value) in front of the payload. */
import { readU16, writeU16 } from './rmp.js';

export const MetaField = { traceContext: 1, tenant: 2, token: 3, affinityKey: 4, priority: 5 } as const;

/** Field types from here on are the users' own: passed on, never interpreted. */
export const FIRST_CUSTOM_FIELD = 128;

/** Fields that travel with a request, beside its payload; at most 65,535 bytes in all. */
export interface Meta {
  /** A W3C `traceparent`. */
  readonly traceContext?: string;
  /** On whose behalf. */
  readonly tenant?: string;
  /** A credential for the gateway. The gateway never passes it on. */
  readonly token?: string;
  /** What consistent hashing and `orderBy: key` go by. */
  readonly affinityKey?: string;
  /** 0 to 255. */
  readonly priority?: number;
  /** Fields of the user's own, by type (128 to 255). */
  readonly custom?: ReadonlyMap<number, Uint8Array>;
}

/** Meta of a payload and where what follows it begins. */
export interface ParsedMeta {
  readonly meta: Meta;
  readonly payloadStart: number;
}

const TEXT_FIELDS = ['', 'traceContext', 'tenant', 'token', 'affinityKey'] as const;

/** The bytes to put before the payload, length included. @throws RangeError when they do not fit 65,535 bytes or a value is out of range. */
export function encodeMeta(meta: Meta): Buffer {
  const parts: Buffer[] = [Buffer.alloc(2)];
  for (let type = 1; type < TEXT_FIELDS.length; type++) {
    const value = meta[TEXT_FIELDS[type] as 'tenant'];
    if (value !== undefined) parts.push(encodeField(type, Buffer.from(value)));
  }
  if (meta.priority !== undefined) {
    if (!Number.isInteger(meta.priority) || meta.priority < 0 || meta.priority > 255) {
      throw new RangeError(`meta.priority is ${meta.priority}: a whole number from 0 to 255 is needed`);
    }
    parts.push(encodeField(MetaField.priority, Uint8Array.of(meta.priority)));
  }
  for (const [type, value] of meta.custom ?? []) {
    if (!Number.isInteger(type) || type < FIRST_CUSTOM_FIELD || type > 255) {
      throw new RangeError(`meta.custom has the field type ${type}: 128 to 255 are the user's`);
    }
    parts.push(encodeField(type, value));
  }
  const encoded = Buffer.concat(parts);
  if (encoded.length - 2 > 0xffff) throw new RangeError(`meta takes ${encoded.length - 2} bytes: at most 65535 fit`);
  writeU16(encoded, 0, encoded.length - 2);
  return encoded;
}

/** Undefined when the meta does not add up or has an unknown field below 128: a protocol error. */
export function parseMeta(bytes: Uint8Array, start: number, end: number): ParsedMeta | undefined {
  if (end - start < 2) return undefined;
  const payloadStart = start + 2 + readU16(bytes, start);
  if (payloadStart > end) return undefined;
  const meta: { -readonly [K in keyof Meta]: Meta[K] } = {};
  const custom = new Map<number, Uint8Array>();
  for (let at = start + 2; at < payloadStart; ) {
    if (payloadStart - at < 3) return undefined;
    const type = bytes[at];
    const value = at + 3;
    at = value + readU16(bytes, at + 1);
    if (at > payloadStart) return undefined;
    // A copy: a Buffer's own `slice` would be a view of memory that is only valid during the call.
    if (type >= FIRST_CUSTOM_FIELD) custom.set(type, new Uint8Array(bytes.subarray(value, at)));
    else if (type === MetaField.priority && at - value === 1) meta.priority = bytes[value];
    else if (type >= 1 && type < TEXT_FIELDS.length) meta[TEXT_FIELDS[type] as 'tenant'] = text(bytes, value, at);
    else return undefined;
  }
  if (custom.size > 0) meta.custom = custom;
  return { meta, payloadStart };
}

function encodeField(type: number, value: Uint8Array): Buffer {
  if (value.length > 0xffff) throw new RangeError(`meta field ${type} takes ${value.length} bytes: at most 65535 fit`);
  const field = Buffer.alloc(3 + value.length);
  field[0] = type;
  writeU16(field, 1, value.length);
  field.set(value, 3);
  return field;
}

function text(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString('utf8');
}
