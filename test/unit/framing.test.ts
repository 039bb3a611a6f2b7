// Framers: every option, every cut, hostile lengths, random streams. The native twins are held to the same answers.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FrameStatus } from '../../src/framing/framer.js';
import type { Framing } from '../../src/framing/framing.js';
import { makeFramer } from '../../src/framing/make-framer.js';
import { resolveFraming } from '../../src/framing/validate-framing.js';

const STATUS_NAMES = Object.entries(FrameStatus);

/** One answer about a whole run of bytes. */
function next(framing: Framing, bytes: readonly number[] | Uint8Array) {
  const framer = makeFramer(resolveFraming(framing));
  const run = Uint8Array.from(bytes);
  const status = framer.next(run, 0, run.length);
  const { consumed, offset, length, needed, frameBytes, declared } = framer;
  const name = STATUS_NAMES.find(([, value]) => value === status)?.[0];
  return { status: name, consumed, offset, length, needed, frameBytes, declared };
}

interface Cut {
  readonly frames: string[];
  /** `frame` where everything was framed. */
  readonly status: string;
  readonly declared: number;
  readonly left: number;
}

/** What a connection does: keeps what is incomplete, and asks again when `needed` bytes are there. */
function frameAll(framing: Framing, stream: Uint8Array, cuts: readonly number[], margin = 0): Cut {
  const framer = makeFramer(resolveFraming(framing));
  const frames: string[] = [];
  // The run stands somewhere inside of larger memory, as it does in an engine.
  const memory = new Uint8Array(stream.length + 2 * margin).fill(0x0a);
  memory.set(stream, margin);
  let start = margin;
  let needed = 1;
  for (const cut of [...cuts, stream.length]) {
    const end = margin + cut;
    while (end - start >= needed) {
      const status = framer.next(memory, start, end);
      if (status === FrameStatus.needMore) {
        expect(framer.needed).toBeGreaterThan(end - start);
        needed = framer.needed;
        break;
      }
      if (status !== FrameStatus.frame) {
        const name = status === FrameStatus.tooLong ? 'tooLong' : 'malformed';
        return { frames, status: name, declared: framer.declared, left: end - start };
      }
      expect(framer.consumed).toBeGreaterThan(0);
      const from = start + framer.offset;
      frames.push(Buffer.from(memory.subarray(from, from + framer.length)).toString('hex'));
      start += framer.consumed;
      needed = 1;
    }
  }
  const left = margin + stream.length - start;
  return { frames, status: left === 0 ? 'frame' : 'needMore', declared: 0, left };
}

function everyCut(framing: Framing, stream: Uint8Array): void {
  const whole = frameAll(framing, stream, []);
  for (let cut = 0; cut <= stream.length; cut++) {
    const inTwo = frameAll(framing, stream, [cut], 3);
    expect({ cut, frames: inTwo.frames, status: inTwo.status, declared: inTwo.declared }).toEqual({
      cut,
      frames: whole.frames,
      status: whole.status,
      declared: whole.declared,
    });
  }
  const byteByByte = frameAll(framing, stream, [...stream.keys()]);
  expect(byteByByte.frames).toEqual(whole.frames);
  expect(byteByByte.status).toBe(whole.status);
}

const hex = (text: string): string => Buffer.from(text).toString('hex');

describe('length-field', () => {
  test.each([
    ['the defaults deliver the field too', {}, [0, 0, 0, 2, 65, 66], 0, 6],
    ['stripped', { initialBytesToStrip: 4 }, [0, 0, 0, 2, 65, 66], 4, 2],
    ['empty', { initialBytesToStrip: 4 }, [0, 0, 0, 0], 4, 0],
    ['1 byte', { lengthFieldLength: 1, initialBytesToStrip: 1 }, [2, 65, 66], 1, 2],
    ['2 bytes', { lengthFieldLength: 2, initialBytesToStrip: 2 }, [0, 2, 65, 66], 2, 2],
    ['3 bytes', { lengthFieldLength: 3, initialBytesToStrip: 3 }, [0, 0, 2, 65, 66], 3, 2],
    ['8 bytes', { lengthFieldLength: 8, initialBytesToStrip: 8 }, [0, 0, 0, 0, 0, 0, 0, 2, 65, 66], 8, 2],
    ['little-endian', { byteOrder: 'little', initialBytesToStrip: 4 }, [2, 0, 0, 0, 65, 66], 4, 2],
    ['little-endian, 3 bytes', { lengthFieldLength: 3, byteOrder: 'little' }, [2, 0, 0, 65, 66], 0, 5],
    ['behind an offset', { lengthFieldOffset: 2 }, [9, 9, 0, 0, 0, 2, 65, 66], 0, 8],
    ['the field counts itself', { lengthAdjustment: -4, initialBytesToStrip: 4 }, [0, 0, 0, 6, 65, 66], 4, 2],
    ['more behind the field than it says', { lengthAdjustment: 1 }, [0, 0, 0, 1, 65, 66], 0, 6],
    ['a header that is no payload', { headerLength: 2, maxFrameLength: 1 }, [0, 0, 0, 3, 7, 7, 65], 0, 7],
  ] as const)('%s', (_what, options, bytes, offset, length) => {
    const framing = { format: 'length-field', ...options } as Framing;
    const frame = { status: 'frame', consumed: bytes.length, offset, length, frameBytes: bytes.length };
    expect(next(framing, bytes)).toMatchObject(frame);
    expect(next(framing, [...bytes, 1, 2])).toMatchObject(frame);
    everyCut(framing, Uint8Array.from([...bytes, ...bytes, ...bytes]));
  });

  test('says how many bytes it needs, and the whole length once it is known', () => {
    const framing = { format: 'length-field', lengthFieldOffset: 1 } as const;
    expect(next(framing, [0])).toMatchObject({ status: 'needMore', needed: 5, frameBytes: 0 });
    expect(next(framing, [0, 0, 0, 0])).toMatchObject({ status: 'needMore', needed: 5, frameBytes: 0 });
    expect(next(framing, [0, 0, 0, 1, 0])).toMatchObject({ status: 'needMore', needed: 261, frameBytes: 261 });
  });

  test.each([
    ['just at the limit', { maxFrameLength: 2 }, [0, 0, 0, 2, 65, 66], 'frame', undefined],
    ['one over', { maxFrameLength: 1 }, [0, 0, 0, 2], 'tooLong', 2],
    ['the header does not count', { maxFrameLength: 1, headerLength: 12 }, [0, 0, 0, 14], 'tooLong', 2],
    ['all ones, 4 bytes', {}, [255, 255, 255, 255], 'tooLong', 4_294_967_295],
    ['all ones, 3 bytes', { lengthFieldLength: 3, maxFrameLength: 5 }, [255, 255, 255], 'tooLong', 16_777_215],
    ['2^53 - 1', { lengthFieldLength: 8 }, [0, 31, 255, 255, 255, 255, 255, 255], 'tooLong', 2 ** 53 - 1],
    ['2^53', { lengthFieldLength: 8 }, [0, 32, 0, 0, 0, 0, 0, 0], 'tooLong', 2 ** 53],
    ['2^63 - 1', { lengthFieldLength: 8 }, [127, 255, 255, 255, 255, 255, 255, 255], 'tooLong', 2 ** 63],
    [
      '2^63 - 1, adjusted beyond int64',
      { lengthFieldLength: 8, lengthAdjustment: 9 },
      [127, 255, 255, 255, 255, 255, 255, 255],
      'tooLong',
      2 ** 63,
    ],
    ['2^63: negative', { lengthFieldLength: 8 }, [128, 0, 0, 0, 0, 0, 0, 0], 'malformed', -(2 ** 63)],
    ['all ones, 8 bytes: -1', { lengthFieldLength: 8 }, [255, 255, 255, 255, 255, 255, 255, 255], 'malformed', -1],
    [
      'little-endian -1',
      { lengthFieldLength: 8, byteOrder: 'little' },
      [255, 255, 255, 255, 255, 255, 255, 255],
      'malformed',
      -1,
    ],
    ['little-endian 2^56', { lengthFieldLength: 8, byteOrder: 'little' }, [0, 0, 0, 0, 0, 0, 0, 1], 'tooLong', 2 ** 56],
    ['negative once adjusted', { lengthAdjustment: -8 }, [0, 0, 0, 7], 'malformed', 7],
    ['shorter than its header', { headerLength: 12 }, [0, 0, 0, 11], 'malformed', 11],
    ['zero once adjusted', { lengthAdjustment: -8 }, [0, 0, 0, 8], 'frame', undefined],
  ] as const)('hostile: %s', (_what, options, bytes, status, declared) => {
    const answer = next({ format: 'length-field', ...options } as Framing, bytes);
    expect(answer.status).toBe(status);
    if (declared !== undefined) expect(answer.declared).toBe(declared);
  });

  test('random streams, random cuts', () => {
    const payload = fc.uint8Array({ maxLength: 300 });
    const arbitrary = fc.record({
      fieldLength: fc.constantFrom(2, 3, 4, 8) as fc.Arbitrary<2 | 3 | 4 | 8>,
      little: fc.boolean(),
      offset: fc.nat({ max: 5 }),
      payloads: fc.array(payload, { maxLength: 12 }),
      cuts: fc.array(fc.nat({ max: 4_000 }), { maxLength: 8 }),
    });
    fc.assert(
      fc.property(arbitrary, ({ fieldLength, little, offset, payloads, cuts }) => {
        const framing: Framing = {
          format: 'length-field',
          lengthFieldOffset: offset,
          lengthFieldLength: fieldLength,
          byteOrder: little ? 'little' : 'big',
          initialBytesToStrip: offset + fieldLength,
        };
        const stream = Buffer.concat(
          payloads.map((bytes) => {
            const field = Buffer.alloc(8);
            if (little) field.writeBigUInt64LE(BigInt(bytes.length));
            else field.writeBigUInt64BE(BigInt(bytes.length));
            const kept = little ? field.subarray(0, fieldLength) : field.subarray(8 - fieldLength);
            return Buffer.concat([Buffer.alloc(offset, 7), kept, bytes]);
          }),
        );
        const sorted = cuts.filter((cut) => cut < stream.length).sort((a, b) => a - b);
        const { frames, status } = frameAll(framing, stream, sorted, 2);
        expect(status).toBe('frame');
        expect(frames).toEqual(payloads.map((bytes) => Buffer.from(bytes).toString('hex')));
      }),
    );
  });
});

describe('delimiter', () => {
  const lines: Framing = { format: 'delimiter' };

  test.each([
    ['LF', {}, 'one\ntwo\n\nthree\n', ['one', 'two', '', 'three']],
    ['not stripped', { stripDelimiter: false }, 'one\ntwo\n', ['one\n', 'two\n']],
    ['a CR before it dropped', { stripCarriageReturn: true }, 'one\r\ntwo\n\r\r\n\r\n', ['one', 'two', '\r', '']],
    ['CR LF', { delimiter: '\r\n' }, 'one\r\ntwo\rthree\nfour\r\r\n', ['one', 'two\rthree\nfour\r']],
    ['one that begins like itself', { delimiter: 'aab' }, 'xaaabyaabaab', ['xa', 'y', '']],
    ['bytes', { delimiter: Uint8Array.of(0, 0) }, 'a\0b\0\0c\0\0', ['a\0b', 'c']],
  ] as const)('%s', (_what, options, text, frames) => {
    const framing = { format: 'delimiter', ...options } as Framing;
    const stream = Buffer.from(text);
    expect(frameAll(framing, stream, [])).toMatchObject({ frames: frames.map(hex), status: 'frame' });
    everyCut(framing, stream);
  });

  test('a long line is found behind the short scan, and nothing is looked for behind the end', () => {
    const stream = Buffer.from(`${'x'.repeat(5_000)}\n${'y'.repeat(40)}`);
    const { frames, left } = frameAll(lines, stream, [10, 3_000, 4_999], 50);
    expect(frames).toEqual([hex('x'.repeat(5_000))]);
    expect(left).toBe(40);
  });

  test.each([
    ['at the limit', {}, 'xxxx\n', 'frame'],
    ['one over', {}, 'xxxxx\n', 'tooLong'],
    ['one over, without an end', {}, 'xxxxx', 'tooLong'],
    ['the dropped CR does not count', { stripCarriageReturn: true }, 'xxxx\r\n', 'frame'],
    ['a CR that is not dropped does', { stripCarriageReturn: true }, 'xxxx\rx\n', 'tooLong'],
    ['half a delimiter does not count', { delimiter: 'END' }, 'xxxxEN', 'needMore'],
    ['and the whole one neither', { delimiter: 'END' }, 'xxxxEND', 'frame'],
    ['a false start does', { delimiter: 'END' }, 'xxxxENx', 'tooLong'],
  ] as const)('maxFrameLength 4: %s', (_what, options, text, status) => {
    const framing = { format: 'delimiter', maxFrameLength: 4, ...options } as Framing;
    expect(next(framing, Buffer.from(text)).status).toBe(status);
    everyCut(framing, Buffer.from(text));
  });

  test('what stands before FIN is a last frame only where that is accepted', () => {
    const finish = (options: object, text: string) => {
      const framer = makeFramer(resolveFraming({ format: 'delimiter', ...options } as Framing));
      const bytes = Buffer.from(text);
      framer.next(bytes, 0, bytes.length);
      return { status: framer.finish(bytes, 0, bytes.length), length: framer.length };
    };
    expect(finish({}, 'last').status).toBe(FrameStatus.needMore);
    expect(finish({ acceptUnterminated: true }, 'last')).toEqual({ status: FrameStatus.frame, length: 4 });
    const short = { acceptUnterminated: true, stripCarriageReturn: true, maxFrameLength: 4 };
    expect(finish(short, 'last\r').status).toBe(FrameStatus.tooLong);
  });

  test('random streams, random cuts', () => {
    const letter = fc.constantFrom('a', 'b', '\r', '\n');
    const arbitrary = fc.record({
      text: fc.array(letter, { maxLength: 200 }).map((letters) => letters.join('')),
      delimiter: fc.constantFrom('\n', '\r\n', 'ab', 'aab', 'abab'),
      cuts: fc.array(fc.nat({ max: 200 }), { maxLength: 20 }),
    });
    fc.assert(
      fc.property(arbitrary, ({ text, delimiter, cuts }) => {
        const stream = Buffer.from(text);
        const sorted = cuts.filter((cut) => cut < stream.length).sort((a, b) => a - b);
        const expected = text.split(delimiter);
        const rest = expected.pop() ?? '';
        const { frames, left } = frameAll({ format: 'delimiter', delimiter }, stream, sorted, 5);
        expect(frames).toEqual(expected.map(hex));
        expect(left).toBe(rest.length);
      }),
    );
  });
});

describe('varint', () => {
  const varint = (maxFrameLength = 16_777_216): Framing => ({ format: 'varint', maxFrameLength });

  test.each([
    ['empty', [0], 1, 0],
    ['one byte', [1, 65], 1, 1],
    ['not in its shortest form', [0x81, 0x00, 65], 2, 1],
    ['300', [0xac, 0x02, ...Array(300).fill(66)], 2, 300],
  ])('%s', (_what, bytes, offset, length) => {
    expect(next(varint(), bytes)).toMatchObject({ status: 'frame', consumed: offset + length, offset, length });
    everyCut(varint(), Uint8Array.from([...bytes, ...bytes]));
  });

  test('needs one byte more while the prefix goes on, then the rest', () => {
    expect(next(varint(), [0x80])).toMatchObject({ status: 'needMore', needed: 2, frameBytes: 0 });
    expect(next(varint(), [0x80, 0x01])).toMatchObject({ status: 'needMore', needed: 130, frameBytes: 130 });
  });

  test.each([
    ['over the limit', [6], 'tooLong', 6],
    ['2^32 - 1', [0xff, 0xff, 0xff, 0xff, 0x0f], 'tooLong', 4_294_967_295],
    ['over 32 bits', [0xff, 0xff, 0xff, 0xff, 0x10], 'malformed', 4_563_402_751],
    ['a sixth byte', [0x80, 0x80, 0x80, 0x80, 0x80, 0x01], 'malformed', 0],
    ['all ones', [0xff, 0xff, 0xff, 0xff, 0xff], 'malformed', 2 ** 35 - 1],
  ])('hostile: %s', (_what, bytes, status, declared) => {
    expect(next(varint(5), bytes)).toMatchObject({ status, declared });
  });
});

test('raw: whatever is there is a frame', () => {
  expect(next({ format: 'raw' }, [1, 2, 3])).toMatchObject({ status: 'frame', consumed: 3, offset: 0, length: 3 });
  expect(next({ format: 'raw' }, [])).toMatchObject({ status: 'needMore', needed: 1 });
});

// What is sound is framed the same in any pieces (above); what is not must be judged the same too, or an attacker chooses the judge.
test('any bytes, any framing, any cuts: the same frames, the same verdict', () => {
  const framings: fc.Arbitrary<Framing> = fc.oneof(
    fc.record({
      format: fc.constant('length-field' as const),
      lengthFieldLength: fc.constantFrom(1, 2, 3, 4, 8),
      lengthFieldOffset: fc.nat(3),
      byteOrder: fc.constantFrom('big', 'little'),
      lengthAdjustment: fc.integer({ min: -2, max: 3 }),
      headerLength: fc.nat(3),
      maxFrameLength: fc.constantFrom(3, 20, 16_777_216),
    }),
    fc.record({
      format: fc.constant('delimiter' as const),
      delimiter: fc.constantFrom('\0', '\u0001\0', '\0\0\u0001'),
      stripDelimiter: fc.boolean(),
      stripCarriageReturn: fc.boolean(),
      maxFrameLength: fc.constantFrom(3, 20, 1_000),
    }),
    fc.record({ format: fc.constant('varint' as const), maxFrameLength: fc.constantFrom(3, 20, 1_000) }),
  ) as fc.Arbitrary<Framing>;
  // Small numbers: lengths that fit and delimiters that occur.
  const bytes = fc.array(fc.oneof(fc.nat(4), fc.nat(255), fc.constant(13)), { maxLength: 60 });
  fc.assert(
    fc.property(framings, bytes, fc.array(fc.nat(60), { maxLength: 60 }), (framing, content, cuts) => {
      fc.pre(isPossible(framing));
      const stream = Uint8Array.from(content);
      const sorted = cuts.filter((cut) => cut < stream.length).sort((a, b) => a - b);
      const { left: _, ...whole } = frameAll(framing, stream, []);
      const { left: __, ...pieces } = frameAll(framing, stream, sorted, 3);
      expect(pieces).toEqual(whole);
    }),
    { numRuns: 2_000 },
  );
});

function isPossible(framing: Framing): boolean {
  try {
    resolveFraming(framing);
    return true;
  } catch {
    return false;
  }
}
