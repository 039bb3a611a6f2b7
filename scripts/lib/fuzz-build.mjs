import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root } from './root.mjs';
import { capture, run, SetupError, say } from './run.mjs';

export const BUILD = 'build-native/libfuzzer';
const PACKAGES = 'clang libclang-rt-14-dev';

/** Builds the libFuzzer targets; throws a SetupError with the command to run where clang cannot be had. */
export function buildTargets(targets) {
  const compiler = findClang() ?? installClang();
  const flags = [
    '-DRINGWAY_FUZZ=ON',
    '-DRINGWAY_TESTS=OFF',
    '-DRINGWAY_BENCH=OFF',
    '-DRINGWAY_SANITIZE=address;undefined',
  ];
  const fast = ['-DCMAKE_BUILD_TYPE=Release', '-DCMAKE_CXX_FLAGS_RELEASE=-O1 -g1'];
  const compilers = [`-DCMAKE_CXX_COMPILER=${compiler}`, `-DCMAKE_C_COMPILER=${compiler.replace('++', '')}`];
  run('configuring the fuzz targets', 'cmake', ['-S', '.', '-B', BUILD, ...compilers, ...flags, ...fast]);
  run('building the fuzz targets', 'cmake', ['--build', BUILD, '--parallel', '2', '--target', ...targets]);
}

/** A clang++ that links libFuzzer, tried by linking; undefined where there is none. */
export function findClang() {
  return ['clang++', 'clang++-14', 'clang++-16', 'clang++-19'].find(linksFuzzer);
}

function linksFuzzer(compiler) {
  if (capture(compiler, ['--version']) === undefined) return false;
  const folder = mkdtempSync(join(tmpdir(), 'ringway-fuzz-'));
  try {
    const source = join(folder, 'empty.cc');
    writeFileSync(source, 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }');
    return capture(compiler, ['-fsanitize=fuzzer,address', source, '-o', join(folder, 'empty')]) !== undefined;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function installClang() {
  const command = `apt-get install -y --no-install-recommends ${PACKAGES}`;
  if (capture('apt-get', ['--version']) === undefined || process.getuid() !== 0) {
    throw new SetupError(`clang with libFuzzer is missing. Run: sudo apt-get update && sudo ${command}`);
  }
  say(`clang with libFuzzer is missing; ${command}`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  run('apt-get update', 'apt-get', ['update'], { env, cwd: root });
  run(command, 'apt-get', command.split(' ').slice(1), { env });
  const found = findClang();
  if (found === undefined) throw new SetupError('clang was installed and links no fuzzer');
  return found;
}
