/** Resident memory that idle connections add to an echo server. Each measurement starts a fresh server. */
import { readFileSync } from 'node:fs';
import type { Bench } from './bench.js';
import { echoSubject, NODE_NET, onEngine } from './echo.js';
import type { Server } from './servers.js';

/** Memory moves for a moment after the last connection: it is read when two readings agree, at the latest after this. */
const SETTLE_MS = 3_000;
const SETTLE_STEP_MS = 150;
const MAX_ROUNDS = 3;
/** Descriptors a server needs besides those of its connections. */
const SPARE_DESCRIPTORS = 100;

export interface IdleSeries {
  readonly subject: string;
  readonly connections: number;
  /** Bytes added by connections that never sent anything (all but the last, whose echo says that all were accepted). */
  readonly addedBytes: number[];
  /** Bytes added when each has had one message echoed. */
  readonly touchedBytes: number[];
}

export async function measureIdle(bench: Bench): Promise<IdleSeries[]> {
  const connections = bench.options.idleConnections;
  const most = descriptorLimit() - SPARE_DESCRIPTORS;
  if (connections > most) {
    bench.notes.push(
      `${connections} idle connections: this machine allows ${most} (ulimit -n ${connections + SPARE_DESCRIPTORS})`,
    );
    return [];
  }
  const starts: [string, () => Promise<Server>][] = [
    [NODE_NET, () => bench.servers.nodeNetEcho()],
    ...bench.options.engines.map((engine): [string, () => Promise<Server>] => [
      onEngine(engine),
      () => bench.servers.ringwayEcho(engine),
    ]),
  ];
  const series = starts.map(([subject]): IdleSeries => ({ subject, connections, addedBytes: [], touchedBytes: [] }));
  const failed = new Set<string>();
  const rounds = Math.min(bench.options.rounds, MAX_ROUNDS);
  for (let round = 0; round < rounds; round++) {
    bench.say(`${connections} idle connections, round ${round + 1} of ${rounds}`);
    for (const [index, [name, start]] of starts.entries()) {
      if (!failed.has(name) && !(await measureOnce(bench, name, start, series[index]))) failed.add(name);
    }
  }
  return series.filter(({ addedBytes }) => addedBytes.length > 0);
}

async function measureOnce(
  bench: Bench,
  name: string,
  start: () => Promise<Server>,
  into: IdleSeries,
): Promise<boolean> {
  const measure = (touch: boolean) => measureAdded(bench, name, start, into.connections, touch);
  const added = await bench.attempt(`${name}, idle`, () => measure(false));
  if (added === undefined) return false;
  into.addedBytes.push(added);
  const touched = await bench.attempt(`${name}, idle after a message`, () => measure(true));
  if (touched === undefined) return false;
  into.touchedBytes.push(touched);
  const megabytes = (bytes: number) => (bytes / 1e6).toFixed(1);
  bench.say(`  ${name.padEnd(28)} ${megabytes(added)} MB, after one message each ${megabytes(touched)} MB`);
  return true;
}

async function measureAdded(
  bench: Bench,
  name: string,
  start: () => Promise<Server>,
  connections: number,
  touch: boolean,
): Promise<number> {
  const server = await start();
  try {
    const { target } = echoSubject(name, server);
    const before = await settledMemory(server.process.pid);
    const held = await bench.load.hold(target, connections, touch);
    const after = await settledMemory(server.process.pid);
    await held.release();
    if (server.process.failure !== undefined) throw new Error(server.process.failure);
    return after - before;
  } finally {
    await server.process.stop();
  }
}

async function settledMemory(pid: number): Promise<number> {
  const endMs = performance.now() + SETTLE_MS;
  let bytes = residentBytes(pid);
  while (performance.now() < endMs) {
    await new Promise((resolve) => setTimeout(resolve, SETTLE_STEP_MS));
    const now = residentBytes(pid);
    if (now === bytes) break;
    bytes = now;
  }
  return bytes;
}

function residentBytes(pid: number): number {
  const kilobytes = readFileSync(`/proc/${pid}/status`, 'utf8').match(/^VmRSS:\s+(\d+) kB$/m);
  if (kilobytes === null) throw new Error(`process ${pid} has no resident memory: it ended`);
  return Number(kilobytes[1]) * 1024;
}

function descriptorLimit(): number {
  const hard = readFileSync('/proc/self/limits', 'utf8').match(/^Max open files\s+\S+\s+(\S+)/m)?.[1];
  return hard === undefined || hard === 'unlimited' ? Number.POSITIVE_INFINITY : Number(hard);
}
