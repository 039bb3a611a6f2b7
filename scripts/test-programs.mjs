// npm run test:programs: real programs (http, fastify, ws, TLS, MQTT, SMTP, MySQL, SSH) on sockets of ringway/net.
// Arguments go to vitest.
import { spawnSync } from 'node:child_process';
import { root } from './lib/root.mjs';
import { main } from './lib/run.mjs';
import { setUp } from './lib/setup.mjs';

await main(async () => {
  await setUp({ native: 'addon', mayLackNative: false });
  const args = ['node_modules/vitest/vitest.mjs', 'run', '--config', 'vitest.programs.config.ts'];
  const { status } = spawnSync(process.execPath, [...args, ...process.argv.slice(2)], { cwd: root, stdio: 'inherit' });
  process.exitCode = status ?? 1;
});
