// docs/SECURITY.md says of every limit what it is by default and which test holds it: the table must be whole and true.
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
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

/** A case of a native test, but for one that is decorated with skip. */
const NATIVE_CASE = /\bTEST_CASE\(\s*"((?:\\.|[^"\\])*)"(?!\s*\*\s*doctest::skip)/g;
/** `test('…'`, `it.each([…])('…'`, `test.runIf(…)('…'`: of what stands between, only what leaves nothing out. */
const CASE =
  /\b(?:test|it)(?:\.(?:concurrent|sequential))*(?:\.(?:each|for|runIf|skipIf)\([^;]*?\))?\(\s*(?:'((?:\\.|[^'\\])*)'|`((?:\\.|[^`\\])*)`)/g;

/** The titles of the tests that run. */
function titlesIn(source: string): string[] {
  const code = source.replaceAll(/\/\*[\s\S]*?\*\//g, '').replaceAll(/^\s*\/\/.*$/gm, '');
  if (/\bdescribe\w*\.(?:skip|todo)\b/.test(code)) return [];
  const cases = [...code.matchAll(NATIVE_CASE), ...code.matchAll(CASE)];
  return cases.map(([, plain, template]) => (plain ?? template).replaceAll(/\\(['"`])/g, '$1'));
}

test('every limit stands there with its default', () => {
  const all = { ...ENGINE_LIMITS, ...limits };
  expect(Object.fromEntries(rows.map(({ name, value }) => [name, value]))).toEqual(all);
});

test.each(rows.filter((row) => !row.test.startsWith('none')))(
  '$name: the test that holds it is there, and runs',
  (row) => {
    const [, file, title] = /^(\S+): (.*)$/.exec(row.test)!;
    expect(titlesIn(read(`test/${file}`))).toContain(title);
  },
);

describe('a test that holds a limit', () => {
  const [skip, todo] = ['skip', 'todo'];

  test.each([
    ["test('a limit', () => {});", true],
    ["  it.each([[1], [2]])('a limit', () => {});", true],
    ["test.runIf(process.platform === 'linux')(\n  'a limit', () => {});", true],
    ['TEST_CASE("a limit") {', true],
    ["// test('a limit', () => {});", false],
    ["/* test('a limit', () => {}); */", false],
    [`test.${skip}('a limit', () => {});`, false],
    [`test.${todo}('a limit');`, false],
    [`describe.${skip}('all', () => { test('a limit', () => {}); });`, false],
    ["test('a limit that is another one', () => {});", false],
    ["expect(text).toBe('a limit');", false],
    ['// TEST_CASE("a limit") {', false],
    [`TEST_CASE("a limit" * doctest::${skip}()) {`, false],
  ])('%s: %s', (source, counts) => {
    expect(titlesIn(source).includes('a limit')).toBe(counts);
  });
});
