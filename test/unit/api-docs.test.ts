// The reference of the API can be made: every public name says what it is, and every type it names is public too.
import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';

function typedoc(...options: string[]) {
  const args = ['node_modules/typedoc/bin/typedoc', '--emit', 'none', ...options];
  return spawnSync(process.execPath, args, { encoding: 'utf8', env: { ...process.env, NO_COLOR: '1' } });
}

test('every public name is documented and every link leads somewhere', { timeout: 60_000 }, () => {
  const { status, stdout, stderr } = typedoc();
  const findings = `${stdout}\n${stderr}`.split('\n').filter((line) => /^\[(warning|error)\]/.test(line));
  expect({ findings, status }).toEqual({ findings: [], status: 0 });
});

test('a name without a word fails it', { timeout: 60_000 }, () => {
  // A module with names that need no documentation inside.
  const { status, stdout, stderr } = typedoc('--entryPoints', 'src/protocol/rmp.ts');
  expect(`${stdout}\n${stderr}`).toMatch(/does not have any documentation/);
  expect(status).not.toBe(0);
});
