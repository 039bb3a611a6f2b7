// npm run soak -- --minutes 30 [--engine io_uring] [--rate 1800] [--seed N] [--figures FILE]: load and random faults.
import { spawnSync } from 'node:child_process';
import { parseArgs } from 'node:util';
import { root } from './lib/root.mjs';
import { main } from './lib/run.mjs';
import { setUp } from './lib/setup.mjs';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '30' },
    engine: { type: 'string', default: 'io_uring' },
    rate: { type: 'string', default: '1800' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
    figures: { type: 'string' },
  },
});

await main(async () => {
  await setUp({ native: 'addon', mayLackNative: values.engine === 'portable' });
  const env = {
    ...process.env,
    FAULTS_LONG: '1',
    SOAK_MINUTES: values.minutes,
    SOAK_ENGINE: values.engine,
    SOAK_RATE: values.rate,
    SOAK_SEED: values.seed,
    ...(values.figures === undefined ? {} : { SOAK_FIGURES: values.figures }),
  };
  const args = ['node_modules/vitest/vitest.mjs', 'run', '--config', 'test/faults/soak/vitest.config.ts'];
  const { status } = spawnSync(process.execPath, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'], env });
  if (status !== 0) process.exitCode = 1;
});
