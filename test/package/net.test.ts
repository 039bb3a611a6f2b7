// `ringway/net` against the `node:net` of every Node: what differs between versions of Node is compared where it differs.
// The Node that runs the tests has its turn in `npm test`.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { describe, expect, inject, test } from 'vitest';
import { ROOT } from './installed.js';

const { nodes } = inject('installed');

/** The scenarios with this Node; what they print when one fails. */
async function scenarios(binary: string): Promise<string> {
  const args = ['node_modules/vitest/vitest.mjs', 'run', '--reporter', 'dot', 'test/integration/net-'];
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('VITEST')));
  const child = spawn(binary, args, { cwd: ROOT, env, stdio: ['ignore', 'pipe', 'pipe'] });
  const printed = Promise.all([text(child.stdout), text(child.stderr)]);
  const [code] = await once(child, 'close');
  return code === 0 ? '' : (await printed).join('\n');
}

describe.each(nodes.filter(({ binary }) => binary !== process.execPath))('ringway/net on Node $major', (node) => {
  const testHere = test.skipIf(node.binary === undefined);

  testHere('tells what node:net tells', { timeout: 180_000 }, async () => {
    expect(await scenarios(node.binary as string)).toBe('');
  });
});
