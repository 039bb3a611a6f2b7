import { existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { realpathSync } from 'node:fs';
import { capture, run, SetupError, say } from './run.mjs';

const OLDEST_GPP = 12;

/** What the native build asks of the machine, each with the Debian package that brings it. */
const NEEDS = [
  { name: 'cmake', debian: 'cmake', present: () => works('cmake') },
  { name: 'a C++ compiler (g++ 12 or newer)', debian: 'g++', present: () => works(compiler()) },
  { name: 'make', debian: 'make', present: () => works('make') || works('ninja') },
  { name: "libuv's header (uv.h)", debian: 'libuv1-dev', present: () => uvInclude() !== undefined },
  { name: 'doctest', debian: 'doctest-dev', present: hasDoctest, onlyFor: 'tests' },
  { name: 'python3 (for node-gyp)', debian: 'python3', present: () => works('python3'), onlyFor: 'prebuild' },
];

/**
 * Makes sure that the native build can run. A Debian package that is missing is installed where that is allowed (root);
 * otherwise throws a SetupError with the command to run.
 *
 * @param wanted what is built beside the engine: {tests, prebuild}
 */
export function ensurePrerequisites(wanted) {
  const missing = NEEDS.filter((need) => (!need.onlyFor || wanted[need.onlyFor]) && !need.present());
  if (missing.length > 0) install(missing);
  const major = Number(capture(compiler(), ['-dumpversion'])?.split('.')[0]);
  const isGcc = !capture(compiler(), ['--version'])?.includes('clang');
  if (isGcc && major < OLDEST_GPP) {
    throw new SetupError(
      `g++ ${OLDEST_GPP} or newer is needed, this is ${major}; CXX=g++-${OLDEST_GPP} names another one`,
    );
  }
}

function install(missing) {
  const names = missing.map((need) => need.name).join(', ');
  const packages = missing.map((need) => need.debian);
  const command = `apt-get install -y --no-install-recommends ${packages.join(' ')}`;
  if (!works('apt-get'))
    throw new SetupError(`missing: ${names}. Install it, then run this again (Debian: ${command})`);
  if (process.getuid() !== 0) throw new SetupError(`missing: ${names}. Run: sudo apt-get update && sudo ${command}`);
  say(`missing: ${names}; ${command}`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const arguments_ = ['install', '-y', '--no-install-recommends', ...packages];
  try {
    run(command, 'apt-get', arguments_, { env });
  } catch {
    // The usual reason in a fresh container: no package lists yet, or old ones.
    run('apt-get update', 'apt-get', ['update'], { env });
    run(command, 'apt-get', arguments_, { env });
  }
  const still = missing.filter((need) => !need.present());
  if (still.length > 0) throw new SetupError(`still missing: ${still.map((need) => need.name).join(', ')}`);
}

export function compiler() {
  return process.env.CXX || 'g++';
}

function works(command) {
  return capture(command, ['--version']) !== undefined;
}

function hasDoctest() {
  return ['/usr/include', '/usr/local/include'].some((folder) => existsSync(`${folder}/doctest/doctest.h`));
}

/** The folder of Node's own headers: nodedir as node-gyp knows it, beside node, the system's, node-gyp's cache. */
export function nodeHeaders() {
  const version = process.versions.node;
  const prefixes = [
    process.env.npm_config_nodedir,
    dirname(dirname(realpathSync(process.execPath))),
    '/usr',
    join(homedir(), '.cache', 'node-gyp', version),
  ];
  return prefixes.filter(Boolean).find((prefix) => existsSync(join(prefix, 'include', 'node', 'uv.h')));
}

/** The folder of uv.h. libuv's interface is stable within version 1, so that Debian's serves where Node's is missing. */
export function uvInclude() {
  const prefix = nodeHeaders();
  if (prefix) return join(prefix, 'include', 'node');
  return ['/usr/include', '/usr/local/include'].find((folder) => existsSync(join(folder, 'uv.h')));
}
