// npm run test:leaks -- [--connections N] [--messages M] [--sockets S] [--engine E] [--reactors R]: connections opened and closed in
// turn, then messages, on io_uring and epoll, with a reactor in Node's loop and in a thread of its own; then sockets of
// `ringway/net`. In the end the process must hold what it held at the start. Default: 1,000,000 connections, 10,000,000 messages and
// 100,000 sockets; --short is CI's 20,000, 200,000 and 3,000.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { root } from './lib/root.mjs';
import { main, SetupError, say } from './lib/run.mjs';
import { setUp } from './lib/setup.mjs';

const { values } = parseArgs({
  options: {
    connections: { type: 'string' },
    messages: { type: 'string' },
    sockets: { type: 'string' },
    engine: { type: 'string' },
    reactors: { type: 'string' },
    short: { type: 'boolean', default: false },
  },
});
const connections = values.connections ?? (values.short ? '20000' : '1000000');
const messages = values.messages ?? (values.short ? '200000' : '10000000');
const sockets = values.sockets ?? (values.short ? '3000' : '100000');
/** Many times what each program takes: one that hangs ends here, and not with CI's patience. */
const TIMEOUT_MS = values.short ? 120_000 : 3_600_000;
/** An allocator keeps some of what was freed; a leak of 64 B per connection would be 64 MB in the long form. */
const MOST_RSS_GROWTH_MB = 16;
/** Beside it, of `ringway/net`: io_uring's 256 receive blocks of 64 KB, which come into use one by one, and stay. */
const BLOCKS_MB = 16;
/** 64 connections are open at once, each with two ends, and some linger; an id is 64 times its slot. */
const MOST_SLOTS = 512;

await main(async () => {
  if (process.platform !== 'linux') return say('not run: the native engine is for Linux');
  await setUp({ native: 'addon', mayLackNative: false });
  const { compileSources } = await import('./lib/simulation.mjs');
  const folder = join(root, 'dist-tools', 'leaks');
  compileSources(folder, ['src', 'test/leaks']);
  const failed = [];
  for (const engine of values.engine ? [values.engine] : ['io_uring', 'epoll']) {
    for (const reactors of values.reactors ? [values.reactors] : ['0', '1']) {
      failed.push(...checkEngine(folder, engine, reactors));
    }
    failed.push(...checkNet(folder, engine));
  }
  if (failed.length > 0) throw new SetupError(`not back at the start line:\n  ${failed.join('\n  ')}`);
});

function checkEngine(folder, engine, reactors) {
  const what = `${engine}, reactors ${reactors}`;
  const args = ['--engine', engine, '--reactors', reactors, '--connections', connections, '--messages', messages];
  const found = runProgram(join(folder, 'test/leaks/leak-run.js'), args);
  if (found.status !== undefined) return [`${what}: exit status ${found.status}`];
  const { largestId, seconds } = found;
  console.log(
    `${what}: ${connections} connections, ${messages} messages in ${seconds} s, slots up to ${Math.floor(largestId / 64)}`,
  );
  const problems = compare(found);
  if (largestId / 64 > MOST_SLOTS) problems.push('slots are not used again');
  return problems.map((problem) => `${what}: ${problem}`);
}

function checkNet(folder, engine) {
  const what = `ringway/net on ${engine}`;
  const found = runProgram(join(folder, 'test/leaks/net-run.js'), ['--engine', engine, '--sockets', sockets]);
  if (found.status !== undefined) return [`${what}: exit status ${found.status}`];
  console.log(`${what}: ${sockets} sockets in ${found.seconds} s`);
  return compare(found, MOST_RSS_GROWTH_MB + BLOCKS_MB).map((problem) => `${what}: ${problem}`);
}

/** What it printed, or the exit status where it failed. */
function runProgram(program, args) {
  const env = { ...process.env, RINGWAY_ADDON: join(root, 'build-native/Release/ringway.node') };
  const options = { env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'], timeout: TIMEOUT_MS };
  const run = spawnSync(process.execPath, [program, ...args], options);
  if (run.error?.code === 'ETIMEDOUT') return { status: `none after ${TIMEOUT_MS / 1000} s` };
  return run.status === 0 ? JSON.parse(run.stdout) : { status: run.status ?? run.signal };
}

/** Prints both, and answers what did not come back. */
function compare({ before, after }, mostRssGrowthMb = MOST_RSS_GROWTH_MB) {
  for (const key of Object.keys(before)) console.log(`  ${key}: ${before[key]} before, ${after[key]} after`);
  const problems = [];
  for (const key of ['fds', 'timers', 'open']) if (after[key] !== before[key]) problems.push(key);
  if (after.handleBytes > before.handleBytes + 4096) problems.push('references from native code');
  if (after.rssMb > before.rssMb + mostRssGrowthMb) problems.push('RSS');
  return problems;
}
