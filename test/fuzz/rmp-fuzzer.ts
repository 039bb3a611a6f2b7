/**
 * A small fuzzer guided by coverage, for the target that is TypeScript (libFuzzer sees only native code):
 * `rmp-fuzzer.js --seconds N --corpus FOLDER [--keep FOLDER]`. What reaches new blocks is kept and mutated further. An input that
 * breaks a promise is written to the working folder, and the exit status is 1.
 */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Coverage } from './coverage.js';
import { fuzzRmp } from './rmp-target.js';

/** Asking V8 costs more than a run: only a batch that found something is looked at one by one. */
const BATCH = 200;
const LONGEST = 1_024;
/** Bytes that mean something in a header, a length or a meta field. */
const INTERESTING = [0, 1, 2, 3, 4, 5, 9, 12, 13, 16, 0x7f, 0x80, 0xff];

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '10' },
    corpus: { type: 'string' },
    keep: { type: 'string' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
  },
});

let state = Number(values.seed) | 0;
/** In [0, limit); mulberry32. */
function below(limit: number): number {
  state = (state + 0x6d2b79f5) | 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * limit);
}

function frame(payload: Uint8Array): Uint8Array {
  const bytes = Buffer.alloc(17 + payload.length);
  bytes.writeUInt32BE(12 + payload.length, 1);
  bytes[5] = [1, 1, 2, 4, 9][below(5)];
  bytes[6] = [0x80, 0x80, 0, 4][below(4)];
  bytes.set(payload, 17);
  return bytes;
}

function seeds(): Uint8Array[] {
  const fields = [1, 2, 3, 4, 128].map((type) => Buffer.from([type, 0, 2, 65, 66]));
  const meta = Buffer.concat([
    Buffer.from([0, 5 * fields.length + 4]),
    ...fields,
    Buffer.from([5, 0, 1, 7]),
    Buffer.from('body'),
  ]);
  const hello = Buffer.from([0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 8]);
  return [frame(new Uint8Array(0)), frame(meta), frame(hello), Buffer.concat([frame(meta), frame(hello).subarray(1)])];
}

function mutate(input: Uint8Array, corpus: readonly Uint8Array[]): Uint8Array {
  let bytes = Buffer.from(input);
  for (let changes = 1 + below(4); changes > 0; changes--) {
    const at = below(bytes.length + 1);
    switch (below(7)) {
      case 0:
        if (at < bytes.length) bytes[at] = INTERESTING[below(INTERESTING.length)];
        break;
      case 1:
        if (at < bytes.length) bytes[at] ^= 1 << below(8);
        break;
      case 2:
        if (at < bytes.length) bytes[at] = (bytes[at] + below(9) - 4) & 0xff;
        break;
      case 3:
        bytes = Buffer.concat([bytes.subarray(0, at), Buffer.from([below(256)]), bytes.subarray(at)]);
        break;
      case 4:
        bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + below(8))]);
        break;
      case 5: {
        const other = corpus[below(corpus.length)];
        bytes = Buffer.concat([bytes.subarray(0, at), other.subarray(below(other.length + 1))]);
        break;
      }
      default:
        // The first frame's length says what is there: most mutations break it.
        if (bytes.length >= 17) bytes.writeUInt32BE(bytes.length - 5, 1);
    }
  }
  return bytes.subarray(0, LONGEST);
}

function nameOf(input: Uint8Array): string {
  return createHash('sha1').update(input).digest('hex');
}

function run(input: Uint8Array): void {
  try {
    fuzzRmp(input);
  } catch (error) {
    const folder = values.keep ?? '.';
    mkdirSync(folder, { recursive: true });
    const file = join(folder, `crash-${nameOf(input)}`);
    writeFileSync(file, input);
    console.error(error);
    console.error(`${file} breaks a promise: ${Buffer.from(input).toString('hex')}`);
    process.exit(1);
  }
}

function read(folder: string | undefined): Uint8Array[] {
  if (folder === undefined || !existsSync(folder)) return [];
  return readdirSync(folder).map((name) => readFileSync(join(folder, name)));
}

/** Answers how many blocks of the code under test nothing had reached before. */
function learn(seen: Set<string>): number {
  const before = seen.size;
  for (const block of coverage.take()) seen.add(block);
  return seen.size - before;
}

const coverage = new Coverage(/\/src\/(protocol|framing)\//);
/** By batches, and by inputs alone: a range that runs whole looks otherwise once a part of it did not. */
const seen = new Set<string>();
const seenAlone = new Set<string>();
const corpus: Uint8Array[] = [];
let runs = 0;

function learnAlone(input: Uint8Array): boolean {
  run(input);
  runs++;
  const isNew = learn(seenAlone) > 0;
  if (isNew) corpus.push(input);
  return isNew;
}

for (const input of [...seeds(), ...read(values.corpus), ...read(values.keep)]) learnAlone(input);
const endMs = performance.now() + Number(values.seconds) * 1_000;
while (performance.now() < endMs) {
  const batch = Array.from({ length: BATCH }, () => mutate(corpus[below(corpus.length)], corpus));
  for (const input of batch) run(input);
  runs += batch.length;
  if (learn(seen) === 0) continue;
  for (const input of batch) {
    if (!learnAlone(input) || values.keep === undefined) continue;
    mkdirSync(values.keep, { recursive: true });
    writeFileSync(join(values.keep, nameOf(input)), input);
  }
}
console.log(`${runs} runs, ${seenAlone.size} blocks, ${corpus.length} inputs, seed ${values.seed}`);
