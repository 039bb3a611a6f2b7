// npm run simulate -- --seed N: the simulation of test/simulation, compiled and started.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { ensureInstalled } from './lib/install.mjs';
import { root } from './lib/root.mjs';
import { main } from './lib/run.mjs';

await main(async () => {
  ensureInstalled();
  const { compileSimulation } = await import('./lib/simulation.mjs');
  const folder = join(root, 'dist-tools', 'simulation');
  compileSimulation(folder);
  const file = join(folder, 'test/simulation/run.js');
  process.exitCode = spawnSync(process.execPath, [file, ...process.argv.slice(2)], { stdio: 'inherit' }).status ?? 1;
});
