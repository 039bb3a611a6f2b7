/** System calls and wake-ups of a running process: counted by perf (which barely slows it), else by strace (which does). */
import { readdirSync, readlinkSync } from 'node:fs';
import type { BenchProcess, ProcessGroup } from './process-group.js';

const ATTACHED_WITHIN_MS = 5_000;
/** From the first counter of perf to its last: one is opened after the other. */
const COUNTERS_OPEN_MS = 100;

/** Those a server of this bench may make per message, by their names in the kernel. Others are counted together. */
const NAMES = [
  ...['io_uring_enter', 'epoll_wait', 'epoll_pwait', 'epoll_pwait2', 'epoll_ctl', 'read', 'write', 'readv', 'writev'],
  ...[
    'recvfrom',
    'sendto',
    'recvmsg',
    'sendmsg',
    'futex',
    'accept4',
    'shutdown',
    'close',
    'clock_gettime',
    'timerfd_settime',
  ],
];

export interface SystemCalls {
  readonly tool: 'perf' | 'strace';
  readonly calls: number;
  /** Times a thread was switched away from, by its own waiting or not; strace cannot tell. */
  readonly contextSwitches: number | undefined;
  /** The most frequent ones. */
  readonly byName: Readonly<Record<string, number>>;
}

/** Counts from when it was made until its end. */
export interface Watch {
  end(): Promise<SystemCalls | undefined>;
}

/** Undefined when neither tool is there, or neither may. */
export async function watchSystemCalls(group: ProcessGroup, pid: number): Promise<Watch | undefined> {
  return (await withPerf(group, pid)) ?? (await withStrace(group, pid));
}

async function withPerf(group: ProcessGroup, pid: number): Promise<Watch | undefined> {
  const events = ['raw_syscalls:sys_enter', 'context-switches', ...NAMES.map((name) => `syscalls:sys_enter_${name}`)];
  const perf = group.start('perf stat', 'perf', ['stat', '-x', ',', '-e', events.join(','), '-p', String(pid)]);
  if (!(await attached(perf, () => hasCounters(perf.pid)))) return undefined;
  await passed(COUNTERS_OPEN_MS);
  return watch(perf, parsePerfStat);
}

async function withStrace(group: ProcessGroup, pid: number): Promise<Watch | undefined> {
  const strace = group.start('strace', 'strace', ['-c', '-f', '-p', String(pid)]);
  const says = () => /Process \d+ attached/.test(strace.stderr);
  return (await attached(strace, says)) ? watch(strace, parseStrace) : undefined;
}

function watch(tool: BenchProcess, parse: (text: string) => SystemCalls | undefined): Watch {
  return {
    end: async () => {
      await tool.stop('SIGINT');
      return parse(tool.stderr);
    },
  };
}

/** False: it ended, or took too long and was ended. */
async function attached(tool: BenchProcess, isAttached: () => boolean): Promise<boolean> {
  const endMs = performance.now() + ATTACHED_WITHIN_MS;
  while (performance.now() < endMs && tool.failure === undefined) {
    if (isAttached()) return true;
    await passed(10);
  }
  await tool.stop();
  return false;
}

function hasCounters(pid: number): boolean {
  try {
    const folder = `/proc/${pid}/fd`;
    return readdirSync(folder).some((fd) => readlinkSync(`${folder}/${fd}`) === 'anon_inode:[perf_event]');
  } catch {
    return false;
  }
}

function passed(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** `perf stat -x,`: lines of `count,unit,event,…`. Undefined when the calls were not counted. */
export function parsePerfStat(text: string): SystemCalls | undefined {
  const counts = new Map<string, number>();
  for (const line of text.split('\n')) {
    const [count, , event] = line.split(',');
    if (event !== undefined && /^\d+$/.test(count)) counts.set(event.replace(/:u$/, ''), Number(count));
  }
  const calls = counts.get('raw_syscalls:sys_enter');
  if (calls === undefined) return undefined;
  const named = NAMES.map((name): [string, number] => [name, counts.get(`syscalls:sys_enter_${name}`) ?? 0]);
  const contextSwitches = counts.get('context-switches');
  return { tool: 'perf', calls, contextSwitches, byName: mostFrequent(named) };
}

/** `strace -c`: `% time, seconds, usecs/call, calls, errors (may be empty), syscall`, and a line of totals. */
export function parseStrace(text: string): SystemCalls | undefined {
  const rows = [...text.matchAll(/^\s*[\d.]+\s+[\d.]+\s+\d*\s+(\d+)\s+(?:\d+\s+)?(\w+)\s*$/gm)];
  const named = rows.map(([, calls, name]): [string, number] => [name, Number(calls)]);
  const total = named.find(([name]) => name === 'total')?.[1];
  if (total === undefined) return undefined;
  const byName = mostFrequent(named.filter(([name]) => name !== 'total'));
  return { tool: 'strace', calls: total, contextSwitches: undefined, byName };
}

function mostFrequent(named: readonly [string, number][]): Record<string, number> {
  const sorted = named.filter(([, count]) => count > 0).sort(([, a], [, b]) => b - a);
  return Object.fromEntries(sorted.slice(0, 6));
}
