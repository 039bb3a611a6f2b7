// Seeds, each a world of its own from its first client to its drained end. A failure says which, and how to see it again.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

const SEEDS = Number(process.env.SIMULATION_SEEDS ?? 2_000);
const SHARDS = 4;

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const { compileSimulation } = await import(join(root, 'scripts', 'lib', 'simulation.mjs'));
const folder = mkdtempSync(join(tmpdir(), 'ringway-simulation-'));

beforeAll(() => compileSimulation(folder));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function simulate(...args: string[]) {
  const file = join(folder, 'test/simulation/run.js');
  const { status, stdout, stderr } = spawnSync(process.execPath, [file, ...args], { encoding: 'utf8' });
  return { status, stdout, stderr };
}

const shards = Array.from({ length: SHARDS }, (_, i) => {
  return `${Math.floor((SEEDS * i) / SHARDS) + 1}-${Math.floor((SEEDS * (i + 1)) / SHARDS)}`;
});

describe('simulation', () => {
  test.each(shards)('seeds %s', { timeout: 180_000 }, (seeds) => {
    const { status, stdout, stderr } = simulate('--seeds', seeds);
    expect(stderr).toBe('');
    expect(status).toBe(0);
    expect(stdout).toMatch(/^\d+ seeds .* no invariant broken$/m);
    console.log(stdout.trim());
  });

  test('a seed is the same world each time', () => {
    const [first, second] = [simulate('--seeds', '1-20', '--json'), simulate('--seeds', '1-20', '--json')];
    const { seconds: _, ...world } = JSON.parse(first.stdout);
    expect(world.tasks).toBeGreaterThan(1_000);
    expect(JSON.parse(second.stdout)).toMatchObject(world);
  });
});
