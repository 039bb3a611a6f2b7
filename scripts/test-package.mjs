// npm run test:package: packs what is published, installs it in an empty project, and runs test/package/ on it.
// Arguments go to vitest.
import { spawnSync } from 'node:child_process';
import { root } from './lib/root.mjs';
import { main } from './lib/run.mjs';
import { setUp } from './lib/setup.mjs';

await main(async () => {
  await setUp({ native: 'addon', mayLackNative: true });
  const args = ['node_modules/vitest/vitest.mjs', 'run', '--config', 'vitest.package.config.ts'];
  const { status } = spawnSync(process.execPath, [...args, ...process.argv.slice(2)], { cwd: root, stdio: 'inherit' });
  process.exitCode = status ?? 1;
});
