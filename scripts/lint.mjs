// npm run lint / npm run format: biome for TypeScript and JavaScript, clang-format for C++.
import { spawnSync } from 'node:child_process';
import { ensureInstalled } from './lib/install.mjs';
import { root } from './lib/root.mjs';
import { capture, main, say } from './lib/run.mjs';
import { filesBelow } from './lib/stamp.mjs';

const write = process.argv.includes('--write');
const CPP_FOLDERS = ['native', 'test/native', 'test/support', 'test/fuzz', 'bench/native'];

await main(() => {
  ensureInstalled();
  const results = [biome(), clangFormat()];
  if (results.includes(false)) process.exitCode = 1;
});

function biome() {
  return passes(process.execPath, ['node_modules/@biomejs/biome/bin/biome', 'check', ...(write ? ['--write'] : [])]);
}

function clangFormat() {
  if (!capture('clang-format', ['--version'])) {
    say('C++ not checked, clang-format is missing: apt-get install clang-format');
    return true;
  }
  const files = CPP_FOLDERS.flatMap((folder) => filesBelow(folder, isCpp));
  return files.length === 0 || passes('clang-format', [...(write ? ['-i'] : ['--dry-run', '--Werror']), ...files]);
}

function isCpp(path) {
  return /\.(h|cc?)$/.test(path) && !path.endsWith('.gen.h');
}

function passes(command, args) {
  return spawnSync(command, args, { cwd: root, stdio: 'inherit' }).status === 0;
}
