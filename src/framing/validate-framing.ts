/** Checked framings: every option has its value, and impossible ones were refused with the path, the value and what would be right. */
import { ENGINE_LIMITS } from '../engine/tables.gen.js';
import { RingwayError, shown } from '../errors.js';
import type { DelimiterFraming, Framing, LengthFieldFraming, RawFraming, VarintFraming } from './framing.js';

/** What one Buffer and the native framer's arithmetic both hold with room to spare. */
export const LARGEST_MAX_FRAME_LENGTH = 2 ** 31 - 1;
/** Of header offsets and widths: no format has more, and a header must fit one receive. */
const LARGEST_HEADER = 1024;
const LARGEST_ADJUSTMENT = 2 ** 31 - 1;
const LARGEST_DELIMITER = 16;

export type ResolvedLengthFieldFraming = Required<LengthFieldFraming>;
export type ResolvedDelimiterFraming = Required<Omit<DelimiterFraming, 'delimiter'>> & {
  readonly delimiter: Uint8Array;
};
export type ResolvedVarintFraming = Required<VarintFraming>;
export type ResolvedFraming =
  | ResolvedLengthFieldFraming
  | ResolvedDelimiterFraming
  | ResolvedVarintFraming
  | RawFraming;

const KEYS: Record<Framing['format'], readonly string[]> = {
  'length-field': [
    'lengthFieldOffset',
    'lengthFieldLength',
    'byteOrder',
    'lengthAdjustment',
    'initialBytesToStrip',
    'headerLength',
    'maxFrameLength',
    'hold',
  ],
  delimiter: ['delimiter', 'stripDelimiter', 'stripCarriageReturn', 'acceptUnterminated', 'maxFrameLength', 'hold'],
  varint: ['maxFrameLength', 'hold'],
  raw: [],
};

/**
 * @param path How the caller's options name the framing, for messages.
 * @throws RingwayError `ERR_INVALID_FRAMING`
 */
export function resolveFraming(framing: Framing, path = 'framing'): ResolvedFraming {
  if (typeof framing !== 'object' || framing === null) throw refuse(path, framing, 'an object with a format');
  const keys = KEYS[framing.format];
  if (keys === undefined) throw refuse(`${path}.format`, framing.format, `one of ${Object.keys(KEYS).join(', ')}`);
  for (const key of Object.keys(framing)) {
    if (key !== 'format' && !keys.includes(key)) {
      throw refuseText(
        `${path}.${key}`,
        'unknown',
        `a ${framing.format} framing has ${keys.join(', ') || 'no options'}`,
      );
    }
  }
  switch (framing.format) {
    case 'length-field':
      return resolveLengthField(framing, path);
    case 'delimiter':
      return resolveDelimiter(framing, path);
    case 'varint':
      return { format: 'varint', maxFrameLength: maxFrameLengthOf(framing, path), hold: holdOf(framing, path) };
    case 'raw':
      return { format: 'raw' };
  }
}

function resolveLengthField(framing: LengthFieldFraming, path: string): ResolvedLengthFieldFraming {
  const resolved: ResolvedLengthFieldFraming = {
    format: 'length-field',
    lengthFieldOffset: integer(`${path}.lengthFieldOffset`, framing.lengthFieldOffset ?? 0, 0, LARGEST_HEADER),
    lengthFieldLength: framing.lengthFieldLength ?? 4,
    byteOrder: framing.byteOrder ?? 'big',
    lengthAdjustment: integer(
      `${path}.lengthAdjustment`,
      framing.lengthAdjustment ?? 0,
      -LARGEST_ADJUSTMENT,
      LARGEST_ADJUSTMENT,
    ),
    initialBytesToStrip: integer(`${path}.initialBytesToStrip`, framing.initialBytesToStrip ?? 0, 0, LARGEST_HEADER),
    headerLength: integer(`${path}.headerLength`, framing.headerLength ?? 0, 0, LARGEST_HEADER),
    maxFrameLength: maxFrameLengthOf(framing, path),
    hold: holdOf(framing, path),
  };
  const { lengthFieldOffset, lengthFieldLength, initialBytesToStrip, headerLength } = resolved;
  if (![1, 2, 3, 4, 8].includes(lengthFieldLength)) {
    throw refuse(`${path}.lengthFieldLength`, lengthFieldLength, '1, 2, 3, 4 or 8');
  }
  if (resolved.byteOrder !== 'big' && resolved.byteOrder !== 'little') {
    throw refuse(`${path}.byteOrder`, resolved.byteOrder, "'big' or 'little'");
  }
  const fieldEnd = lengthFieldOffset + lengthFieldLength;
  if (initialBytesToStrip > lengthFieldOffset && initialBytesToStrip < fieldEnd) {
    const right = `at most ${lengthFieldOffset} or at least ${fieldEnd}, so that the length field is not cut in two`;
    throw refuse(`${path}.initialBytesToStrip`, initialBytesToStrip, right);
  }
  if (initialBytesToStrip > fieldEnd + headerLength) {
    const right = `at most ${fieldEnd + headerLength}, the end of the header (a longer one is declared by headerLength)`;
    throw refuse(`${path}.initialBytesToStrip`, initialBytesToStrip, right);
  }
  return resolved;
}

function resolveDelimiter(framing: DelimiterFraming, path: string): ResolvedDelimiterFraming {
  const given = framing.delimiter ?? '\n';
  if (typeof given !== 'string' && !(given instanceof Uint8Array)) {
    throw refuse(`${path}.delimiter`, given, 'a string or a Uint8Array');
  }
  const delimiter = typeof given === 'string' ? Buffer.from(given, 'utf8') : Uint8Array.from(given);
  if (delimiter.length < 1 || delimiter.length > LARGEST_DELIMITER) {
    throw refuseText(
      `${path}.delimiter`,
      `${delimiter.length} bytes long`,
      `it must be 1 to ${LARGEST_DELIMITER} bytes`,
    );
  }
  const resolved: ResolvedDelimiterFraming = {
    format: 'delimiter',
    delimiter,
    stripDelimiter: boolean(`${path}.stripDelimiter`, framing.stripDelimiter ?? true),
    stripCarriageReturn: boolean(`${path}.stripCarriageReturn`, framing.stripCarriageReturn ?? false),
    acceptUnterminated: boolean(`${path}.acceptUnterminated`, framing.acceptUnterminated ?? false),
    hold: holdOf(framing, path),
    maxFrameLength: maxFrameLengthOf(framing, path),
  };
  if (resolved.stripCarriageReturn && !resolved.stripDelimiter) {
    throw refuse(
      `${path}.stripCarriageReturn`,
      true,
      'false where stripDelimiter is false: only the end of a frame is cut',
    );
  }
  return resolved;
}

function holdOf(framing: { readonly hold?: boolean }, path: string): boolean {
  return boolean(`${path}.hold`, framing.hold ?? false);
}

function maxFrameLengthOf(framing: { readonly maxFrameLength?: number }, path: string): number {
  const value = framing.maxFrameLength ?? ENGINE_LIMITS.maxFrameLength;
  return integer(`${path}.maxFrameLength`, value, 1, LARGEST_MAX_FRAME_LENGTH);
}

function integer(path: string, value: unknown, least: number, most: number): number {
  if (!Number.isInteger(value) || (value as number) < least || (value as number) > most) {
    throw refuse(path, value, `an integer from ${least} to ${most}`);
  }
  return value as number;
}

function boolean(path: string, value: unknown): boolean {
  if (typeof value !== 'boolean') throw refuse(path, value, 'true or false');
  return value;
}

function refuse(path: string, value: unknown, right: string): RingwayError {
  return refuseText(path, shown(value), `it must be ${right}`);
}

function refuseText(path: string, is: string, right: string): RingwayError {
  return new RingwayError('ERR_INVALID_FRAMING', [path, is, right]);
}
