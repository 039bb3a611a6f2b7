import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { npm } from './npm.mjs';
import { root } from './root.mjs';
import { run, say } from './run.mjs';

/** Installs the locked dependencies when node_modules is missing or holds others. */
export function ensureInstalled() {
  if (isInstalled()) return;
  say('installing dependencies (npm ci)');
  const [command, ...args] = npm('ci', '--include=dev');
  run('npm ci', command, args);
}

/** npm leaves a lockfile of what it installed in node_modules; times would mislead after a checkout. */
function isInstalled() {
  const wanted = packagesOf('package-lock.json');
  const installed = packagesOf('node_modules/.package-lock.json');
  if (!wanted || !installed) return false;
  return Object.entries(wanted).every(([path, entry]) => {
    // The name '' is this package itself; packages for other platforms are optional and stay away.
    if (path === '') return true;
    const found = installed[path];
    return found ? found.version === entry.version && found.integrity === entry.integrity : entry.optional === true;
  });
}

function packagesOf(lockfile) {
  try {
    return JSON.parse(readFileSync(join(root, lockfile), 'utf8')).packages;
  } catch {
    return undefined;
  }
}
