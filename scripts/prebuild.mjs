// npm run prebuild: the addon that ships, through binding.gyp, into prebuilds/<platform>-<arch>/.
import { ensureInstalled } from './lib/install.mjs';
import { nodeHeaders } from './lib/prerequisites.mjs';
import { capture, main, run, SetupError } from './lib/run.mjs';

await main(() => {
  if (process.platform !== 'linux') throw new SetupError('the addon is for Linux: prebuild it there');
  ensureInstalled();
  if (!capture('python3', ['--version'])) throw new SetupError('node-gyp needs python3: apt-get install python3');
  // With nodedir node-gyp downloads nothing; Node-API binds the addon to no version of Node.
  const nodedir = nodeHeaders();
  if (!nodedir) {
    throw new SetupError(
      `Node's headers were not found beside ${process.execPath}; npm_config_nodedir=FOLDER names them`,
    );
  }
  run('prebuildify', process.execPath, ['node_modules/prebuildify/bin.js', '--napi', '--strip', '--tag-libc'], {
    env: { ...process.env, npm_config_nodedir: nodedir, PREBUILD_NODE_GYP: 'node_modules/node-gyp/bin/node-gyp.js' },
  });
});
