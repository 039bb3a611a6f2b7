import { existsSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './root.mjs';
import { run, say } from './run.mjs';
import { filesBelow, fingerprint, isStamped, stamp } from './stamp.mjs';

const PROJECTS = [
  { config: 'tsconfig.build.json', out: 'dist', sources: ['src'], sourceRoot: 'src' },
  { config: 'tsconfig.tools.json', out: 'dist-tools', sources: ['src', 'bench', 'examples'], sourceRoot: '.' },
];

/** Compiles src/ into dist/ (what ships) and bench/ and examples/ into dist-tools/, each only when something changed. */
export function buildTypeScript() {
  for (const project of PROJECTS) build(project);
}

function build({ config, out, sources, sourceRoot }) {
  const inputs = sources.flatMap((folder) => filesBelow(folder, (path) => /\.(ts|json)$/.test(path)));
  const digest = fingerprint([
    ...inputs,
    config,
    'tsconfig.json',
    'scripts/inline-constants.mjs',
    'node_modules/typescript/package.json',
  ]);
  const stampFile = `${out}/.stamp`;
  if (isStamped(stampFile, digest)) return;
  say(`compiling TypeScript into ${out}/`);
  removeOrphans(out, sourceRoot);
  run(`compiling ${config}`, process.execPath, ['node_modules/typescript/bin/tsc', '-p', config]);
  if (out === 'dist') run('inlining constants', process.execPath, ['scripts/inline-constants.mjs']);
  stamp(stampFile, digest);
}

/** tsc leaves the outputs of files that are gone; they would be shipped, and imports of them would still work. */
function removeOrphans(out, sourceRoot) {
  for (const path of filesBelow(out)) {
    const stem = /^[^/]+\/(.*?)(\.d\.ts|\.js)(\.map)?$/.exec(path)?.[1];
    if (stem && !existsSync(join(root, sourceRoot, `${stem}.ts`))) rmSync(join(root, path));
  }
}
