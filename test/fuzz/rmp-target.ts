/**
 * The fuzz target of the RMP codec, which is TypeScript: a stream is cut by the RMP framing, and of each frame everything is
 * read that the gateway and the SDKs read. Nothing may throw; the two readers of meta must judge alike; what is written must be
 * read back the same.
 */
import assert from 'node:assert/strict';
import { FrameStatus } from '../../src/framing/framer.js';
import { makeFramer } from '../../src/framing/make-framer.js';
import { resolveFraming } from '../../src/framing/validate-framing.js';
import { encodeHello, parseHello } from '../../src/protocol/hello.js';
import { encodeMeta, type Meta, parseMeta } from '../../src/protocol/meta.js';
import { bodyStart, MetaScan, withoutToken } from '../../src/protocol/meta-scan.js';
import {
  At,
  Flag,
  HEADER_AFTER_LENGTH,
  HEADER_BYTES,
  Kind,
  readU16,
  readU32,
  rmpFraming,
  VERSION,
  writeHeader,
} from '../../src/protocol/rmp.js';

const MAX_FRAME_LENGTHS = [16_777_216, 1, 16, 100, 1_000];
const scan = new MetaScan();

/** @throws AssertionError where a promise is not kept; anything else that is thrown is a finding as well. */
export function fuzzRmp(input: Uint8Array): void {
  if (input.length === 0) return;
  const maxFrameLength = MAX_FRAME_LENGTHS[input[0] % MAX_FRAME_LENGTHS.length];
  const framer = makeFramer(resolveFraming(rmpFraming(maxFrameLength)));
  let start = 1;
  while (start < input.length && framer.next(input, start, input.length) === FrameStatus.frame) {
    assert.ok(framer.consumed >= HEADER_BYTES && framer.length - HEADER_BYTES <= maxFrameLength);
    checkFrame(input, start + framer.offset, start + framer.offset + framer.length);
    start += framer.consumed;
  }
}

function checkFrame(bytes: Uint8Array, start: number, end: number): void {
  const payload = start + At.payload;
  checkHeader(bytes, start, end);
  if ((bytes[start + At.flags] & Flag.meta) !== 0) checkMeta(bytes, payload, end);
  if (bytes[start + At.kind] === Kind.hello) checkHello(bytes, payload, end);
}

function checkHeader(bytes: Uint8Array, start: number, end: number): void {
  assert.equal(readU32(bytes, start + At.length), end - start - At.payload + HEADER_AFTER_LENGTH);
  const written = new Uint8Array(HEADER_BYTES);
  writeHeader(
    written,
    end - start - HEADER_BYTES,
    bytes[start + At.kind],
    bytes[start + At.flags],
    readU16(bytes, start + At.route),
    readU32(bytes, start + At.id),
    readU32(bytes, start + At.arg),
  );
  assert.deepEqual(written, Uint8Array.from(bytes.subarray(start, start + HEADER_BYTES)));
}

function checkMeta(bytes: Uint8Array, start: number, end: number): void {
  const parsed = parseMeta(bytes, start, end);
  assert.equal(scan.scan(bytes, start, end), parsed !== undefined, 'the two readers of meta disagree');
  if (parsed === undefined) return;
  const { meta, payloadStart } = parsed;
  assert.ok(payloadStart <= end);
  assert.equal(scan.bodyStart, payloadStart);
  assert.equal(bodyStart(bytes, start), payloadStart);
  assert.equal(scan.hasToken, meta.token !== undefined);
  const key = scan.keyStart < 0 ? undefined : Buffer.from(bytes.subarray(scan.keyStart, scan.keyEnd)).toString();
  assert.equal(key, meta.affinityKey);

  const passedOn = withoutToken(bytes, start, end);
  const again = parseMeta(passedOn, 0, passedOn.length);
  const { token, ...others } = meta;
  assert.deepEqual(again?.meta, others, 'more than the token was taken out, or less');
  assert.deepEqual(passedOn.slice(again?.payloadStart), Uint8Array.from(bytes.subarray(payloadStart, end)));
  checkMetaWritten(meta);
}

/** What was not UTF-8 was replaced when it was read: it may have become too long. */
function checkMetaWritten(meta: Meta): void {
  let written: Buffer;
  try {
    written = encodeMeta(meta);
  } catch (error) {
    assert.ok(error instanceof RangeError);
    return;
  }
  assert.deepEqual(parseMeta(written, 0, written.length), { meta, payloadStart: written.length });
}

function checkHello(bytes: Uint8Array, start: number, end: number): void {
  const hello = parseHello(bytes, start, end);
  if (hello === undefined) return;
  const written = encodeHello(hello);
  assert.deepEqual(parseHello(written, 0, written.length), { ...hello, version: VERSION });
}
