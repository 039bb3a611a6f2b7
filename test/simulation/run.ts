/**
 * The command line: `--seed N` or `--seeds FROM-TO`, `--steps N`. Runs seeds one after another, prints the first failure and the
 * command that repeats it. `npm run simulate` (scripts/simulate.mjs) compiles and starts this.
 */
import { parseArgs } from 'node:util';
import { type Result, simulate } from './simulation.js';

const DEFAULT_STEPS = 300;

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    seeds: { type: 'string', default: '1-1000' },
    steps: { type: 'string', default: String(DEFAULT_STEPS) },
    /** Seconds after which no further seed is begun. */
    seconds: { type: 'string', default: 'Infinity' },
    json: { type: 'boolean', default: false },
  },
});

const [from, to] = (values.seed === undefined ? values.seeds : `${values.seed}-${values.seed}`).split('-').map(Number);
const steps = Number(values.steps);
const endMs = performance.now() + Number(values.seconds) * 1_000;
if (!(Number.isInteger(from) && Number.isInteger(to) && from <= to && steps > 0)) {
  console.error('simulate: --seeds FROM-TO, --seed N and --steps N take whole numbers');
  process.exit(2);
}

const startedMs = performance.now();
const sum = { seeds: 0, tasks: 0, resends: 0, connections: 0, fingerprint: 0 };
let failed: Result | undefined;
for (let seed = from; seed <= to && failed === undefined && performance.now() < endMs; seed++) {
  const result = await simulate(seed, steps);
  sum.seeds++;
  sum.tasks += result.tasks;
  sum.resends += result.resends;
  sum.connections += result.connections;
  sum.fingerprint = (sum.fingerprint ^ result.fingerprint) >>> 0;
  if (result.failure !== undefined) failed = result;
}
report();

function report(): void {
  const seconds = (performance.now() - startedMs) / 1_000;
  const found = failed && { seed: failed.seed, step: failed.failure!.step, sentence: failed.failure!.sentence };
  if (values.json) console.log(JSON.stringify({ ...sum, seconds, found }));
  if (failed !== undefined) {
    if (!values.json) describe(failed);
    process.exitCode = 1;
  } else if (!values.json) {
    const perMinute = Math.round((sum.tasks / seconds) * 60).toLocaleString('en');
    console.log(
      `${sum.seeds} seeds (${from} to ${from + sum.seeds - 1}), ${sum.tasks} tasks, ${sum.resends} resends, ` +
        `${sum.connections} clients in ${seconds.toFixed(1)} s: ${perMinute} tasks a minute; no invariant broken`,
    );
  }
}

function describe({ seed, failure }: Result): void {
  const { step, sentence, stack, events } = failure!;
  console.error(`seed ${seed}, step ${step}: ${sentence}\n`);
  console.error(`the last ${events.length} events:`);
  for (const event of events) console.error(`  ${event}`);
  console.error(
    `\n${stack}\n\nto repeat it: npm run simulate -- --seed ${seed}${steps === DEFAULT_STEPS ? '' : ` --steps ${steps}`}`,
  );
}
