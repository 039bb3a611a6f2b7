// docs/SECURITY.md says of every limit what it is by default and which test holds it: the table must be whole and true.
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { ENGINE_LIMITS } from '../../src/engine/tables.gen.js';
import { limits } from '../../src/limits.js';

const read = (path: string): string => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');

interface Row {
  readonly name: string;
  readonly value: number;
  readonly test: string;
}

const rows = [...read('docs/SECURITY.md').matchAll(/^\| `(\w+)` \| ([\d.]+) [^|]*\| ([^|]+) \|$/gm)].map(
  ([, name, value, test]): Row => ({ name, value: Number(value), test }),
);

test('every limit stands there with its default', () => {
  const all = { ...ENGINE_LIMITS, ...limits };
  expect(Object.fromEntries(rows.map(({ name, value }) => [name, value]))).toEqual(all);
});

test.each(rows.filter((row) => !row.test.startsWith('none')))('$name: the test that holds it is there', (row) => {
  const [, file, title] = /^(\S+): (.*)$/.exec(row.test)!;
  expect(read(`test/${file}`).replaceAll("\\'", "'")).toContain(title);
});
