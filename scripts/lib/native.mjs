import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { compiler, ensurePrerequisites, uvInclude } from './prerequisites.mjs';
import { root } from './root.mjs';
import { run, SetupError, say } from './run.mjs';
import { filesBelow, fingerprint, isStamped, stamp } from './stamp.mjs';

// Not build/, which node-gyp wipes.
export const BUILD = 'build-native';
const ADDON = join(root, BUILD, 'Release', 'ringway.node');

/** What can be built: CMake's targets, and the folders they read. Each set holds the ones before it. */
const SETS = {
  addon: { targets: ['ringway'], folders: ['native'] },
  bench: { targets: ['ringway', 'bench_native'], folders: ['native', 'bench/native'] },
  all: { targets: ['all'], folders: ['native', 'bench/native', 'test/native', 'test/support', 'test/fuzz'] },
};

/**
 * Builds a set of native targets, unless nothing it reads has changed since. Throws a SetupError that says what is
 * missing or what failed.
 */
export function buildNative(set) {
  if (process.platform !== 'linux') throw new SetupError('the native engine is for Linux');
  if (isStamped(stampOf(set), digestOf(set)) && existsSync(ADDON)) return;

  ensurePrerequisites({ tests: set === 'all' });
  const names = Object.keys(SETS);
  const covered = names.slice(0, names.indexOf(set) + 1).map((name) => [stampOf(name), digestOf(name)]);
  say(`building ${set === 'addon' ? 'the native engine' : 'the native engine and its programs'}`);
  configure();
  const jobs = String(Math.max(1, availableParallelism()));
  run('the native build', 'cmake', ['--build', BUILD, '--parallel', jobs, '--target', ...SETS[set].targets]);
  if (!existsSync(ADDON)) throw new SetupError('the native build made no addon');
  for (const [file, digest] of covered) stamp(file, digest);
}

function stampOf(set) {
  return `${BUILD}/.stamp-${set}`;
}

function digestOf(set) {
  const files = SETS[set].folders.flatMap((folder) => filesBelow(folder, (path) => /\.(h|cc?|txt)$/.test(path)));
  return fingerprint([...files, 'CMakeLists.txt'], [configuration()]);
}

/** After a build that failed: an addon of older sources must not run in its place. */
export function removeAddon() {
  rmSync(ADDON, { force: true });
}

/** What CMake is told, besides the files: a change of any of it configures anew. */
function configuration() {
  return JSON.stringify([root, process.version, process.arch, compiler(), process.env.CXXFLAGS, uvInclude()]);
}

function configure() {
  const digest = fingerprint(
    ['node_modules/node-api-headers/package.json', 'node_modules/cmake-js/package.json'],
    [configuration(), existsSync('/usr/include/doctest/doctest.h')],
  );
  const stampFile = `${BUILD}/.stamp-configure`;
  if (isStamped(stampFile, digest)) return;
  // CMake refuses a folder that was configured for another place: a copied or moved tree.
  if (homeOfCache() !== root) rmSync(join(root, BUILD), { recursive: true, force: true });
  mkdirSync(join(root, BUILD), { recursive: true });
  run('configuring the native build', process.execPath, [
    'node_modules/cmake-js/bin/cmake-js',
    'configure',
    `--out=${BUILD}`,
    '--config=Release',
    '--log-level=error',
    `--CDRINGWAY_UV_INCLUDE=${uvInclude()}`,
    `--CDRINGWAY_NODE=${process.execPath}`,
  ]);
  stamp(stampFile, digest);
}

function homeOfCache() {
  try {
    const cache = readFileSync(join(root, BUILD, 'CMakeCache.txt'), 'utf8');
    return /^CMAKE_HOME_DIRECTORY:INTERNAL=(.*)$/m.exec(cache)?.[1];
  } catch {
    return undefined;
  }
}
