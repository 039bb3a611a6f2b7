// npm run bench: the set-up, then the bench, with its arguments.
import { main, runProgram } from './lib/run.mjs';
import { setUp } from './lib/setup.mjs';

await main(async () => {
  await setUp({ native: 'bench', mayLackNative: false });
  runProgram('dist-tools/bench/run.js', process.argv.slice(2));
});
