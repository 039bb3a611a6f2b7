// The codecs of the client protocols and the header of RMP: whatever the values and wherever they lie, they come back.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FrameStatus } from '../../src/framing/framer.js';
import type { Framing } from '../../src/framing/framing.js';
import { makeFramer } from '../../src/framing/make-framer.js';
import { resolveFraming } from '../../src/framing/validate-framing.js';
import { asOneLine, hasLineBreak, linesFraming } from '../../src/protocol/lines.js';
import { PLAIN_HEADER_BYTES, plainFraming } from '../../src/protocol/plain.js';
import {
  At,
  HEADER_AFTER_LENGTH,
  HEADER_BYTES,
  readU16,
  readU32,
  rmpFraming,
  writeHeader,
  writeU32,
} from '../../src/protocol/rmp.js';

const u8 = fc.nat(0xff);
const u16 = fc.nat(0xffff);
const u32 = fc.nat(0xffff_ffff);

/** The frames of a whole stream, and what its last bytes are. */
function framesOf(framing: Framing, stream: Uint8Array): { frames: Buffer[]; left: number; status: number } {
  const framer = makeFramer(resolveFraming(framing));
  const frames: Buffer[] = [];
  let at = 0;
  while (at < stream.length) {
    const status = framer.next(stream, at, stream.length);
    if (status !== FrameStatus.frame) return { frames, left: stream.length - at, status };
    const from = at + framer.offset;
    frames.push(Buffer.from(stream.subarray(from, from + framer.length)));
    at += framer.consumed;
  }
  return { frames, left: 0, status: FrameStatus.frame };
}

describe('rmp', () => {
  test('a header comes back as it was written, and a DataView reads the same', () => {
    fc.assert(
      fc.property(u8, u8, u16, u32, u32, fc.nat(2 ** 30), fc.nat(20), (kind, flags, route, id, arg, length, at) => {
        const header = new Uint8Array(HEADER_BYTES);
        writeHeader(header, length, kind, flags, route, id, arg);
        const bytes = new Uint8Array(at + HEADER_BYTES);
        bytes.set(header, at);
        const view = new DataView(bytes.buffer);
        expect(readU32(bytes, at + At.length)).toBe(HEADER_AFTER_LENGTH + length);
        expect([bytes[at + At.kind], bytes[at + At.flags]]).toEqual([kind, flags]);
        expect([readU16(bytes, at + At.route), view.getUint16(at + At.route)]).toEqual([route, route]);
        expect([readU32(bytes, at + At.id), view.getUint32(at + At.id)]).toEqual([id, id]);
        expect([readU32(bytes, at + At.arg), view.getUint32(at + At.arg)]).toEqual([arg, arg]);
      }),
    );
  });

  test('an id that went through a signed number is the same on the wire', () => {
    fc.assert(
      fc.property(u32, (id) => {
        const header = new Uint8Array(HEADER_BYTES);
        writeHeader(header, 0, 1, 0, 0, id | 0, 0);
        expect(readU32(header, At.id)).toBe(id);
        expect((id | 0) >>> 0).toBe(id);
      }),
    );
  });

  test('frames of any payloads are cut whole, headers included; one that is too long ends the stream there', () => {
    const limit = 40;
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 8 }), u32, (payloads, id) => {
        const frames = payloads.map((payload) => {
          const header = Buffer.alloc(HEADER_BYTES);
          writeHeader(header, payload.length, 1, 0, 0, id, 0);
          return Buffer.concat([header, payload]);
        });
        const long = payloads.findIndex((payload) => payload.length > limit);
        const cut = framesOf(rmpFraming(limit), Buffer.concat(frames));
        expect(cut.frames).toEqual(long === -1 ? frames : frames.slice(0, long));
        expect(cut.status).toBe(long === -1 ? FrameStatus.frame : FrameStatus.tooLong);
      }),
    );
  });

  test('a frame shorter than its header is malformed', () => {
    fc.assert(
      fc.property(fc.nat(HEADER_AFTER_LENGTH - 1), fc.uint8Array({ maxLength: 30 }), (length, rest) => {
        const bytes = Buffer.concat([Buffer.alloc(4), rest]);
        writeU32(bytes, 0, length);
        expect(framesOf(rmpFraming(100), bytes).status).toBe(FrameStatus.malformed);
      }),
    );
  });
});

test('plain: payloads behind their lengths come back without them', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 50 }), { maxLength: 10 }), (payloads) => {
      const stream = payloads.map((payload) => {
        const head = Buffer.alloc(PLAIN_HEADER_BYTES);
        writeU32(head, 0, payload.length);
        return Buffer.concat([head, payload]);
      });
      const cut = framesOf(plainFraming(50), Buffer.concat(stream));
      expect(cut.left).toBe(0);
      expect(cut.frames).toEqual(payloads.map((payload) => Buffer.from(payload)));
    }),
  );
});

describe('lines', () => {
  const text = fc
    .array(fc.constantFrom('a', 'ü', ' ', '\r', '\n', '\0'), { maxLength: 40 })
    .map((parts) => parts.join(''));

  test('an answer becomes one line of the same length, and what it was made of stays', () => {
    fc.assert(
      fc.property(text, fc.nat(5), fc.nat(5), (content, before, after) => {
        const bytes = Buffer.concat([Buffer.alloc(before, '\n'), Buffer.from(content), Buffer.alloc(after, '\n')]);
        const copy = Buffer.from(bytes);
        const end = bytes.length - after;
        expect(hasLineBreak(bytes, before, end)).toBe(/[\r\n]/.test(content));
        expect(Buffer.from(asOneLine(bytes, before, end)).toString()).toBe(content.replace(/[\r\n]/g, ' '));
        expect(bytes).toEqual(copy);
      }),
    );
  });

  test('one line each, sent with LF or CR LF, comes back alone', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(text, fc.boolean()), { maxLength: 10 }), (answers) => {
        const lines = answers.map(([content]) =>
          Buffer.from(asOneLine(Buffer.from(content), 0, Buffer.byteLength(content))),
        );
        const stream = lines.flatMap((line, i) => [line, Buffer.from(answers[i][1] ? '\r\n' : '\n')]);
        expect(framesOf(linesFraming(1_000), Buffer.concat(stream)).frames).toEqual(lines);
      }),
    );
  });
});
