// npm run test:leaks -- [--connections N] [--messages M] [--engine E] [--reactors R]: connections opened and closed in turn, then
// messages, on io_uring and epoll, with a reactor in Node's loop and in a thread of its own. In the end the process must hold
// what it held at the start. Default: 1,000,000 connections and 10,000,000 messages; --short is CI's 20,000 and 200,000.
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
    engine: { type: 'string' },
    reactors: { type: 'string' },
    short: { type: 'boolean', default: false },
  },
});
const connections = values.connections ?? (values.short ? '20000' : '1000000');
const messages = values.messages ?? (values.short ? '200000' : '10000000');
/** An allocator keeps some of what was freed; a leak of 64 B per connection would be 64 MB in the long form. */
const MOST_RSS_GROWTH_MB = 16;
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
      failed.push(...check(folder, engine, reactors));
    }
  }
  if (failed.length > 0) throw new SetupError(`not back at the start line:\n  ${failed.join('\n  ')}`);
});

function check(folder, engine, reactors) {
  const what = `${engine}, reactors ${reactors}`;
  const program = join(folder, 'test/leaks/leak-run.js');
  const args = ['--engine', engine, '--reactors', reactors, '--connections', connections, '--messages', messages];
  const env = { ...process.env, RINGWAY_ADDON: join(root, 'build-native/Release/ringway.node') };
  const run = spawnSync(process.execPath, [program, ...args], {
    env,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  if (run.status !== 0) return [`${what}: exit status ${run.status ?? run.signal}`];
  const { before, after, largestId, seconds } = JSON.parse(run.stdout);
  console.log(
    `${what}: ${connections} connections, ${messages} messages in ${seconds} s, slots up to ${Math.floor(largestId / 64)}`,
  );
  for (const key of Object.keys(before)) console.log(`  ${key}: ${before[key]} before, ${after[key]} after`);
  const problems = [];
  for (const key of ['fds', 'timers', 'open']) if (after[key] !== before[key]) problems.push(key);
  if (after.handleBytes > before.handleBytes + 4096) problems.push('references from native code');
  if (after.rssMb > before.rssMb + MOST_RSS_GROWTH_MB) problems.push('RSS');
  if (largestId / 64 > MOST_SLOTS) problems.push('slots are not used again');
  return problems.map((problem) => `${what}: ${problem}`);
}
