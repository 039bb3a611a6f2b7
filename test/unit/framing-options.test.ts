// Framing options: defaults, and impossible values refused with the path, the value and what would be right.
import { describe, expect, test } from 'vitest';
import type { Framing } from '../../src/framing/framing.js';
import { type FramingName, framingOf } from '../../src/framing/shorthand.js';
import { resolveFraming } from '../../src/framing/validate-framing.js';

test('defaults', () => {
  expect(resolveFraming({ format: 'length-field' })).toEqual({
    format: 'length-field',
    lengthFieldOffset: 0,
    lengthFieldLength: 4,
    byteOrder: 'big',
    lengthAdjustment: 0,
    initialBytesToStrip: 0,
    headerLength: 0,
    maxFrameLength: 16_777_216,
    hold: false,
  });
  expect(resolveFraming({ format: 'delimiter' })).toMatchObject({
    delimiter: Buffer.from('\n'),
    stripDelimiter: true,
    stripCarriageReturn: false,
    acceptUnterminated: false,
  });
  expect(resolveFraming({ format: 'varint' })).toEqual({ format: 'varint', maxFrameLength: 16_777_216, hold: false });
  expect(resolveFraming({ format: 'raw' })).toEqual({ format: 'raw' });
});

test("the caller's delimiter may change afterwards", () => {
  const delimiter = Uint8Array.of(1, 2);
  const resolved = resolveFraming({ format: 'delimiter', delimiter });
  delimiter[0] = 9;
  expect(resolved).toMatchObject({ delimiter: Uint8Array.of(1, 2) });
});

describe('refused', () => {
  test.each([
    [{ format: 'xml' }, "framing.format is 'xml': it must be one of length-field, delimiter, varint, raw"],
    [undefined, 'framing is undefined: it must be an object with a format'],
    ['length', "framing is 'length': it must be an object with a format"],
    [{ format: 'raw', maxFrameLength: 5 }, 'framing.maxFrameLength is unknown: a raw framing has no options'],
    [{ format: 'varint', delimiter: 'x' }, 'framing.delimiter is unknown: a varint framing has maxFrameLength'],
    [
      { format: 'varint', maxFrameLength: 0 },
      'framing.maxFrameLength is 0: it must be an integer from 1 to 2147483647',
    ],
    [{ format: 'varint', maxFrameLength: 1.5 }, 'framing.maxFrameLength is 1.5'],
    [{ format: 'varint', maxFrameLength: '10' }, "framing.maxFrameLength is '10'"],
    [{ format: 'length-field', lengthFieldLength: 5 }, 'framing.lengthFieldLength is 5: it must be 1, 2, 3, 4 or 8'],
    [
      { format: 'length-field', lengthFieldOffset: -1 },
      'framing.lengthFieldOffset is -1: it must be an integer from 0',
    ],
    [{ format: 'length-field', byteOrder: 'middle' }, "framing.byteOrder is 'middle': it must be 'big' or 'little'"],
    [{ format: 'length-field', lengthAdjustment: 2 ** 40 }, 'framing.lengthAdjustment is 1099511627776'],
    [
      { format: 'length-field', initialBytesToStrip: 2 },
      'initialBytesToStrip is 2: it must be at most 0 or at least 4',
    ],
    [
      { format: 'length-field', initialBytesToStrip: 5 },
      'initialBytesToStrip is 5: it must be at most 4, the end of the',
    ],
    [{ format: 'delimiter', delimiter: '' }, 'framing.delimiter is 0 bytes long: it must be 1 to 16 bytes'],
    [{ format: 'delimiter', delimiter: 'x'.repeat(17) }, 'framing.delimiter is 17 bytes long'],
    [{ format: 'delimiter', delimiter: 10 }, 'framing.delimiter is 10: it must be a string or a Uint8Array'],
    [{ format: 'delimiter', stripDelimiter: 'yes' }, "framing.stripDelimiter is 'yes': it must be true or false"],
    [{ format: 'delimiter', stripDelimiter: false, stripCarriageReturn: true }, 'framing.stripCarriageReturn is true'],
  ])('%j', (framing, message) => {
    expect(() => resolveFraming(framing as Framing)).toThrow(
      expect.objectContaining({ code: 'ERR_INVALID_FRAMING', message: expect.stringContaining(message) }),
    );
  });

  test('names that are none, and a limit given twice', () => {
    expect(() => framingOf('json' as FramingName)).toThrow(/length, line, varint, raw/);
    expect(() => framingOf({ format: 'varint' }, 5)).toThrow(/framing\.maxFrameLength/);
  });
});
