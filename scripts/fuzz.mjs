// npm run fuzz -- --seconds N [--target T] [--if-clang]: every fuzz target, or one, for N seconds each (default 60). What is found
// is kept in build-native/libfuzzer/; the corpus of the repository is read and not written. --merge: instead of fuzzing, adds
// to the repository's corpus what was kept and covers more. --if-clang: where clang is missing, says so and runs only what
// needs none.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ensureInstalled } from './lib/install.mjs';
import { root } from './lib/root.mjs';
import { main, SetupError, say } from './lib/run.mjs';

const NATIVE = ['length_field', 'delimiter', 'varint', 'raw', 'connection'];
const TARGETS = [...NATIVE, 'rmp'];
const LONGEST = { connection: 1000 };

const { values } = parseArgs({
  options: {
    seconds: { type: 'string', default: '60' },
    target: { type: 'string' },
    'if-clang': { type: 'boolean', default: false },
    merge: { type: 'boolean', default: false },
  },
});

await main(async () => {
  if (values.target !== undefined && !TARGETS.includes(values.target)) {
    throw new SetupError(`no target ${values.target}: there are ${TARGETS.join(', ')}`);
  }
  if (!(Number(values.seconds) > 0)) throw new SetupError(`--seconds is ${values.seconds}: a number over 0 is needed`);
  ensureInstalled();
  const { BUILD, buildTargets, findClang } = await import('./lib/fuzz-build.mjs');
  const asked = values.target === undefined ? TARGETS : [values.target];
  let native = asked.filter((target) => target !== 'rmp');
  if (native.length > 0 && values['if-clang'] && findClang() === undefined) {
    say(`not fuzzed, clang with libFuzzer is missing: ${native.join(', ')}`);
    native = [];
  }
  if (native.length > 0) buildTargets(native.map((target) => `${target}_fuzz`));
  if (values.merge) {
    for (const target of native) merge(BUILD, target);
    return;
  }
  const failed = native.filter((target) => !fuzzNative(BUILD, target));
  if (asked.includes('rmp') && !(await fuzzRmp(BUILD))) failed.push('rmp');
  if (failed.length > 0) throw new SetupError(`something was found: ${failed.join(', ')}`);
});

/** The codec's own fuzzer keeps only what covers more: nothing is left to choose there. */
function merge(build, target) {
  const corpus = join(root, 'test/fuzz/corpus', target);
  const before = readdirSync(corpus).length;
  const program = join(root, build, 'fuzz', `${target}_fuzz`);
  const result = spawnSync(program, ['-set_cover_merge=1', corpus, join(root, build, 'corpus', target)], {
    encoding: 'utf8',
  });
  if (result.status !== 0) throw new SetupError(`${target}: not merged\n${result.stderr.slice(-2000)}`);
  console.log(`${target}: ${before} inputs, ${readdirSync(corpus).length} merged`);
}

function fuzzNative(build, target) {
  const kept = join(root, build, 'corpus', target);
  mkdirSync(kept, { recursive: true });
  const options = [
    `-max_total_time=${values.seconds}`,
    `-max_len=${LONGEST[target] ?? 4096}`,
    '-timeout=25',
    '-print_final_stats=1',
    `-artifact_prefix=${join(root, build)}/found-${target}-`,
  ];
  const env = { ...process.env, ASAN_OPTIONS: 'quarantine_size_mb=16' };
  const folders = [kept, join(root, 'test/fuzz/corpus', target)];
  const program = join(root, build, 'fuzz', `${target}_fuzz`);
  const result = spawnSync(program, [...options, ...folders], { env, encoding: 'utf8', maxBuffer: 1 << 30 });
  const log = result.stderr ?? '';
  if (result.status !== 0) console.error(log.slice(-8000));
  const runs = /number_of_executed_units: *(\d+)/.exec(log)?.[1] ?? '?';
  const covered = [...log.matchAll(/cov: (\d+) ft: (\d+) corp: (\d+)/g)].at(-1) ?? [];
  const state = result.status === 0 ? 'nothing found' : `FOUND (status ${result.status ?? result.signal})`;
  console.log(`${target}: ${runs} runs, ${covered[1]} edges, ${covered[2]} features, ${covered[3]} inputs: ${state}`);
  return result.status === 0;
}

/** The RMP codec is TypeScript, where libFuzzer sees nothing: a small fuzzer of our own, guided by V8's coverage. */
async function fuzzRmp(build) {
  const { compileSources } = await import('./lib/simulation.mjs');
  const folder = join(root, 'dist-tools', 'fuzz');
  compileSources(folder, ['src', 'test/fuzz']);
  const folders = ['--corpus', join(root, 'test/fuzz/corpus/rmp'), '--keep', join(root, build, 'corpus', 'rmp')];
  const program = join(folder, 'test/fuzz/rmp-fuzzer.js');
  const args = [program, '--seconds', values.seconds, ...folders];
  const result = spawnSync(process.execPath, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] });
  console.log(`rmp: ${result.stdout.trim()}${result.status === 0 ? ': nothing found' : 'FOUND'}`);
  return result.status === 0;
}
