/** The bench's command line. */
import { randomInt } from 'node:crypto';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { root } from './root.js';
import type { BackendKind } from './servers.js';
import { parseShape, type Shape } from './shape.js';

const PARTS = ['echo', 'relay', 'arrivals', 'memory', 'inside'] as const;
const BACKENDS = ['native', 'ringway'] as const;

export type Part = (typeof PARTS)[number];

/** What is done: measure, look into one case, or prepare. */
export type Task = 'measure' | 'check' | 'list' | 'profile' | 'capture';

export interface BenchOptions {
  readonly task: Task;
  /** Of `profile` and `capture`. */
  readonly of: string | undefined;
  readonly rounds: number;
  readonly seconds: number;
  readonly warmupSeconds: number;
  readonly parts: readonly Part[];
  /** Patterns with `*`; undefined: the default table. */
  readonly cases: readonly string[] | undefined;
  readonly servers: readonly string[] | undefined;
  readonly shapes: readonly Shape[];
  readonly backends: BackendKind;
  readonly idleConnections: number;
  /** Of the order in which servers are measured. */
  readonly seed: number;
  readonly quick: boolean;
  /** Where `ringway-load` and the other native programs are. */
  readonly nativeDirectory: string;
}

const WHOLE = { rounds: '4', seconds: '0.5', warmupSeconds: 0.2 };
const QUICK = { rounds: '1', seconds: '0.3', warmupSeconds: 0.15 };
const CHECK = { rounds: '3', seconds: '0.35', warmupSeconds: 0.1 };

export const USAGE = `usage: npm run bench -- [options]
Measures Ringway beside what one would use instead: CPU time per message, throughput, latency, memory. bench/README.md explains.

  --quick             one short round of the cases with a goal: a look, not a measurement
  --list              print the cases, what each is measured on and why, and how long it would take
  --case LIST         only these cases, * allowed: 'echo-500*,relay-1x1'
  --server LIST       only these servers, * allowed: 'io_uring*,node:net'
  --shape LIST        other shapes: CONNECTIONSxDEPTHxBYTES[+Nidle][/churn|/stream|/cancel], as in 200x4x512, separated by spaces;
                      a size may be a mix with weights, 50x1x64:90,4096:10
  --only PARTS        of ${PARTS.join(',')} (default all)
  --rounds N          interleaved rounds; tables show medians (default 4)
  --seconds T         measured time of each server in each case and round (default 0.5)
  --seed N            of the order in which servers are measured; it is printed (default: another one each time)
  --backends KIND     behind the relays: native (the same light C++ server behind all, speaking RMP or plain) or ringway
                      (ringway backend --echo, and node:net echo servers behind the TCP relays) (default native)
  --idle N            connections of the memory rows (default 10000)
  --profile CASE      a flame graph of one server in one case (--server names it, default io_uring), native and JavaScript frames
  --capture CASE      what the packets of one relay case say about its latencies (--server names it, default io_uring)
  --check             the ratios that matter, in under a minute: warns, always ends with status 0
  --install-peers     install HAProxy and nginx (Debian, as root)
  --native-dir DIR    where the load generator is (default build-native/bin)

Compare two results: npm run bench:compare A.json B.json
Exit status: 0, also when a goal is missed; 1 when an answer was wrong or a server failed; 2 for bad arguments.
`;

/** A sentence about the arguments; the caller ends with status 2. */
export class UsageError extends Error {}

export function parseOptions(args: readonly string[]): BenchOptions | 'help' {
  const values = parse(args);
  if (values.help) return 'help';
  const quick = values.quick === true || values.check === true;
  const of = values.profile ?? values.capture;
  const shapes = (values.shape ?? '').split(' ').filter((text) => text !== '');
  const preset = values.check ? CHECK : quick ? QUICK : WHOLE;
  const named = shapes.length > 0 || values.case !== undefined;
  const parts: readonly Part[] = named ? ['echo', 'relay'] : quick ? ['echo', 'relay', 'memory'] : PARTS;
  return {
    task: taskOf(values),
    of,
    rounds: number('rounds', values.rounds ?? preset.rounds, 1, 1000),
    seconds: number('seconds', values.seconds ?? preset.seconds, 0.1, 600),
    warmupSeconds: preset.warmupSeconds,
    parts: list('only', values.only, PARTS, parts),
    cases: patterns(values.case),
    servers: patterns(values.server),
    shapes: shapes.map(shapeOf),
    backends: list('backends', values.backends, BACKENDS, ['native'])[0],
    idleConnections: number('idle', values.idle ?? '10000', 1, 60_000),
    seed: number('seed', values.seed ?? String(randomInt(2 ** 31)), 0, 2 ** 31 - 1),
    quick,
    nativeDirectory: values['native-dir'] ?? join(root, 'build-native', 'bin'),
  };
}

function taskOf(values: ReturnType<typeof parse>): Task {
  const asked = (['check', 'list', 'profile', 'capture'] as const).filter((task) => values[task] !== undefined);
  if (asked.length > 1) throw new UsageError(`--${asked[0]} and --${asked[1]} do not go together`);
  return asked[0] ?? 'measure';
}

function parse(args: readonly string[]) {
  const text = { type: 'string' } as const;
  const flag = { type: 'boolean' } as const;
  const texts = {
    rounds: text,
    seconds: text,
    only: text,
    case: text,
    server: text,
    shape: text,
    backends: text,
    seed: text,
  };
  const tasks = { profile: text, capture: text, check: flag, list: flag };
  try {
    return parseArgs({
      args: [...args],
      options: { ...texts, ...tasks, idle: text, 'native-dir': text, quick: flag, help: flag },
    }).values;
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

function number(name: string, text: string, min: number, max: number): number {
  const value = Number(text);
  const whole = name === 'seconds' || Number.isInteger(value);
  if (text === '' || !whole || !(value >= min && value <= max)) {
    throw new UsageError(`--${name} ${text}: ${min} to ${max}`);
  }
  return value;
}

function list<Name extends string>(
  option: string,
  text: string | undefined,
  known: readonly Name[],
  preset: readonly Name[],
): readonly Name[] {
  if (text === undefined) return preset;
  const names = text.split(',').filter((name) => name !== '');
  const unknown = names.find((name) => !known.includes(name as Name));
  if (unknown !== undefined || names.length === 0) {
    throw new UsageError(`--${option} ${text}: known are ${known.join(', ')}`);
  }
  return known.filter((name) => names.includes(name));
}

function patterns(text: string | undefined): readonly string[] | undefined {
  return text?.split(',').filter((name) => name !== '');
}

function shapeOf(text: string): Shape {
  const shape = parseShape(text);
  if (shape === undefined)
    throw new UsageError(`--shape ${text}: CONNECTIONSxDEPTHxBYTES[+Nidle][/mode], as in 200x4x512`);
  return shape;
}

/** `*` stands for anything. No patterns accept everything. */
export function matches(name: string, patterns: readonly string[] | undefined): boolean {
  if (patterns === undefined) return true;
  return patterns.some((pattern) => {
    const parts = pattern.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'));
    return new RegExp(`^${parts.join('.*')}$`).test(name);
  });
}
