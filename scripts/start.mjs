// npm start: the set-up, then the demonstration: a gateway, three inference servers, fifty clients.
import { main, runProgram } from './lib/run.mjs';
import { setUp } from './lib/setup.mjs';

await main(async () => {
  await setUp({ native: 'addon', mayLackNative: true });
  runProgram('dist-tools/examples/inference/run.js', process.argv.slice(2));
});
