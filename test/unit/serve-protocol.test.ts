// What the SDKs and the gateway share of RMP: hello, meta, statuses, the frames of docs/PROTOCOL.md.
import fc from 'fast-check';
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { Status } from '../../src/engine/tables.gen.js';
import { encodeHello, parseHello } from '../../src/protocol/hello.js';
import { encodeMeta, type Meta, parseMeta } from '../../src/protocol/meta.js';
import { StatusError, statusName } from '../../src/protocol/status-error.js';
import { rmpFrame } from '../support/rmp-peer.js';

const u32 = fc.integer({ min: 0, max: 0xffff_ffff });

test('a hello comes back as it was, whatever stands around it', () => {
  fc.assert(
    fc.property(
      u32,
      u32,
      u32,
      fc.uint8Array(),
      fc.uint8Array(),
      (features, maxFrameLength, streamWindow, before, after) => {
        const hello = { features, maxFrameLength, streamWindow };
        const bytes = Buffer.concat([before, encodeHello(hello), after]);
        expect(parseHello(bytes, before.length, bytes.length)).toEqual({ version: 1, ...hello });
      },
    ),
  );
});

test('a short hello and version 0 are none', () => {
  const hello = encodeHello({ features: 1, maxFrameLength: 1, streamWindow: 1 });
  expect(parseHello(hello, 0, hello.length - 1)).toBeUndefined();
  expect(parseHello(Buffer.alloc(14), 0, 14)).toBeUndefined();
});

const metas: fc.Arbitrary<Meta> = fc.record(
  {
    traceContext: fc.string(),
    tenant: fc.string({ unit: 'grapheme' }),
    token: fc.string(),
    affinityKey: fc.string(),
    priority: fc.integer({ min: 0, max: 255 }),
    custom: fc
      .uniqueArray(fc.tuple(fc.integer({ min: 128, max: 255 }), fc.uint8Array()), {
        minLength: 1,
        selector: ([type]) => type,
      })
      .map((fields) => new Map(fields)),
  },
  { requiredKeys: [] },
);

test('meta comes back as it was, with the payload behind it', () => {
  fc.assert(
    fc.property(metas, fc.uint8Array(), fc.uint8Array(), (meta, before, payload) => {
      const bytes = Buffer.concat([before, encodeMeta(meta), payload]);
      const parsed = parseMeta(bytes, before.length, bytes.length);
      expect(parsed?.meta).toEqual(meta);
      expect(bytes.subarray(parsed?.payloadStart)).toEqual(Buffer.from(payload));
    }),
  );
});

test('any bytes are meta or none, and reading them never throws', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
      const parsed = parseMeta(bytes, 0, bytes.length);
      if (parsed !== undefined) expect(parsed.payloadStart).toBeLessThanOrEqual(bytes.length);
    }),
  );
});

test.each([
  ['no length', []],
  ['a length past the payload', [0, 1]],
  ['half a field', [0, 2, 1, 0]],
  ['a field past the meta', [0, 3, 2, 0, 1]],
  ['an unknown field below 128', [0, 3, 6, 0, 0]],
  ['field 0', [0, 3, 0, 0, 0]],
  ['a priority of two bytes', [0, 5, 5, 0, 2, 1, 1]],
])('meta with %s does not add up', (_what, bytes) => {
  expect(parseMeta(Uint8Array.from(bytes), 0, bytes.length)).toBeUndefined();
});

test('meta that cannot be sent is refused', () => {
  expect(() => encodeMeta({ priority: 256 })).toThrow('meta.priority is 256');
  expect(() => encodeMeta({ custom: new Map([[127, new Uint8Array()]]) })).toThrow('field type 127');
  expect(() => encodeMeta({ tenant: 'x'.repeat(65_536) })).toThrow('65536 bytes');
  expect(() => encodeMeta({ tenant: 'x'.repeat(40_000), token: 'x'.repeat(40_000) })).toThrow('at most 65535');
});

test('whether a request may be sent again', () => {
  const retryable = (status: number, notExecuted: boolean, idempotent: boolean): boolean =>
    new StatusError(status, '', { notExecuted, idempotent }).retryable;
  expect(retryable(Status.UNAVAILABLE, false, false)).toBe(false);
  expect(retryable(Status.UNAVAILABLE, true, false)).toBe(true);
  expect(retryable(Status.UNAVAILABLE, false, true)).toBe(true);
  expect(retryable(Status.INVALID_ARGUMENT, false, true)).toBe(false);
  expect(statusName(14)).toBe('UNAVAILABLE');
  expect(statusName(99)).toBe('STATUS_99');
});

test('the frames in docs/PROTOCOL.md are what they say', () => {
  const page = readFileSync(new URL('../../docs/PROTOCOL.md', import.meta.url), 'utf8').replace(/\s+/g, ' ');
  const meta = encodeMeta({ tenant: 'acme', priority: 3 });
  const frames = [
    rmpFrame({ kind: 1, route: 7, id: 1, arg: 1000, payload: 'hello' }),
    rmpFrame({ kind: 2, route: 7, id: 1, payload: 'HELLO' }),
    rmpFrame({ kind: 2, flags: 1, id: 3, payload: 'a' }),
    rmpFrame({ kind: 3, id: 1 }),
    rmpFrame({ kind: 2, flags: 8, route: 9, id: 2, arg: Status.NOT_FOUND, payload: 'no route 9' }),
    rmpFrame({ kind: 10, id: 3, arg: 16 }),
    rmpFrame({ kind: 6, id: 9, payload: 'x' }),
    rmpFrame({ kind: 8, arg: 30_000 }),
    encodeHello({ features: 1, maxFrameLength: 16_777_216, streamWindow: 32 }),
    rmpFrame({ kind: 1, flags: 132, id: 4, payload: Buffer.concat([meta, Buffer.from('hi')]) }).subarray(0, 16),
    meta.subarray(0, 2),
    meta.subarray(2),
  ];
  for (const frame of frames)
    expect(page).toContain([...frame].map((byte) => byte.toString(16).padStart(2, '0')).join(' '));
});

test('every status of the table is in docs/PROTOCOL.md', () => {
  const page = readFileSync(new URL('../../docs/PROTOCOL.md', import.meta.url), 'utf8');
  for (const [name, code] of Object.entries(Status)) expect(page).toContain(`| ${code} | ${name} |`);
});
