// The simulation is worth what it finds: each fault of the list is planted in a copy of the sources, and must be found there.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Fault, FAULTS } from './faults.js';

/** Most are found within the first ten. */
const MAX_SEEDS = 2_000;

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const { compileFile, compileSimulation } = await import(join(root, 'scripts', 'lib', 'simulation.mjs'));
const folder = mkdtempSync(join(tmpdir(), 'ringway-faults-'));
const sound = join(folder, 'sound');

beforeAll(() => compileSimulation(sound));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function plant({ name, file, find, replace }: Fault): string {
  const path = `src/gateway/${file}`;
  const parts = readFileSync(join(root, path), 'utf8').split(find);
  expect(parts, `'${find}' no longer stands in ${path} once: the fault "${name}" needs another edit`).toHaveLength(2);
  const copy = mkdtempSync(join(folder, 'fault-'));
  cpSync(sound, copy, { recursive: true });
  compileFile(copy, path, parts.join(replace));
  return copy;
}

interface Report {
  readonly seeds: number;
  readonly found?: { readonly seed: number; readonly step: number; readonly sentence: string };
}

function simulate(copy: string): Report {
  const file = join(copy, 'test/simulation/run.js');
  const args = [file, '--seeds', `1-${MAX_SEEDS}`, '--json'];
  const { stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' });
  expect(stderr).toBe('');
  return JSON.parse(stdout);
}

describe('planted faults', () => {
  test.each(FAULTS)('$name', { timeout: 300_000 }, (fault) => {
    const copy = plant(fault);
    const { found } = simulate(copy);
    rmSync(copy, { recursive: true });
    expect(found, `not found within ${MAX_SEEDS} seeds`).toBeDefined();
    expect(found!.sentence).toMatch(fault.finds);
  });
});
