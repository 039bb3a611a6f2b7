/** `npm run bench`: see bench/README.md, or `npm run bench -- --help`. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { Bench } from './bench.js';
import { measureEcho } from './echo.js';
import { measureIdle } from './idle.js';
import { LoadGenerator } from './load.js';
import { describeMachine, type Machine } from './machine.js';
import { type BenchOptions, parseOptions, USAGE, UsageError } from './options.js';
import { ProcessGroup } from './process-group.js';
import { measureRelay } from './relay.js';
import { echoLines, idleLines, type IdleLine, type Line, relayLines } from './report.js';
import { root } from './root.js';
import { Servers } from './servers.js';
import { renderIdle, renderLines } from './table.js';

const SIGNALS = { SIGINT: 2, SIGTERM: 15, SIGHUP: 1 } as const;

interface Outcome {
  readonly lines: readonly Line[];
  readonly idle: readonly IdleLine[];
  readonly raw: unknown;
}

async function main(): Promise<number> {
  const options = parseOptions(process.argv.slice(2));
  if (options === 'help') {
    process.stdout.write(USAGE);
    return 0;
  }
  const group = new ProcessGroup();
  const load = new LoadGenerator(group, options.nativeDirectory);
  if (!existsSync(load.program)) throw new Error(`${load.program} is missing: npm run build:native`);
  const servers = new Servers(group, options);
  const bench = new Bench(options, servers, load);
  const interrupted = endOnSignal(bench, group);
  try {
    const machine = describeMachine();
    const outcome = await Promise.race([measure(bench), interrupted]);
    if (typeof outcome === 'number') return outcome;
    print(bench, machine, outcome);
    save(bench, machine, outcome);
    return bench.failures.length > 0 ? 1 : 0;
  } finally {
    await group.close();
    servers.removeFiles();
  }
}

/** Resolves with the exit status of the signal that came. */
function endOnSignal(bench: Bench, group: ProcessGroup): Promise<number> {
  return new Promise((resolve) => {
    for (const [signal, number] of Object.entries(SIGNALS)) {
      process.on(signal, async () => {
        bench.say('ending');
        bench.abort();
        await group.close();
        resolve(128 + number);
      });
    }
  });
}

async function measure(bench: Bench): Promise<Outcome> {
  const wants = (part: 'echo' | 'relay' | 'idle') => bench.options.parts.includes(part);
  const echo = wants('echo') ? await measureEcho(bench) : [];
  const relay = wants('relay') ? await measureRelay(bench) : [];
  const idle = wants('idle') ? await measureIdle(bench) : [];
  return { lines: [...echoLines(echo), ...relayLines(relay)], idle: idleLines(idle), raw: { echo, relay, idle } };
}

function print(bench: Bench, machine: Machine, { lines, idle }: Outcome): void {
  const { rounds, seconds } = bench.options;
  const text = [
    '',
    `${machine.cpu}, ${machine.cores} cores, Linux ${machine.kernel}, Node ${machine.node}`,
    `medians of ${rounds} interleaved rounds of ${seconds} s; CPU time of the server process alone, user and system`,
    '',
    renderLines(lines),
    renderIdle(idle),
    ...bench.notes.map((note) => `left out: ${note}`),
    ...bench.failures.map((failure) => `FAILED: ${failure}`),
    summary(lines, idle),
  ];
  process.stdout.write(`${text.join('\n')}\n`);
  const busy = machine.load > machine.cores / 4;
  if (busy) process.stdout.write(`the machine was busy before (load ${machine.load.toFixed(1)}): measure again\n`);
}

function summary(lines: readonly Line[], idle: readonly IdleLine[]): string {
  const verdicts = [...lines.flatMap(({ comparisons }) => comparisons), ...idle].map(({ verdict }) => verdict);
  const met = verdicts.filter((verdict) => verdict === 'met').length;
  const missed = verdicts.filter((verdict) => verdict === 'MISSED').length;
  return `${met} met, ${missed} missed`;
}

function save(bench: Bench, machine: Machine, outcome: Outcome): void {
  const directory = join(root, 'bench', 'results');
  mkdirSync(directory, { recursive: true });
  const at = new Date().toISOString();
  const file = join(directory, `${at.replace(/[:.]/g, '-')}.json`);
  const { nativeDirectory: _, ...options } = bench.options satisfies BenchOptions;
  const { notes, failures } = bench;
  writeFileSync(file, `${JSON.stringify({ at, machine, options, notes, failures, ...outcome }, null, 2)}\n`);
  process.stdout.write(`written to ${relative(root, file)}\n`);
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`bench: ${(error as Error).message}\n`);
  process.exitCode = error instanceof UsageError ? 2 : 1;
}
