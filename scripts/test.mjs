// npm test: the set-up, the native unit tests (ctest), the unit and integration tests (vitest), and the totals of both.
// With arguments (npm test -- test/unit/x.test.ts -t name) they go to vitest, and only vitest runs.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { BUILD } from './lib/native.mjs';
import { root } from './lib/root.mjs';
import { main } from './lib/run.mjs';
import { setUp } from './lib/setup.mjs';
import { add, nativeTotals, print, vitestTotals } from './lib/totals.mjs';

const args = process.argv.slice(2);

await main(async () => {
  await setUp({ native: 'all', mayLackNative: false });
  const reports = mkdtempSync(join(tmpdir(), 'ringway-test-'));
  try {
    conclude(reports);
  } finally {
    rmSync(reports, { recursive: true, force: true });
  }
});

function conclude(reports) {
  let totals = { passed: 0, failed: 0, skipped: 0 };
  if (args.length === 0 && process.platform === 'linux') {
    const native = runCtest(join(reports, 'ctest.xml'));
    console.log(`\nnative:     ${print(native)}\n`);
    totals = add(totals, native);
  }
  const typescript = runVitest(join(reports, 'vitest.json'));
  console.log(`\nTypeScript: ${print(typescript)}\n`);
  totals = add(totals, typescript);
  console.log(print(totals));
  if (totals.failed > 0 || totals.passed === 0) process.exitCode = 1;
}

function runCtest(report) {
  const output = ['--output-on-failure', '--no-tests=error', '--output-junit', report];
  // ctest cuts a test's output short; the count of its cases stands at the end.
  const whole = ['--test-output-size-passed', '1000000', '--test-output-size-failed', '1000000'];
  show('ctest', ['--test-dir', BUILD, '--parallel', String(availableParallelism()), ...output, ...whole]);
  return nativeTotals(read(report));
}

function runVitest(report) {
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
  const status = show(process.execPath, ['node_modules/vitest/vitest.mjs', 'run', ...reporters, ...args]);
  const text = read(report);
  return vitestTotals(text && JSON.parse(text), status);
}

function show(command, commandArgs) {
  return spawnSync(command, commandArgs, { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] }).status;
}

function read(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}
