/** `ringway build`: compiles the native engine where the package brought none for this platform. */
import { spawnSync } from 'node:child_process';
import { existsSync, realpathSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { homedir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import type { Command } from 'commander';
import { createEngine } from '../engine/select-engine.js';
import { packageRoot } from '../package-root.js';
import { CommandError } from './exit-status.js';
import { describeEngine } from './ready-line.js';

interface BuildArguments {
  readonly nodeGyp?: string;
}

export function registerBuild(program: Command): void {
  program
    .command('build')
    .description(
      'Compile the native engine for this machine. Needs a C++20 compiler (g++ 12 or newer), make and python3.',
    )
    .option('--node-gyp <file>', 'node-gyp.js; default: the one that npm brings')
    .addHelpText(
      'after',
      "\nNode's headers are taken from $npm_config_nodedir, from beside node, or from /usr; otherwise node-gyp downloads them.",
    )
    .action(async ({ nodeGyp }: BuildArguments) => {
      const root = packageRoot();
      checkTools();
      compile(nodeGyp ?? findNodeGyp(root), root);
      await tell(root);
    });
}

/** What node-gyp would miss in the middle of its own report. */
function checkTools(): void {
  if (process.platform !== 'linux')
    throw new CommandError('the native engine is for Linux; here the portable one runs');
  const missing = [
    ['python3', process.env.PYTHON ?? process.env.npm_config_python ?? 'python3'],
    ['make', process.env.MAKE ?? 'make'],
    // `ccache g++` is a compiler too.
    ['g++', (process.env.CXX ?? 'g++').split(' ')[0]],
  ].filter(([, command]) => spawnSync(command, ['--version'], { stdio: 'ignore' }).status !== 0);
  if (missing.length === 0) return;
  const names = missing.map(([name]) => name).join(' ');
  throw new CommandError(
    `missing: ${names} (Debian: apt-get install ${names}; Alpine: apk add ${names} linux-headers). Until then the portable engine runs`,
  );
}

/** node-gyp is no dependency: npm has one, and only who builds needs it. */
function findNodeGyp(root: string): string {
  const found = nodeGypCandidates(root).find((file) => file !== undefined && existsSync(file));
  if (found) return found;
  throw new CommandError(
    'node-gyp was not found: run this by npx, or npm install node-gyp, or name one with --node-gyp',
  );
}

function nodeGypCandidates(root: string): (string | undefined)[] {
  const inNpm = (npm: string): string => join(npm, 'node_modules', 'node-gyp', 'bin', 'node-gyp.js');
  return [
    process.env.npm_config_node_gyp,
    resolveFrom(process.cwd()),
    resolveFrom(root),
    inNpm(join(dirname(dirname(process.execPath)), 'lib', 'node_modules', 'npm')),
    // `npm` on the path is a link to npm/bin/npm-cli.js.
    ...(process.env.PATH ?? '').split(delimiter).map((folder) => {
      const npm = join(folder, 'npm');
      return existsSync(npm) ? inNpm(dirname(dirname(realpathSync(npm)))) : undefined;
    }),
  ];
}

function resolveFrom(folder: string): string | undefined {
  try {
    return createRequire(join(folder, 'package.json')).resolve('node-gyp/bin/node-gyp.js');
  } catch {
    return undefined;
  }
}

/** Into build/Release of the package, where the engine looks before it looks at what was prebuilt. */
function compile(nodeGyp: string, root: string): void {
  const nodedir = nodeHeaders();
  const headers = nodedir === undefined ? [] : [`--nodedir=${nodedir}`];
  console.error(`ringway: compiling the native engine in ${root}`);
  const { status, error } = spawnSync(process.execPath, [nodeGyp, 'rebuild', '--release', '--jobs=max', ...headers], {
    cwd: root,
    stdio: ['ignore', 2, 2],
  });
  if (error !== undefined) throw new CommandError(`node-gyp did not start: ${error.message}`);
  if (status !== 0) throw new CommandError('the native engine was not built (above: why); the portable engine runs');
  // What was compiled on the way is eight times as large as the engine.
  for (const folder of ['obj.target', '.deps'])
    rmSync(join(root, 'build', 'Release', folder), { recursive: true, force: true });
}

/** The folder whose include/node has Node's headers, where node-gyp need not download them. */
function nodeHeaders(): string | undefined {
  return [
    process.env.npm_config_nodedir,
    dirname(dirname(realpathSync(process.execPath))),
    '/usr',
    join(homedir(), '.cache', 'node-gyp', process.versions.node),
  ].find((prefix) => prefix !== undefined && existsSync(join(prefix, 'include', 'node', 'uv.h')));
}

/** That a file came out says little; that it moves bytes is what was wanted. */
async function tell(root: string): Promise<void> {
  const engine = createEngine();
  const sentence = describeEngine(engine);
  await engine.close();
  if (engine.name === 'portable') throw new CommandError(`built, but it does not run: ${sentence}`);
  console.log(`built ${join(root, 'build', 'Release', 'ringway.node')} (${sentence})`);
}
