/** System calls and wake-ups of a running process: counted by perf (which barely slows it), else by strace (which does). */
import type { ProcessGroup } from './process-group.js';

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
  readonly seconds: number;
  readonly calls: number;
  /** Times a thread was switched away from, by its own waiting or not; strace cannot tell. */
  readonly contextSwitches: number | undefined;
  /** The most frequent ones. */
  readonly byName: Readonly<Record<string, number>>;
}

/** Watches for so long. Undefined when neither tool is there, or neither may. */
export async function countSystemCalls(
  group: ProcessGroup,
  pid: number,
  seconds: number,
): Promise<SystemCalls | undefined> {
  return (await withPerf(group, pid, seconds)) ?? (await withStrace(group, pid, seconds));
}

async function withPerf(group: ProcessGroup, pid: number, seconds: number): Promise<SystemCalls | undefined> {
  const events = ['raw_syscalls:sys_enter', 'context-switches', ...NAMES.map((name) => `syscalls:sys_enter_${name}`)];
  const args = ['stat', '-x', ',', '-e', events.join(','), '-p', String(pid), '--', 'sleep', String(seconds)];
  const running = group.start('perf stat', 'perf', args);
  const { status } = await running.ended;
  return status === 0 ? parsePerfStat(running.stderr, seconds) : undefined;
}

async function withStrace(group: ProcessGroup, pid: number, seconds: number): Promise<SystemCalls | undefined> {
  const running = group.start('strace', 'strace', ['-c', '-f', '-p', String(pid)]);
  const startMs = performance.now();
  const gone = await Promise.race([running.ended, passed(seconds)]);
  if (gone !== undefined) return undefined;
  await running.stop('SIGINT');
  return parseStrace(running.stderr, (performance.now() - startMs) / 1000);
}

function passed(seconds: number): Promise<undefined> {
  return new Promise((resolve) => setTimeout(resolve, seconds * 1000, undefined));
}

/**
 * `perf stat -x,`: lines of `count,unit,event,…`. Undefined when the calls were not counted. The time is that of the `sleep` it ran: its
 * own clock (`duration_time`) is added up over the threads watched.
 */
export function parsePerfStat(text: string, seconds: number): SystemCalls | undefined {
  const counts = new Map<string, number>();
  for (const line of text.split('\n')) {
    const [count, , event] = line.split(',');
    if (event !== undefined && /^\d+$/.test(count)) counts.set(event.replace(/:u$/, ''), Number(count));
  }
  const calls = counts.get('raw_syscalls:sys_enter');
  if (calls === undefined) return undefined;
  const named = NAMES.map((name): [string, number] => [name, counts.get(`syscalls:sys_enter_${name}`) ?? 0]);
  const contextSwitches = counts.get('context-switches');
  return { tool: 'perf', seconds, calls, contextSwitches, byName: mostFrequent(named) };
}

/** `strace -c`: `% time, seconds, usecs/call, calls, errors (may be empty), syscall`, and a line of totals. */
export function parseStrace(text: string, seconds: number): SystemCalls | undefined {
  const rows = [...text.matchAll(/^\s*[\d.]+\s+[\d.]+\s+\d*\s+(\d+)\s+(?:\d+\s+)?(\w+)\s*$/gm)];
  const named = rows.map(([, calls, name]): [string, number] => [name, Number(calls)]);
  const total = named.find(([name]) => name === 'total')?.[1];
  if (total === undefined) return undefined;
  const byName = mostFrequent(named.filter(([name]) => name !== 'total'));
  return { tool: 'strace', seconds, calls: total, contextSwitches: undefined, byName };
}

function mostFrequent(named: readonly [string, number][]): Record<string, number> {
  const sorted = named.filter(([, count]) => count > 0).sort(([, a], [, b]) => b - a);
  return Object.fromEntries(sorted.slice(0, 6));
}
