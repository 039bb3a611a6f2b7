// The reference of the API can be made: every public name says what it is, and every type it names is public too.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import packageJson from '../../package.json' with { type: 'json' };

interface Reference {
  readonly children: readonly { readonly name: string; readonly children?: readonly { readonly name: string }[] }[];
}

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'ringway-api-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** As `npm run docs` runs it. */
function typedoc(...options: string[]) {
  const args = ['node_modules/typedoc/bin/typedoc', ...options];
  return spawnSync(process.execPath, args, { encoding: 'utf8', env: { ...process.env, NO_COLOR: '1' } });
}

test('every public name of every entry is documented and every link leads somewhere', { timeout: 60_000 }, async () => {
  expect(packageJson.scripts.docs).toBe('typedoc');
  const file = join(folder, 'api.json');
  const { status, stdout, stderr } = typedoc('--out', join(folder, 'api'), '--json', file);
  const findings = `${stdout}\n${stderr}`.split('\n').filter((line) => /^\[(warning|error)\]/.test(line));
  expect({ findings, status }).toEqual({ findings: [], status: 0 });

  const { children: modules }: Reference = JSON.parse(readFileSync(file, 'utf8'));
  const entries = Object.keys(packageJson.exports).filter((name) => name !== './package.json');
  expect(modules.map(({ name }) => name)).toEqual(entries.map((name) => name.replace('.', packageJson.name)));
  // ringway/register exports nothing.
  const sources = [import('../../src/index.js'), import('../../src/net/index.js')];
  for (const [i, source] of (await Promise.all(sources)).entries()) {
    const told = (modules[i].children ?? []).map(({ name }) => name);
    // A name that begins with _ is for libraries that know Node's inside.
    const names = Object.keys(source).filter((name) => !name.startsWith('_'));
    expect(told).toEqual(expect.arrayContaining(names));
  }
});

test('a name without a word fails it', { timeout: 60_000 }, () => {
  // A module with names that need no documentation inside.
  const { status, stdout, stderr } = typedoc('--emit', 'none', '--entryPoints', 'src/protocol/rmp.ts');
  expect(`${stdout}\n${stderr}`).toMatch(/does not have any documentation/);
  expect(status).not.toBe(0);
});
