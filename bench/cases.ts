/**
 * What is measured by default, and why. All servers times all shapes would take hours; so every dimension (connections, depth, size,
 * mode, reactors) is varied alone around one centre, and each row that has a goal is here. `--case`, `--server` and `--shape` reach
 * every other combination.
 */
import { describeShape, type Shape, shape } from './shape.js';

export type Room = 'echo' | 'relay';

/** What stands behind a relay: an echo, a handler that answers in partial responses, one that takes its time. */
export type Behind = 'echo' | 'stream' | 'slow';

export interface Case {
  /** `--case` knows it by this. */
  readonly name: string;
  readonly room: Room;
  readonly shape: Shape;
  readonly behind: Behind;
  /** Names of subjects, see subjects.ts. */
  readonly subjects: readonly string[];
  /** A case with a goal: measured in every round; the others in every second one. */
  readonly key: boolean;
  readonly why: string;
}

export const NODE_NET = 'node:net';
export const NODE_NET_IN_PLACE = 'node:net-in-place';
export const C_URING = 'c-io_uring';
export const C_EPOLL = 'c-epoll';
export const HAPROXY = 'haproxy';
export const NGINX = 'nginx';
export const NODE_NET_GATEWAY = 'node:net-gateway';
export const NODE_NET_GATEWAY_PER_CHUNK = 'node:net-gateway-per-chunk';
export const DIRECT = 'direct';
export const NATIVE_ENGINES = ['io_uring', 'epoll'] as const;

/** The number of reactors a subject was asked for stands behind the slash; without one it is the engine's own choice. */
const reactors = (...counts: number[]) =>
  NATIVE_ENGINES.flatMap((engine) => counts.map((count) => `${engine}/${count}`));
const REACTORS = reactors(0, 1, 2);
const ECHO = [NODE_NET, C_URING, C_EPOLL, 'bun', 'io_uring', 'epoll', 'portable'];
const ECHO_FEW = [NODE_NET, C_URING, C_EPOLL, 'bun', 'io_uring', 'epoll'];
/** What costs most time to measure, on those that its goal is about. */
const ECHO_MANY = [NODE_NET, C_URING, C_EPOLL, 'io_uring', 'epoll'];
const RELAY = [
  HAPROXY,
  NGINX,
  NODE_NET_GATEWAY,
  'io_uring',
  'io_uring:rmp',
  'epoll',
  'epoll:rmp',
  'portable',
  'portable:rmp',
];
const RELAY_FEW = [HAPROXY, NODE_NET_GATEWAY, 'io_uring', 'epoll'];
const RMP_GATEWAYS = [`${NODE_NET_GATEWAY}:rmp`, 'io_uring:rmp', 'epoll:rmp', 'portable:rmp'];

const echo = (name: string, of: Shape, subjects: readonly string[], key: boolean, why: string): Case => ({
  ...{ name: `echo-${name}`, room: 'echo', shape: of, behind: 'echo', subjects, key, why },
});
const relay = (
  name: string,
  of: Shape,
  subjects: readonly string[],
  key: boolean,
  why: string,
  behind: Behind = 'echo',
): Case => ({ name: `relay-${name}`, room: 'relay', shape: of, behind, subjects, key, why });

/** Most messages of a service are small, most of its bytes are not. */
export const MIXED_SIZES = '64:70,1024:20,16384:9,262144:1';
export const MANY = 10_000;
/** A TCP relay holds two descriptors for each; a container that allows 20,000, and no more to root, is common. */
const MANY_RELAYED = 9_500;

export const CASES: readonly Case[] = [
  echo(
    '500x1',
    shape(500, 1, 64),
    [...ECHO, NODE_NET_IN_PLACE, ...REACTORS],
    true,
    'the centre: many clients, one message each',
  ),
  echo(
    '500x16',
    shape(500, 16, 64),
    [...ECHO, NODE_NET_IN_PLACE, ...REACTORS],
    true,
    'pipelined: what a message costs beyond its share of system calls',
  ),
  echo('50x16', shape(50, 16, 64), ECHO_FEW, true, 'fewer clients that pipeline'),
  echo('1x1', shape(1, 1, 64), [...ECHO, ...REACTORS], true, 'a lone connection: every wake-up shows'),
  echo('50x1', shape(50, 1, 64), ECHO_FEW, false, 'moderate concurrency'),
  echo('5000x1', shape(5_000, 1, 64), ECHO_FEW, false, 'connections: 1, 50, 500, 5,000'),
  echo('50x1-1k', shape(50, 1, 1024), ECHO_FEW, false, 'size: 64 B, 1 KB, 4 KB, 16 KB, 256 KB'),
  echo('50x1-4k', shape(50, 1, 4096), ECHO, true, 'a page of text'),
  echo('50x1-16k', shape(50, 1, 16_384), ECHO, true, 'a payload that just fits one receive buffer'),
  echo('50x1-256k', shape(50, 1, 262_144), ECHO_FEW, false, 'bulk'),
  echo('mixed', shape(50, 4, MIXED_SIZES), ECHO_FEW, false, 'large frames between small ones'),
  echo('churn', shape(50, 1, 64, { mode: 'churn' }), ECHO, false, 'connect, request, close: what a connection costs'),
  echo('10000x1', shape(MANY, 1, 64), ECHO_MANY, true, 'does a message cost more when there are many connections'),
  echo('100+10000idle', shape(100, 1, 64, { idle: MANY }), ECHO_FEW, false, 'idle clients beside busy ones'),
  relay(
    '500x1',
    shape(500, 1, 64),
    [...RELAY, NODE_NET_GATEWAY_PER_CHUNK, ...reactors(0, 1)],
    true,
    'the centre: many clients, one message each',
  ),
  relay('500x16', shape(500, 16, 64), [...RELAY, ...reactors(0, 1)], true, 'pipelined'),
  relay('50x16', shape(50, 16, 64), RELAY_FEW, false, 'fewer clients that pipeline: where a TCP relay batches as well'),
  relay(
    '1x1',
    shape(1, 1, 64),
    [...RELAY_FEW, 'io_uring:rmp', DIRECT, `${DIRECT}:rmp`],
    false,
    'a lone client: the latency a gateway adds',
  ),
  relay('5000x1', shape(5_000, 1, 64), RELAY_FEW, false, 'connections: 1, 500, 5,000'),
  relay('50x1-1k', shape(50, 1, 1024), RELAY_FEW, false, 'size: 64 B, 1 KB, 16 KB, 256 KB'),
  relay('50x1-16k', shape(50, 1, 16_384), RELAY_FEW, true, 'a payload that just fits one receive buffer'),
  relay('50x1-256k', shape(50, 1, 262_144), RELAY_FEW, false, 'bulk'),
  relay('mixed', shape(50, 4, MIXED_SIZES), RELAY_FEW, false, 'large frames between small ones'),
  relay('churn', shape(50, 1, 64, { mode: 'churn' }), RELAY_FEW, false, 'connect, request, close'),
  relay(
    `100+${MANY_RELAYED}idle`,
    shape(100, 1, 64, { idle: MANY_RELAYED }),
    RELAY_FEW,
    false,
    'idle clients beside busy ones',
  ),
  relay(
    'stream',
    shape(50, 1, 64, { mode: 'stream' }),
    RMP_GATEWAYS,
    false,
    'one request, 100 partial responses',
    'stream',
  ),
  relay(
    'cancel',
    shape(50, 16, 64, { mode: 'cancel' }),
    RMP_GATEWAYS,
    false,
    'requests cancelled before their answer',
    'slow',
  ),
];

/** The subjects that a shape of `--shape` is measured on: in both rooms where the mode has a meaning there. */
export function casesOfShape(of: Shape): Case[] {
  const why = 'asked for';
  if (of.mode === 'stream') return [relay(describeShape(of), of, RMP_GATEWAYS, true, why, 'stream')];
  if (of.mode === 'cancel') return [relay(describeShape(of), of, RMP_GATEWAYS, true, why, 'slow')];
  return [
    echo(describeShape(of), of, [...ECHO, ...REACTORS], true, why),
    relay(describeShape(of), of, [...RELAY, ...REACTORS], true, why),
  ];
}

/** Of the capacity that each server itself reached in this run's closed loop of the named case. */
export const ARRIVAL_SHARES = [0.2, 0.5, 0.8] as const;
/** Messages per second, the same for all: far below what any relay can do, and what the slowest still can. */
export const COMMON_RATES = [5_000, 30_000] as const;

export interface ArrivalCase {
  readonly name: string;
  readonly room: Room;
  readonly shape: Shape;
  /** The closed-loop case whose throughput is the capacity; undefined: the common rates. */
  readonly capacityOf: string | undefined;
  readonly subjects: readonly string[];
}

export const ARRIVALS: readonly ArrivalCase[] = [
  {
    name: 'echo-arrivals',
    room: 'echo',
    shape: shape(500, 0, 64),
    capacityOf: 'echo-500x1',
    subjects: [NODE_NET, C_URING, 'io_uring', 'epoll'],
  },
  {
    name: 'relay-arrivals',
    room: 'relay',
    shape: shape(500, 0, 64),
    capacityOf: 'relay-500x1',
    subjects: [HAPROXY, NODE_NET_GATEWAY, 'io_uring', 'epoll'],
  },
  {
    name: 'relay-added',
    room: 'relay',
    shape: shape(500, 0, 64),
    capacityOf: undefined,
    subjects: [
      ...[DIRECT, `${DIRECT}:rmp`, HAPROXY, NODE_NET_GATEWAY],
      ...['io_uring', 'io_uring:rmp', 'epoll', 'portable'],
    ],
  },
];

export function isDirect(subject: string): boolean {
  return subject.startsWith(DIRECT);
}
