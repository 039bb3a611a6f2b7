// npm run test:faults [-- --long] [-- --engines io_uring,epoll] [FILE …]: what must not break the gateway, over real sockets and
// real processes. Prints a table of what each fault did at the end.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { faultsTable } from './lib/faults-table.mjs';
import { root } from './lib/root.mjs';
import { main } from './lib/run.mjs';
import { setUp } from './lib/setup.mjs';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { long: { type: 'boolean', default: false }, engines: { type: 'string' } },
});

await main(async () => {
  await setUp({ native: 'all', mayLackNative: false });
  const directory = mkdtempSync(join(tmpdir(), 'ringway-faults-'));
  const figures = join(directory, 'figures.jsonl');
  try {
    const env = { ...process.env, FAULTS_LONG: values.long ? '1' : '0', FAULTS_FIGURES: figures };
    if (values.engines !== undefined) env.TEST_ENGINES = values.engines;
    const args = ['node_modules/vitest/vitest.mjs', 'run', '--config', 'test/faults/vitest.config.ts', ...positionals];
    const { status } = spawnSync(process.execPath, args, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'], env });
    console.log(`\n${faultsTable(read(figures))}`);
    if (status !== 0) process.exitCode = 1;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

function read(file) {
  try {
    const lines = readFileSync(file, 'utf8').split('\n');
    return lines.filter((line) => line !== '').map((line) => JSON.parse(line));
  } catch (error) {
    if (error.code === 'ENOENT') return [];
    throw error;
  }
}
