import { afterEach, expect, test } from 'vitest';
import { loadAddon } from '../../src/engine/load-addon.js';

const before = process.env.RINGWAY_ADDON;

afterEach(() => {
  if (before === undefined) delete process.env.RINGWAY_ADDON;
  else process.env.RINGWAY_ADDON = before;
});

test('a named addon that is not there is an error that names it, not another addon', () => {
  process.env.RINGWAY_ADDON = 'nowhere/ringway.node';
  const loaded = loadAddon();
  expect(loaded.addon).toBeUndefined();
  expect(loaded.error).toMatch(/nowhere\/ringway\.node did not load: .+/);
  expect(loaded.error).not.toContain('\n');
});

test('a file that is no addon is an error too', () => {
  process.env.RINGWAY_ADDON = 'test/native/main.cc';
  expect(loadAddon().error).toMatch(/test\/native\/main\.cc did not load/);
});

test.runIf(process.platform === 'linux')('the development build is found from src/', () => {
  delete process.env.RINGWAY_ADDON;
  const loaded = loadAddon();
  expect(loaded.error).toBeUndefined();
  expect(loaded).toHaveProperty('path', expect.stringMatching(/ringway\.node$/));
});
