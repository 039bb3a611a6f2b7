// Encoders: what is sent is what the same framing delivers again, and what cannot be sent is refused.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { makeEncoder } from '../../src/framing/encoder.js';
import { FrameStatus } from '../../src/framing/framer.js';
import type { Framing } from '../../src/framing/framing.js';
import { makeFramer } from '../../src/framing/make-framer.js';
import { framingOf } from '../../src/framing/shorthand.js';
import { resolveFraming } from '../../src/framing/validate-framing.js';

function encode(framing: Framing, payload: Uint8Array | string): Buffer {
  const encoder = makeEncoder(resolveFraming(framing));
  const bytes = Buffer.from(payload);
  const headerLength = encoder.begin(bytes, 0, bytes.length);
  return Buffer.concat([encoder.header.subarray(0, headerLength), bytes, encoder.trailer]);
}

function decode(framing: Framing, frame: Buffer): Buffer {
  const framer = makeFramer(resolveFraming(framing));
  expect(framer.next(frame, 0, frame.length)).toBe(FrameStatus.frame);
  expect(framer.consumed).toBe(frame.length);
  return frame.subarray(framer.offset, framer.offset + framer.length);
}

const framings: [string, Framing][] = [
  ['length', framingOf('length')],
  ['varint', framingOf('varint')],
  ['raw', framingOf('raw')],
  [
    'a little-endian length of 2 bytes',
    { format: 'length-field', lengthFieldLength: 2, byteOrder: 'little', initialBytesToStrip: 2 },
  ],
  [
    'a length of 3 bytes that counts itself',
    { format: 'length-field', lengthFieldLength: 3, lengthAdjustment: -3, initialBytesToStrip: 3 },
  ],
  [
    'a length of 8 bytes behind an offset',
    { format: 'length-field', lengthFieldLength: 8, lengthFieldOffset: 3, initialBytesToStrip: 11 },
  ],
  ['a header that is stripped whole', { format: 'length-field', headerLength: 6, initialBytesToStrip: 10 }],
  [
    'a length that only counts the payload',
    { format: 'length-field', headerLength: 6, lengthAdjustment: 6, initialBytesToStrip: 10 },
  ],
];

describe('what is encoded is delivered again', () => {
  test.each(framings)('%s', (_name, framing) => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: framing.format === 'raw' ? 1 : 0, maxLength: 500 }), (payload) => {
        expect(decode(framing, encode(framing, payload)).equals(payload)).toBe(true);
      }),
    );
  });

  test('delimiters', () => {
    for (const [framing, payload] of [
      [framingOf('line'), 'a line'],
      [{ format: 'delimiter', delimiter: '\r\n' }, 'with\rhalf\n'],
      [{ format: 'delimiter', stripDelimiter: false }, 'whole\n'],
    ] as [Framing, string][]) {
      expect(decode(framing, encode(framing, payload)).toString()).toBe(payload);
    }
  });

  test('a frame that is delivered with its header is sent with it', () => {
    const framing: Framing = { format: 'length-field', headerLength: 12 };
    const frame = Buffer.alloc(20);
    frame.writeUInt32BE(16);
    expect(encode(framing, frame).equals(frame)).toBe(true);
    expect(() => encode(framing, frame.subarray(0, 19))).toThrow(
      'it has 19 bytes, which is not what its length field says',
    );
    expect(() => encode(framing, Buffer.alloc(0))).toThrow(/0 bytes/);
    expect(() => encode(framing, Buffer.alloc(4))).toThrow('its length field says 0');
  });
});

test('the header is what the format says', () => {
  expect(encode(framingOf('length'), 'abc')).toEqual(Buffer.from([0, 0, 0, 3, 97, 98, 99]));
  expect(encode(framingOf('varint'), Buffer.alloc(300)).subarray(0, 2)).toEqual(Buffer.from([0xac, 0x02]));
  expect(encode(framingOf('line'), 'abc').toString()).toBe('abc\n');
});

test.each([
  [
    'over maxFrameLength',
    framingOf('length', 3),
    'abcd',
    'ERR_FRAME_TOO_LONG',
    'a frame of 4 bytes cannot be sent: maxFrameLength is 3',
  ],
  ['over maxFrameLength, varint', framingOf('varint', 3), 'abcd', 'ERR_FRAME_TOO_LONG', 'maxFrameLength is 3'],
  ['over maxFrameLength, line', framingOf('line', 3), 'abcd', 'ERR_FRAME_TOO_LONG', 'maxFrameLength is 3'],
  [
    'over what its field can say',
    { format: 'length-field', lengthFieldLength: 1, initialBytesToStrip: 1 },
    'x'.repeat(256),
    'ERR_FRAME_TOO_LONG',
    'a length field of 1 byte cannot say 256',
  ],
  [
    'negative once adjusted',
    { format: 'length-field', lengthAdjustment: 9, initialBytesToStrip: 4 },
    'x',
    'ERR_FRAME_TOO_LONG',
    'cannot say -8',
  ],
  [
    'a header that is not whole',
    { format: 'length-field', headerLength: 6, initialBytesToStrip: 4 },
    'x',
    'ERR_INVALID_FRAME',
    'its header of 6 bytes is not whole',
  ],
  [
    'a delimiter inside',
    framingOf('line'),
    'two\nlines',
    'ERR_INVALID_FRAME',
    'the delimiter stands inside it, at byte 3',
  ],
  [
    'an end that makes a delimiter too early',
    { format: 'delimiter', delimiter: 'aa' },
    'xa',
    'ERR_INVALID_FRAME',
    'read as an earlier delimiter',
  ],
  [
    'no delimiter at its end',
    { format: 'delimiter', stripDelimiter: false },
    'x',
    'ERR_INVALID_FRAME',
    'it must end with the delimiter',
  ],
] as [string, Framing, string, string, string][])('refused: %s', (_what, framing, payload, code, message) => {
  expect(() => encode(framing, payload)).toThrow(
    expect.objectContaining({ code, message: expect.stringContaining(message) }),
  );
});
