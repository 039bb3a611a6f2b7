/** The bench's command line. */
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { root } from './root.js';

const PARTS = ['echo', 'relay', 'idle'] as const;
const ENGINES = ['io_uring', 'epoll', 'portable'] as const;
const PEERS = ['haproxy', 'nginx'] as const;
const BACKENDS = ['ringway', 'native'] as const;

export type Part = (typeof PARTS)[number];
export type Engine = (typeof ENGINES)[number];
export type RelayPeer = (typeof PEERS)[number];
export type Backends = (typeof BACKENDS)[number];

export interface BenchOptions {
  readonly rounds: number;
  readonly seconds: number;
  readonly warmupSeconds: number;
  readonly parts: readonly Part[];
  readonly engines: readonly Engine[];
  readonly peers: readonly RelayPeer[];
  readonly backends: Backends;
  /** Passed on as `--reactors`; undefined leaves the engine's default. */
  readonly reactors: number | undefined;
  readonly idleConnections: number;
  /** Where `ringway-load` and `ringway-echo-backend` are. */
  readonly nativeDirectory: string;
}

export const USAGE = `usage: npm run bench -- [options]
Measures Ringway beside its peers: CPU time of the server process per message, throughput and latency.

  --rounds N         interleaved rounds; the table shows medians (default 5)
  --seconds T        measured time of each server in each round (default 2)
  --only PARTS       of echo,relay,idle (default all)
  --engines LIST     of io_uring,epoll,portable (default all)
  --reactors N       reactor threads of the Ringway servers (default: the engine's own choice)
  --peers LIST       relays to compare with, of haproxy,nginx (default haproxy)
  --backends KIND    behind the relays: ringway (ringway backend --echo, and node:net echo servers behind the peers) or
                     native (the same light C++ server behind all) (default ringway)
  --idle N           idle connections of the memory row (default 10000)
  --quick            one round of half a second: a look, not a measurement
  --native-dir DIR   where the load generator is (default build-native/bin)

Exit status: 0, also when a ratio is missed; 1 when an answer was wrong or a server failed; 2 for bad arguments.
`;

/** A sentence about the arguments; the caller ends with status 2. */
export class UsageError extends Error {}

export function parseOptions(args: readonly string[]): BenchOptions | 'help' {
  const values = parse(args);
  if (values.help) return 'help';
  const quick = values.quick === true;
  return {
    rounds: number('rounds', values.rounds ?? (quick ? '1' : '5'), 1, 1000),
    seconds: number('seconds', values.seconds ?? (quick ? '0.5' : '2'), 0.1, 600),
    warmupSeconds: quick ? 0.25 : 0.5,
    parts: list('only', values.only, PARTS, PARTS),
    engines: list('engines', values.engines, ENGINES, ENGINES),
    peers: list('peers', values.peers, PEERS, ['haproxy']),
    backends: list('backends', values.backends, BACKENDS, ['ringway'])[0],
    reactors: values.reactors === undefined ? undefined : number('reactors', values.reactors, 0, 256),
    idleConnections: number('idle', values.idle ?? '10000', 1, 60_000),
    nativeDirectory: values['native-dir'] ?? join(root, 'build-native', 'bin'),
  };
}

function parse(args: readonly string[]) {
  const text = { type: 'string' } as const;
  try {
    return parseArgs({
      args: [...args],
      options: {
        rounds: text,
        seconds: text,
        only: text,
        engines: text,
        reactors: text,
        peers: text,
        backends: text,
        idle: text,
        'native-dir': text,
        quick: { type: 'boolean' },
        help: { type: 'boolean' },
      },
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
