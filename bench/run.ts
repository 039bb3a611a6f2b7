/** `npm run bench`: see bench/README.md, or `npm run bench -- --help`. */
import { existsSync } from 'node:fs';
import { Bench } from './bench.js';
import { captureCase } from './capture.js';
import { checkRatios } from './check.js';
import { raiseDescriptorLimit } from './descriptors.js';
import { listCases } from './list.js';
import { LoadGenerator } from './load.js';
import { describeMachine } from './machine.js';
import { measure } from './measure.js';
import { type BenchOptions, parseOptions, USAGE, UsageError } from './options.js';
import { estimateSeconds } from './plan.js';
import { ProcessGroup } from './process-group.js';
import { profileCase } from './profile.js';
import { renderAll } from './report.js';
import { saveResults } from './save.js';
import { Servers } from './servers.js';

const SIGNALS = { SIGINT: 2, SIGTERM: 15, SIGHUP: 1 } as const;

async function main(): Promise<number> {
  const options = parseOptions(process.argv.slice(2));
  if (options === 'help') return print(USAGE);
  if (options.task === 'list') return print(listCases(options));
  raiseDescriptorLimit();
  const group = new ProcessGroup();
  const load = new LoadGenerator(group, options.nativeDirectory);
  if (!existsSync(load.program)) throw new Error(`${load.program} is missing: npm run build:native`);
  const servers = new Servers(group, options.nativeDirectory);
  const bench = new Bench(options, servers, load);
  const interrupted = endOnSignal(bench, group);
  try {
    const status = await Promise.race([perform(bench, group, options), interrupted]);
    return bench.isAborted ? await interrupted : status;
  } finally {
    await group.close();
    servers.removeFiles();
  }
}

async function perform(bench: Bench, group: ProcessGroup, options: BenchOptions): Promise<number> {
  if (options.task === 'profile') return profileCase(bench, group);
  if (options.task === 'capture') return captureCase(bench, group);
  if (options.task === 'check') return checkRatios(bench);
  const minutes = estimateSeconds(options) / 60;
  bench.say(`this takes about ${minutes < 1 ? `${Math.ceil(60 * minutes)} s` : `${minutes.toFixed(1)} minutes`}`);
  const results = await measure(bench, group, describeMachine());
  // Half a run is no result; the signal's own status is on its way.
  if (bench.isAborted) return 1;
  print(`\n${renderAll(results)}\n`);
  print(
    `${saveResults(results)
      .map((file) => `written: ${file}\n`)
      .join('')}`,
  );
  return bench.failures.length > 0 ? 1 : 0;
}

function print(text: string): number {
  process.stdout.write(text);
  return 0;
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

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`bench: ${(error as Error).message}\n`);
  process.exitCode = error instanceof UsageError ? 2 : 1;
}
