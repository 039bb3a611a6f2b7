// npm run build:native [-- addon|bench|all]: the addon, the native tests and the load generator, into build-native/.
import { ensureInstalled } from './lib/install.mjs';
import { withSetupLock } from './lib/lock.mjs';
import { buildNative } from './lib/native.mjs';
import { main, SetupError } from './lib/run.mjs';

const set = process.argv[2] ?? 'all';

await main(async () => {
  if (!['addon', 'bench', 'all'].includes(set))
    throw new SetupError(`build:native takes addon, bench or all, not ${set}`);
  await withSetupLock(() => {
    ensureInstalled();
    buildNative(set);
  });
});
