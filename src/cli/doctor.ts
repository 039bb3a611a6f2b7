/** `ringway doctor`: which engine would run here and why, what the machine allows, and what to change. */
import type { Command } from 'commander';
import type { DriverName, Engine } from '../engine/engine.js';
import { describeIoUring } from '../engine/create-native-engine.js';
import { createEngine } from '../engine/select-engine.js';
import { packageVersion } from '../package-root.js';
import { advise } from './advise.js';
import { type Limits, type MachineFacts, machineFacts } from './machine-facts.js';

const DRIVERS: readonly DriverName[] = ['io_uring', 'epoll', 'portable'];

/** A line of the report: a name and what is to be said about it. */
export type Row = readonly [name: string, value: string];

export function registerDoctor(program: Command): void {
  program
    .command('doctor')
    .description('Tell which engine would run here and why, what the machine allows, and what to change.')
    .action(async () => {
      const facts = machineFacts();
      const auto = await tryEngine('auto');
      const rows: Row[] = [
        ['ringway', packageVersion()],
        ['engine', auto.sentence],
        ...(await describeDrivers()),
        ...describeFacts(facts),
        ...describeFeatures(),
      ];
      console.log(formatRows(rows));
      const advice = advise(facts, { name: auto.name ?? 'portable', reason: auto.sentence });
      console.log(
        advice.length === 0 ? '\nnothing to change' : `\nto change:\n${advice.map((line) => `- ${line}`).join('\n')}`,
      );
    });
}

interface Trial {
  readonly name?: DriverName;
  readonly sentence: string;
}

async function tryEngine(kind: DriverName | 'auto'): Promise<Trial> {
  let engine: Engine;
  try {
    engine = await createEngine({ kind });
  } catch (error) {
    return { sentence: `no: ${(error as Error).message}` };
  }
  const { name, reason } = engine;
  await engine.close();
  return { name, sentence: kind === 'auto' ? `${name}: ${reason}` : 'yes' };
}

async function describeDrivers(): Promise<Row[]> {
  const rows: Row[] = [];
  for (const driver of DRIVERS) rows.push([`  ${driver}`, (await tryEngine(driver)).sentence]);
  return rows;
}

function describeFacts(facts: MachineFacts): Row[] {
  return [
    ['node', `${facts.node}, ${facts.platform}`],
    ['kernel', facts.kernel],
    ['open files', describeLimits(facts.openFiles)],
    ['locked memory', describeLimits(facts.lockedMemory, ' bytes')],
    ['somaxconn', facts.somaxconn === undefined ? 'unknown' : String(facts.somaxconn)],
    ['io_uring_disabled', facts.ioUringDisabled === undefined ? 'unknown' : String(facts.ioUringDisabled)],
    ['seccomp', describeSeccomp(facts.seccomp)],
  ];
}

function describeLimits(limits: Limits | undefined, unit = ''): string {
  if (limits === undefined) return 'unknown';
  const value = (limit: number): string => (limit === Infinity ? 'unlimited' : `${limit}${unit}`);
  return limits.soft === limits.hard ? value(limits.soft) : `${value(limits.soft)} (at most ${value(limits.hard)})`;
}

function describeSeccomp(mode: number | undefined): string {
  if (mode === undefined) return 'unknown';
  return mode === 0 ? 'none' : mode === 2 ? 'a filter is active' : 'strict';
}

function describeFeatures(): Row[] {
  const features = describeIoUring();
  if (features.length === 0) return [];
  const found = features.filter((feature) => feature.found).length;
  return [
    ['io_uring features', `${found} of ${features.length}`],
    ...features.map(({ name, found, sentence }): Row => [`  ${name}`, `${found ? 'yes' : 'no'}: ${sentence}`]),
  ];
}

/** Names in one column. */
export function formatRows(rows: readonly Row[]): string {
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows.map(([name, value]) => `${name.padEnd(width)}  ${value}`).join('\n');
}
