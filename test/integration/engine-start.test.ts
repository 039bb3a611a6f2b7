// Engines that cannot start: a reason, never a crash, and the process goes on.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { describeEngines } from '../support/engines.js';

const ENGINE = new URL('../../dist/engine/create-native-engine.js', import.meta.url).href;
const FILES = 64;

/** Takes all descriptors but `spare`, makes an engine, gives them back, and makes one that must work. */
const program = (kind: string, reactors: number) => `
  import { closeSync, openSync } from 'node:fs';
  import { createNativeEngine } from '${ENGINE}';
  const make = () => createNativeEngine({ kind: '${kind}', reactors: ${reactors} });
  await make().engine.close();
  const reasons = [];
  for (let spare = 0; spare < 8; spare++) {
    const taken = [];
    try { for (;;) taken.push(openSync('/dev/null', 'r')); } catch {}
    for (let i = 0; i < spare; i++) closeSync(taken.pop());
    const made = make();
    for (const fd of taken) closeSync(fd);
    if (made.engine) await made.engine.close();
    else reasons.push(made.reason);
  }
  await make().engine.close();
  console.log(JSON.stringify(reasons));
`;

describeEngines(
  'engine: start',
  (driver, run) => {
    test('out of file descriptors at any step', async (context) => {
      if (driver === 'portable') {
        const why = 'the portable engine opens no descriptor before it listens or connects';
        console.log(`skipped on portable: ${why}`);
        context.skip(why);
      }
      const source = program(driver, Number(run.reactors));
      const limited = [
        '-c',
        `ulimit -n ${FILES}; exec "$@"`,
        'sh',
        process.execPath,
        '--input-type=module',
        '-e',
        source,
      ];
      const { stdout } = await promisify(execFile)('sh', limited);
      const reasons: string[] = JSON.parse(stdout);
      expect(reasons.length).toBeGreaterThan(0);
      for (const reason of reasons) expect(reason).toMatch(/EMFILE|too many open files/i);
    });
  },
  { reactors: [0, 1, 2] },
);
