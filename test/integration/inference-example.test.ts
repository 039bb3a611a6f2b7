// What `npm start` runs, with fewer requests. It needs dist/ and dist-tools/, which `npm test` builds first.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { describeEngines } from '../support/engines.js';

const RUN = fileURLToPath(new URL('../../dist-tools/examples/inference/run.js', import.meta.url));
const README = fileURLToPath(new URL('../../node_modules/wink-nlp/README.md', import.meta.url));

async function run(...args: string[]): Promise<{ status: number | null; output: string }> {
  const child = spawn(process.execPath, [RUN, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (chunk: Buffer) => {
      output += chunk;
    });
  }
  const [status] = (await once(child, 'close')) as [number | null];
  return { status, output };
}

describeEngines('inference example', (engine) => {
  test('every request gets exactly one answer, and the right one', async () => {
    const { status, output } = await run('--requests', '300', '--clients', '10', '--engine', engine, '--input', README);
    expect(output).toMatch(new RegExp(`engine +${engine}\\b`));
    expect(output).toMatch(/requests +300, 300 answered once, 0 failed/);
    expect(output).toMatch(/computed again +15 answers, 0 differ/);
    expect(output.match(/inference-\d +\d+ answers/g)).toHaveLength(3);
    expect(output).toContain('every request got exactly one answer\n');
    expect(status).toBe(0);
  });
});

test('arguments that make no sense are exit status 2 with a sentence', async () => {
  const { status, output } = await run('--clients', 'many');
  expect(output).toContain('--clients is many: a whole number from 1 is needed');
  expect(status).toBe(2);
});
