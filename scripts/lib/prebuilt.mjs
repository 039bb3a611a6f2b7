import { existsSync } from 'node:fs';
import { ensurePrerequisites, nodeHeaders } from './prerequisites.mjs';
import { run, SetupError } from './run.mjs';
import { filesBelow, fingerprint, isStamped, stamp } from './stamp.mjs';

// Beside the folders of the platforms, where `files` of package.json does not look.
const STAMP = `prebuilds/.stamp-${process.platform}-${process.arch}`;

/**
 * Builds the addon that ships, through binding.gyp, into prebuilds/<platform>-<arch>/ringway.<libc>.node, unless nothing
 * it reads has changed since. What stands there for other platforms stays.
 */
export function buildPrebuilt() {
  if (process.platform !== 'linux') throw new SetupError('the addon is for Linux: prebuild it there');
  const digest = digestOfSources();
  const folder = `prebuilds/${process.platform}-${process.arch}`;
  if (isStamped(STAMP, digest) && existsSync(folder)) return;
  ensurePrerequisites({ prebuild: true });
  // With nodedir node-gyp downloads nothing; Node-API binds the addon to no version of Node.
  const nodedir = nodeHeaders();
  if (!nodedir) {
    throw new SetupError(
      `Node's headers were not found beside ${process.execPath}; npm_config_nodedir=FOLDER names them`,
    );
  }
  run('prebuildify', process.execPath, ['node_modules/prebuildify/bin.js', '--napi', '--strip', '--tag-libc'], {
    env: {
      ...process.env,
      npm_config_nodedir: nodedir,
      PREBUILD_NODE_GYP: 'node_modules/node-gyp/bin/node-gyp.js',
      JOBS: 'max',
    },
  });
  stamp(STAMP, digest);
}

function digestOfSources() {
  const files = filesBelow('native', (path) => /\.(h|cc|txt)$/.test(path));
  return fingerprint([...files, 'binding.gyp'], [process.version, process.env.CXX, process.env.CXXFLAGS]);
}
