/** The bench itself, on cases of a fifth of a second: that servers start, answers are right and a report comes out. No figure is judged. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { Bench } from '../../bench/bench.js';
import { LoadGenerator } from '../../bench/load.js';
import { describeMachine } from '../../bench/machine.js';
import { measure } from '../../bench/measure.js';
import { parseOptions } from '../../bench/options.js';
import { ProcessGroup } from '../../bench/process-group.js';
import { renderAll } from '../../bench/report.js';
import { readResults, type Results } from '../../bench/results.js';
import { saveResults } from '../../bench/save.js';
import { Servers } from '../../bench/servers.js';

const missing = process.platform !== 'linux' || !existsSync('build-native/bin/ringway-load');
if (missing) console.log('bench-suite: left out, the load generator runs on Linux: npm run build:native -- bench');

const directory = mkdtempSync(join(tmpdir(), 'ringway-bench-test-'));
afterEach(() => rmSync(directory, { recursive: true, force: true }));

async function run(...args: string[]): Promise<Results> {
  const options = parseOptions(['--quick', '--rounds', '1', '--seconds', '0.2', ...args]);
  if (options === 'help') throw new Error('help was not asked for');
  const group = new ProcessGroup();
  const servers = new Servers(group, options.nativeDirectory);
  try {
    return await measure(
      new Bench(options, servers, new LoadGenerator(group, options.nativeDirectory)),
      group,
      describeMachine(),
    );
  } finally {
    await group.close();
    servers.removeFiles();
  }
}

test.skipIf(missing)(
  'measures echo servers and gateways, checks every answer, and writes its report',
  async () => {
    const cases = 'echo-50x1-1k,echo-churn,relay-50x16,relay-stream,relay-cancel';
    const servers = 'node:net,c-epoll,epoll,node:net-gateway,node:net-gateway:rmp,epoll:rmp';
    const results = await run('--case', cases, '--server', servers);
    expect(results.failures).toEqual([]);
    const measured = results.series.map((one) => `${one.case} ${one.subject}`);
    expect(measured.sort()).toEqual(
      [
        ...['echo-50x1-1k', 'echo-churn'].flatMap((name) =>
          ['node:net', 'c-epoll', 'epoll'].map((subject) => `${name} ${subject}`),
        ),
        ...['node:net-gateway', 'epoll'].map((subject) => `relay-50x16 ${subject}`),
        ...['relay-stream', 'relay-cancel'].flatMap((name) =>
          ['node:net-gateway:rmp', 'epoll:rmp'].map((subject) => `${name} ${subject}`),
        ),
      ].sort(),
    );
    for (const { samples } of results.series) expect(samples[0].messages).toBeGreaterThan(0);

    saveResults(results, directory);
    const files = readdirSync(directory);
    expect(files.map((name) => name.slice(name.indexOf('Z') + 1)).sort()).toEqual(['-cpu.svg', '.json', '.md']);
    const json = files.find((name) => name.endsWith('.json'))!;
    expect(renderAll(readResults(join(directory, json)))).toBe(renderAll(results));
    expect(readFileSync(join(directory, json.replace('.json', '.md')), 'utf8')).toContain('relay-stream');
  },
  60_000,
);

test.skipIf(missing)(
  'measures memory of idle connections',
  async () => {
    const results = await run('--only', 'memory', '--idle', '50', '--server', 'epoll');
    expect(results.failures).toEqual([]);
    expect(results.memory).toMatchObject([{ subject: 'epoll', connections: 50 }]);
    expect(results.memory[0].addedBytes).toHaveLength(1);
  },
  60_000,
);
