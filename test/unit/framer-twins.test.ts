// The native framers and their TypeScript twins are each other's oracle: the fuzz corpora and random inputs, cut at random, give
// the same frames and the same errors.
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { FrameStatus } from '../../src/framing/framer.js';
import type { Framing } from '../../src/framing/framing.js';
import { makeFramer } from '../../src/framing/make-framer.js';
import { resolveFraming } from '../../src/framing/validate-framing.js';

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const ORACLE = join(root, 'build-native', 'fuzz', 'framer_oracle');
/** In the order of native/framer/framer.h. */
const FORMATS = ['length_field', 'delimiter', 'varint', 'raw'] as const;
const RANDOM_INPUTS = 4_000;

/** A line of the oracle: an input as it read it, and what the native framer made of it. */
interface Case {
  readonly format: number;
  readonly maxFrameLength: number;
  readonly lengthFieldOffset: number;
  readonly lengthFieldLength: 1 | 2 | 3 | 4 | 8;
  readonly littleEndian: boolean;
  readonly lengthAdjustment: number;
  readonly initialBytesToStrip: number;
  readonly headerLength: number;
  readonly delimiter: string;
  readonly stripDelimiter: boolean;
  readonly stripCarriageReturn: boolean;
  readonly acceptUnterminated: boolean;
  readonly finish: boolean;
  readonly patient: boolean;
  readonly pieces: readonly number[];
  readonly stream: string;
  readonly frames: readonly string[];
  readonly status: number;
  readonly declared: string;
  readonly needed: number;
  readonly frameBytes: number;
  readonly left: string;
}

function askOracle(inputs: readonly { readonly format: number; readonly bytes: Uint8Array }[]): Case[] {
  const lines = inputs.map(({ format, bytes }) => `${format} ${Buffer.from(bytes).toString('hex')}\n`);
  const oracle = spawnSync(ORACLE, { input: lines.join(''), encoding: 'utf8', maxBuffer: 1 << 30 });
  expect(oracle.stderr).toBe('');
  expect(oracle.status).toBe(0);
  const cases = oracle.stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as Case);
  // Patiently and not.
  expect(cases.length).toBe(2 * inputs.length);
  return cases;
}

function framingOf(input: Case): Framing {
  switch (input.format) {
    case 0:
      return {
        format: 'length-field',
        lengthFieldOffset: input.lengthFieldOffset,
        lengthFieldLength: input.lengthFieldLength,
        byteOrder: input.littleEndian ? 'little' : 'big',
        lengthAdjustment: input.lengthAdjustment,
        initialBytesToStrip: input.initialBytesToStrip,
        headerLength: input.headerLength,
        maxFrameLength: input.maxFrameLength,
      };
    case 1:
      return {
        format: 'delimiter',
        delimiter: Buffer.from(input.delimiter, 'hex'),
        stripDelimiter: input.stripDelimiter,
        stripCarriageReturn: input.stripCarriageReturn,
        acceptUnterminated: input.acceptUnterminated,
        maxFrameLength: input.maxFrameLength,
      };
    case 2:
      return { format: 'varint', maxFrameLength: input.maxFrameLength };
    default:
      return { format: 'raw' };
  }
}

type Outcome = Pick<Case, 'frames' | 'status' | 'needed' | 'frameBytes' | 'left'> & { readonly declared: number };

/** As test/fuzz/framer_case.cc feeds the native framer, word for word. */
function runTwin(input: Case): Outcome {
  const framer = makeFramer(resolveFraming(framingOf(input)));
  const stream = Buffer.from(input.stream, 'hex');
  const frames: string[] = [];
  let status: number = FrameStatus.needMore;
  let start = 0;
  let end = 0;
  let needed = 1;
  const failed = () => status === FrameStatus.tooLong || status === FrameStatus.malformed;
  const step = (finish: boolean): boolean => {
    // Other bytes follow in memory, as they do in an engine.
    status = finish ? framer.finish(stream, start, end) : framer.next(stream, start, end);
    needed = status === FrameStatus.needMore && !finish ? framer.needed : 1;
    if (status !== FrameStatus.frame) return false;
    frames.push(stream.subarray(start + framer.offset, start + framer.offset + framer.length).toString('hex'));
    start += framer.consumed;
    return true;
  };
  for (let i = 0; end < stream.length && !failed(); i++) {
    const length = input.pieces.length === 0 ? stream.length : input.pieces[i % input.pieces.length];
    end = Math.min(stream.length, end + length);
    if (input.patient && end - start < needed) continue;
    while (end > start && step(false));
  }
  const finishes = input.finish && !failed() && end > start;
  if (finishes) step(true);
  const waits = status === FrameStatus.needMore;
  return {
    frames,
    status,
    declared: failed() ? framer.declared : 0,
    needed: waits ? needed : 0,
    // Of a truncated frame the native framer's answer is empty.
    frameBytes: waits && !finishes && stream.length > 0 ? framer.frameBytes : 0,
    left: failed() ? '' : stream.subarray(start, end).toString('hex'),
  };
}

/** The statuses have other numbers there. */
const NATIVE_STATUS = [FrameStatus.frame, FrameStatus.needMore, FrameStatus.tooLong, FrameStatus.malformed];

function expectTwins(cases: readonly Case[]): void {
  for (const input of cases) {
    const { frames, needed, frameBytes, left } = input;
    const native = { frames, status: NATIVE_STATUS[input.status], declared: Number(input.declared) };
    const expected = { ...native, needed, frameBytes, left };
    const got = runTwin(input);
    // Thousands of times: the comparison that explains itself only where there is something to explain.
    if (JSON.stringify(got) !== JSON.stringify(expected)) expect({ input, ...got }).toEqual({ input, ...expected });
  }
}

function corpusOf(format: number): Uint8Array[] {
  const folder = join(root, 'test', 'fuzz', 'corpus', FORMATS[format]);
  return readdirSync(folder).map((name) => readFileSync(join(folder, name)));
}

const built = existsSync(ORACLE);
if (!built && process.platform !== 'linux') console.log('framer twins: not tested, the native framers are for Linux');

test.runIf(built || process.platform === 'linux').each(FORMATS)('the corpus of %s', (name) => {
  const format = FORMATS.indexOf(name);
  const corpus = corpusOf(format);
  expect(corpus.length).toBeGreaterThan(10);
  expectTwins(askOracle(corpus.map((bytes) => ({ format, bytes }))));
});

test.runIf(built || process.platform === 'linux').each(FORMATS)('random inputs of %s', (name) => {
  const format = FORMATS.indexOf(name);
  // Small bytes are lengths that fit, delimiters and choices; mutated corpus inputs reach what those do not.
  const byte = fc.oneof(fc.constantFrom(0, 1, 2, 3, 10, 13, 97, 98), fc.integer({ min: 0, max: 255 }));
  const random = fc.array(byte, { maxLength: 200 }).map((bytes) => Uint8Array.from(bytes));
  const mutated = fc
    .tuple(fc.constantFrom(...corpusOf(format)), fc.array(fc.tuple(fc.nat(), byte), { maxLength: 6 }))
    .map(([bytes, changes]) => {
      const copy = Uint8Array.from(bytes);
      for (const [at, value] of changes) if (copy.length > 0) copy[at % copy.length] = value;
      return copy;
    });
  const seed = Number(process.env.RINGWAY_TEST_SEED ?? Date.now() % 1_000_000_007);
  console.log(`RINGWAY_TEST_SEED=${seed}`);
  const inputs = fc.sample(fc.oneof(random, mutated), { numRuns: RANDOM_INPUTS, seed });
  const cases = askOracle(inputs.map((bytes) => ({ format, bytes })));
  expectTwins(cases);
  expect(cases.some(({ frames }) => frames.length > 1)).toBe(true);
});
