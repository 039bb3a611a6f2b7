// npm run prebuild: the addon that ships, for the machine that this runs on, into prebuilds/<platform>-<arch>/.
import { ensureInstalled } from './lib/install.mjs';
import { withSetupLock } from './lib/lock.mjs';
import { buildPrebuilt } from './lib/prebuilt.mjs';
import { main } from './lib/run.mjs';

await main(() =>
  withSetupLock(() => {
    ensureInstalled();
    buildPrebuilt();
  }),
);
