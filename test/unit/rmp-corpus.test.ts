// The RMP codec's fuzz target over its corpus, and over random bytes with a header that fits. `npm run fuzz -- --target rmp` goes on.
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { fuzzRmp } from '../fuzz/rmp-target.js';

test('the corpus keeps every promise', () => {
  const corpus = new URL('../fuzz/corpus/rmp/', import.meta.url);
  const inputs = readdirSync(fileURLToPath(corpus)).map((name) => readFileSync(new URL(name, corpus)));
  expect(inputs.length).toBeGreaterThan(10);
  for (const input of inputs) fuzzRmp(input);
});

test('random payloads, as meta and as hello', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.constantFrom(1, 2, 4, 9), fc.boolean(), (payload, kind, meta) => {
      const input = Buffer.alloc(17 + payload.length);
      input.writeUInt32BE(12 + payload.length, 1);
      input[5] = kind;
      input[6] = meta ? 0x80 : 0;
      input.set(payload, 17);
      fuzzRmp(input);
    }),
    { numRuns: 3_000 },
  );
});
