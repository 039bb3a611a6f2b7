// npm run bench:compare A.json B.json: TypeScript built if need be, then the comparison. Nothing native is needed.
import { ensureInstalled } from './lib/install.mjs';
import { withSetupLock } from './lib/lock.mjs';
import { main, runProgram } from './lib/run.mjs';
import { buildTypeScript } from './lib/typescript.mjs';

await main(async () => {
  await withSetupLock(() => {
    ensureInstalled();
    buildTypeScript();
  });
  runProgram('dist-tools/bench/compare-run.js', process.argv.slice(2));
});
