// npm run bench: the set-up, then the bench, with its arguments.
import { installPeers } from './lib/peers.mjs';
import { main, runProgram } from './lib/run.mjs';
import { setUp } from './lib/setup.mjs';

await main(async () => {
  const args = process.argv.slice(2);
  if (args.includes('--install-peers')) installPeers();
  const others = args.filter((one) => one !== '--install-peers');
  // Alone it only installs.
  if (others.length === 0 && others.length < args.length) return;
  await setUp({ native: 'bench', mayLackNative: false });
  runProgram('dist-tools/bench/run.js', others);
});
