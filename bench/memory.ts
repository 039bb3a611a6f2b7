/**
 * Memory that idle connections cost an echo server: resident in the server, and the kernel's beside it. Each measurement starts a
 * fresh server.
 */
import { readFileSync } from 'node:fs';
import type { Bench } from './bench.js';
import { C_URING, NODE_NET } from './cases.js';
import { descriptorLimit, SPARE_DESCRIPTORS } from './descriptors.js';
import { type KernelMemory, readKernelMemory, serverEndBytes } from './kernel-memory.js';
import { type BenchOptions, matches } from './options.js';
import { describeSubject, echoTarget, startEcho } from './subjects.js';

/** Memory moves for a moment after the last connection: it is read when two readings agree, at the latest after this. */
const SETTLE_MS = 3_000;
const SETTLE_STEP_MS = 100;

export const MEMORY_SUBJECTS: readonly string[] = [NODE_NET, C_URING, 'bun', 'io_uring', 'epoll', 'portable'];

export interface MemorySeries {
  readonly subject: string;
  readonly connections: number;
  /** Bytes added by connections that never sent anything (all but the last, whose echo says that all were accepted). */
  readonly addedBytes: number[];
  /** Bytes added when each has had one message echoed. */
  readonly touchedBytes: number[];
  /** The kernel's objects at the server's end of each connection, where /proc shows them. */
  readonly kernelBytes: number[];
  /** Data in sockets, at both ends. */
  readonly socketBufferBytes: number[];
}

export function memoryRounds({ rounds }: BenchOptions): number {
  return Math.min(rounds, 3);
}

export async function measureMemory(bench: Bench): Promise<MemorySeries[]> {
  const connections = bench.options.idleConnections;
  const most = descriptorLimit() - SPARE_DESCRIPTORS;
  if (connections > most) {
    bench.note(
      `memory: ${connections} connections, this machine allows ${most} (ulimit -n ${connections + SPARE_DESCRIPTORS})`,
    );
    return [];
  }
  const series = MEMORY_SUBJECTS.filter((name) => matches(name, bench.options.servers)).map(
    (subject): MemorySeries => ({
      ...{ subject, connections, addedBytes: [], touchedBytes: [], kernelBytes: [], socketBufferBytes: [] },
    }),
  );
  const failed = new Set<MemorySeries>();
  for (let round = 1; round <= memoryRounds(bench.options); round++) {
    bench.say(`memory: ${connections} idle connections, round ${round} of ${memoryRounds(bench.options)}`);
    for (const one of series) if (!failed.has(one) && !(await measureOnce(bench, one))) failed.add(one);
  }
  return series.filter(({ addedBytes }) => addedBytes.length > 0);
}

async function measureOnce(bench: Bench, into: MemorySeries): Promise<boolean> {
  const label = describeSubject('echo', into.subject);
  const measure = (touch: boolean) => measureAdded(bench, into.subject, into.connections, touch);
  const idle = await bench.attempt(label, () => measure(false));
  if (idle === undefined) return false;
  into.addedBytes.push(idle.resident);
  if (idle.kernel !== undefined) {
    into.kernelBytes.push(idle.kernel.objectBytes);
    into.socketBufferBytes.push(idle.kernel.bufferBytes);
  }
  const touched = await bench.attempt(label, () => measure(true));
  if (touched === undefined) return false;
  into.touchedBytes.push(touched.resident);
  const each = (bytes: number) => `${Math.round(bytes / into.connections)} B`;
  bench.say(`  ${label.padEnd(32)} ${each(idle.resident)} each, after one message each ${each(touched.resident)}`);
  return true;
}

interface Added {
  readonly resident: number;
  readonly kernel: { readonly objectBytes: number; readonly bufferBytes: number } | undefined;
}

async function measureAdded(bench: Bench, subject: string, connections: number, touch: boolean): Promise<Added> {
  const server = await startEcho(bench.servers, subject);
  try {
    const before = await settledMemory(server.process.pid);
    const kernelBefore = readKernelMemory();
    const held = await bench.load.hold(echoTarget(server), connections, touch);
    const after = await settledMemory(server.process.pid);
    const kernelAfter = readKernelMemory();
    await held.release();
    if (server.process.failure !== undefined) throw new Error(server.process.failure);
    const kernel = kernelBefore && kernelAfter && kernelAdded(kernelBefore, kernelAfter, connections);
    return { resident: after - before, kernel };
  } finally {
    await server.process.stop();
  }
}

function kernelAdded(before: KernelMemory, after: KernelMemory, connections: number): Added['kernel'] {
  return {
    objectBytes: serverEndBytes(before.slabs, after.slabs, connections),
    bufferBytes: after.bufferBytes - before.bufferBytes,
  };
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
