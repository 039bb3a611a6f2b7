// npm run test:sanitize: all native tests and fuzz corpora under AddressSanitizer with UndefinedBehaviorSanitizer, then under
// ThreadSanitizer, and the addon under AddressSanitizer in a real Node process with traffic. `-- asan`, `-- tsan` or
// `-- addon` runs one of the three, `-- threads` of ThreadSanitizer's only the tests that have threads.
//
// What the kernel writes into io_uring's receive buffers is no store that a sanitizer sees: there a buffer that is given away
// too early shows only where our own code touches it. epoll and the fake drivers run the same code with stores it sees.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { ensureInstalled } from './lib/install.mjs';
import { compiler, ensurePrerequisites, uvInclude } from './lib/prerequisites.mjs';
import { root } from './lib/root.mjs';
import { capture, main, run, SetupError, say } from './lib/run.mjs';

const KINDS = {
  asan: { sanitizers: 'address;undefined', folder: 'build-native/asan' },
  tsan: { sanitizers: 'thread', folder: 'build-native/tsan' },
};
/** Of ThreadSanitizer's build: rings between two threads, reactors with threads of their own. */
const THREADS = ['admission_test', 'event_ring_test', 'command_ring_test', 'reactor_test', 'reactor_group_test'];
/** Everything that JavaScript can ask of the addon, and `ringway/net`, which asks for pinned memory, blocks and descriptors. */
const ENGINE = [
  ...['frames', 'send', 'close', 'connect', 'listen', 'timeouts', 'command-ring'],
  ...['raw', 'descriptors', 'turns', 'hold', 'socket', 'teardown'],
];
const NET = ['socket', 'server', 'tcp', 'descriptors'];
const TRAFFIC = [...ENGINE.map((name) => `engine-${name}`), ...NET.map((name) => `net-${name}`)].map(
  (name) => `test/integration/${name}.test.ts`,
);
const ALL = ['asan', 'tsan', 'addon'];
const STEPS = [...ALL, 'threads'];

await main(() => {
  if (process.platform !== 'linux') return say('not run: the native engine is for Linux');
  const asked = process.argv.slice(2);
  const unknown = asked.find((step) => !STEPS.includes(step));
  if (unknown) throw new SetupError(`no step ${unknown}: there are ${STEPS.join(', ')}`);
  ensureInstalled();
  ensurePrerequisites({ tests: true });
  for (const step of asked.length > 0 ? asked : ALL) {
    if (step === 'addon') addonInNode();
    else if (step === 'threads') nativeTests(KINDS.tsan, THREADS);
    else nativeTests(KINDS[step]);
  }
});

function build({ sanitizers, folder }, ...targets) {
  const options = [`-DRINGWAY_SANITIZE=${sanitizers}`, '-DRINGWAY_BENCH=OFF', `-DRINGWAY_UV_INCLUDE=${uvInclude()}`];
  const flags = [
    '-DCMAKE_BUILD_TYPE=Release',
    '-DCMAKE_CXX_FLAGS_RELEASE=-O1 -g1',
    `-DCMAKE_CXX_COMPILER=${compiler()}`,
  ];
  run(`configuring ${folder}`, 'cmake', ['-S', '.', '-B', folder, ...options, ...flags]);
  run(`building ${folder}`, 'cmake', ['--build', folder, '--parallel', '2', ...targets]);
}

/** @param only The tests' names; none: all of them. */
function nativeTests(kind, only = []) {
  build(kind, ...only.flatMap((test) => ['--target', test]));
  // No program runs beside one of ThreadSanitizer's for long: it is slow enough alone.
  const args = [
    '--test-dir',
    kind.folder,
    '--parallel',
    '2',
    '--output-on-failure',
    '--no-tests=error',
    ...(only.length > 0 ? ['--tests-regex', `^(${only.join('|')})$`] : []),
  ];
  run(`the native tests with ${kind.sanitizers}`, 'ctest', args);
}

function addonInNode() {
  build(KINDS.asan, '--target', 'ringway');
  const addon = join(root, KINDS.asan.folder, 'Release', 'ringway.node');
  if (!existsSync(addon)) throw new SetupError('the build made no addon');
  const runtimes = ['libasan.so', 'libubsan.so', 'libstdc++.so.6'].map((name) =>
    capture(compiler(), [`-print-file-name=${name}`]),
  );
  const env = {
    ...process.env,
    RINGWAY_ADDON: addon,
    LD_PRELOAD: runtimes.join(':'),
    // Node itself frees little at its end: leaks are `npm run test:leaks`'s.
    ASAN_OPTIONS: 'detect_leaks=0:abort_on_error=1',
    UBSAN_OPTIONS: 'print_stacktrace=1:halt_on_error=1',
  };
  const vitest = ['node_modules/vitest/vitest.mjs', 'run', '--testTimeout=120000', ...TRAFFIC];
  const result = spawnSync(process.execPath, vitest, { cwd: root, env, stdio: 'inherit' });
  if (result.status !== 0) throw new SetupError('the addon failed under AddressSanitizer');
}
