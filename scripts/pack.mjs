// npm run pack [-- --pack-destination FOLDER]: the tarball as it is published, with the addon of this machine and those that
// stand in prebuilds/ already. Prints its name.
import { ensureInstalled } from './lib/install.mjs';
import { withSetupLock } from './lib/lock.mjs';
import { npm } from './lib/npm.mjs';
import { buildPrebuilt } from './lib/prebuilt.mjs';
import { main, run, say } from './lib/run.mjs';
import { buildTypeScript } from './lib/typescript.mjs';

await main(async () => {
  await withSetupLock(() => {
    ensureInstalled();
    if (process.platform === 'linux') buildPrebuilt();
    else say('no addon of this platform: there is none');
    buildTypeScript();
  });
  const [command, ...args] = npm('pack', '--ignore-scripts', ...process.argv.slice(2));
  run('npm pack', command, args, { stdio: ['ignore', 'inherit', 2] });
});
