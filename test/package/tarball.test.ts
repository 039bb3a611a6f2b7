// What is in the tarball and what is not, and what package.json promises about it.
import { execFileSync } from 'node:child_process';
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, inject, test } from 'vitest';
import { packageJson, ROOT } from './installed.js';

const { tarball } = inject('installed');

const files = execFileSync('tar', ['tzf', tarball], { encoding: 'utf8' })
  .trim()
  .split('\n')
  .map((path) => path.replace(/^package\//, ''));

/** Who needs it: everything else has no place there. */
const NEEDED = [
  /^(package\.json|README\.md|LICENSE|CHANGELOG\.md)$/,
  /^bin\/ringway$/,
  // The program, and its types.
  /^dist\/.*\.(js|d\.ts)$/,
  // What `ringway start --help` speaks of.
  /^examples\/gateway\.yaml$/,
  // `ringway build`.
  /^(binding\.gyp|native\/sources\.txt|native\/.*\.(h|cc))$/,
  /^prebuilds\/[a-z]+-[a-z0-9]+\/ringway\.(glibc|musl)\.node$/,
];

describe('the tarball', () => {
  test('holds what somebody needs and nothing else', () => {
    expect(files.filter((path) => !NEEDED.some((pattern) => pattern.test(path)))).toEqual([]);
    for (const pattern of NEEDED)
      expect(
        files.some((path) => pattern.test(path)),
        String(pattern),
      ).toBe(true);
  });

  test('holds everything that `ringway build` reads', () => {
    const sources = readFileSync(join(ROOT, 'native/sources.txt'), 'utf8').match(/^native\/\S+$/gm) ?? [];
    expect(sources.length).toBeGreaterThan(10);
    expect(sources.filter((path) => !files.includes(path))).toEqual([]);
  });

  test('is small', () => {
    const prebuilt = files.filter((path) => path.startsWith('prebuilds/')).length;
    // One prebuilt engine is 160 KB packed; the rest stays below 400 KB.
    expect(statSync(tarball).size).toBeLessThan((400 + 200 * prebuilt) * 1024);
  });
});

describe('package.json', () => {
  const described = packageJson() as unknown as {
    exports: Record<string, string | { types: string; default: string }>;
    bin: Record<string, string>;
    scripts: Record<string, string>;
  } & Record<string, unknown>;

  test('exports what it says, each with its types', () => {
    for (const [name, target] of Object.entries(described.exports)) {
      for (const path of typeof target === 'string' ? [target] : [target.types, target.default])
        expect(files, name).toContain(path.replace('./', ''));
    }
    expect(Object.keys(described.exports)).toEqual(['.', './net', './register', './package.json']);
    expect(files).toContain(described.bin.ringway);
  });

  test('is ready to be published with provenance, and runs nothing while being installed', () => {
    expect(described).toMatchObject({
      license: 'MIT',
      engines: { node: '^20.19 || >=22.12' },
      publishConfig: { access: 'public', provenance: true },
      gypfile: false,
    });
    for (const name of ['preinstall', 'install', 'postinstall', 'prepare'])
      expect(described.scripts).not.toHaveProperty(name);
  });
});
