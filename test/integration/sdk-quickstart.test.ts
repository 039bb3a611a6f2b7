// examples/quickstart.ts as a user runs it. It needs dist/ and dist-tools/, which `npm test` builds first.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

test('the quick start prints its answers and ends by itself', () => {
  const script = fileURLToPath(new URL('../../dist-tools/examples/quickstart.js', import.meta.url));
  const { status, stdout, stderr } = spawnSync(process.execPath, [script], { encoding: 'utf8', timeout: 20_000 });
  expect(stderr).toBe('');
  expect(stdout.replaceAll(/^(one|two): /gm, '')).toBe('HELLO\nGATEWAY\nBYE\n');
  expect(status).toBe(0);
});
