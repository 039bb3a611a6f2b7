// Meta: both readers judge alike, and the token never gets through.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { encodeMeta, parseMeta } from '../../src/protocol/meta.js';
import { bodyStart, MetaScan, withoutToken } from '../../src/protocol/meta-scan.js';

const texts = fc.string({ maxLength: 12 });
const metas = fc.record(
  {
    traceContext: texts,
    tenant: texts,
    token: texts,
    affinityKey: texts,
    priority: fc.nat(255),
    custom: fc
      .array(fc.tuple(fc.integer({ min: 128, max: 255 }), fc.uint8Array({ maxLength: 8 })), { maxLength: 3 })
      .map((entries) => new Map(entries)),
  },
  { requiredKeys: [] },
);

/** At an offset, with bytes around it that are not the payload's. */
function placed(payload: Uint8Array): { bytes: Uint8Array; start: number; end: number } {
  const bytes = new Uint8Array(payload.length + 12).fill(0xff);
  bytes.set(payload, 7);
  return { bytes, start: 7, end: 7 + payload.length };
}

describe('meta', () => {
  test('sound meta is sound to both readers, and they agree on the body and the affinity key', () => {
    fc.assert(
      fc.property(metas, fc.uint8Array({ maxLength: 20 }), (meta, body) => {
        const { bytes, start, end } = placed(Buffer.concat([encodeMeta(meta), body]));
        const scan = new MetaScan();
        expect(scan.scan(bytes, start, end)).toBe(true);
        expect(scan.bodyStart).toBe(parseMeta(bytes, start, end)!.payloadStart);
        expect(bodyStart(bytes, start)).toBe(scan.bodyStart);
        expect(scan.hasToken).toBe(meta.token !== undefined);
        const key = scan.keyStart === -1 ? undefined : Buffer.from(bytes.subarray(scan.keyStart, scan.keyEnd));
        expect(key).toEqual(meta.affinityKey === undefined ? undefined : Buffer.from(meta.affinityKey));
      }),
    );
  });

  test('any bytes: both readers judge alike', () => {
    const junk = fc.uint8Array({ maxLength: 40 }).map((bytes) => {
      if (bytes.length > 1) bytes[0] = 0;
      return bytes;
    });
    fc.assert(
      fc.property(junk, (payload) => {
        const { bytes, start, end } = placed(payload);
        expect(new MetaScan().scan(bytes, start, end)).toBe(parseMeta(bytes, start, end) !== undefined);
      }),
      { numRuns: 2_000 },
    );
  });

  test('the token is cut out and everything else stays', () => {
    fc.assert(
      fc.property(metas, fc.uint8Array({ maxLength: 20 }), ({ token: _, ...meta }, body) => {
        const { bytes, start, end } = placed(Buffer.concat([encodeMeta({ ...meta, token: 'secret' }), body]));
        const without = withoutToken(bytes, start, end);
        expect(Buffer.from(without)).toEqual(Buffer.concat([encodeMeta(meta), body]));
      }),
    );
  });
});
