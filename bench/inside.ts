/**
 * Looks inside the servers, on runs of their own because looking costs: garbage-collection time of V8, system calls and context
 * switches per message. Each server is started afresh, with a preload that adds up what V8 reports.
 */
import { join } from 'node:path';
import type { Bench } from './bench.js';
import { C_EPOLL, C_URING, CASES, type Case, HAPROXY, NODE_NET, NODE_NET_GATEWAY, type Room } from './cases.js';
import { matches } from './options.js';
import type { ProcessGroup } from './process-group.js';
import { root } from './root.js';
import { type Subject, SubjectPool, describeSubject } from './subjects.js';
import { type SystemCalls, watchSystemCalls } from './system-calls.js';

const WARM_UP_SECONDS = 0.8;
const WATCHED_SECONDS = 0.7;

export const INSIDE_SUBJECTS: Readonly<Record<Room, readonly string[]>> = {
  echo: [NODE_NET, C_URING, C_EPOLL, 'io_uring', 'epoll', 'portable'],
  relay: [HAPROXY, NODE_NET_GATEWAY, 'io_uring', 'epoll', 'portable'],
};
const INSIDE_CASES = ['echo-500x1', 'echo-500x16', 'relay-500x1', 'relay-500x16'];

export interface InsideLine {
  readonly case: string;
  readonly subject: string;
  readonly msgPerSec: number;
  /** Of a Node server: milliseconds of garbage collection per second, and collections. */
  readonly gc?: { readonly msPerSec: number; readonly minorPerSec: number; readonly majorPerSec: number };
  readonly system?: {
    readonly tool: SystemCalls['tool'];
    readonly callsPerMessage: number;
    readonly switchesPerMessage: number | undefined;
    readonly byName: Readonly<Record<string, number>>;
  };
}

interface GcTotals {
  readonly gcMs: number;
  readonly minor: number;
  readonly major: number;
}

export async function measureInside(bench: Bench, group: ProcessGroup): Promise<InsideLine[]> {
  const preload = join(root, 'bench', 'peers', 'gc-totals.mjs');
  const servers = bench.servers.launching({ nodeFlags: ['--import', preload] });
  const lines: InsideLine[] = [];
  for (const room of ['echo', 'relay'] as const) {
    if (!bench.options.parts.includes(room)) continue;
    const cases = CASES.filter((one) => one.room === room && INSIDE_CASES.includes(one.name));
    const pool = new SubjectPool(bench, room, new Set(['echo']), servers);
    for (const name of INSIDE_SUBJECTS[room].filter((its) => matches(its, bench.options.servers))) {
      const subject = await pool.get(name);
      if (subject === undefined) continue;
      bench.say(`inside ${describeSubject(room, name)}`);
      for (const one of cases) {
        const line = await bench.attempt(`${one.name}, inside ${name}`, () => look(bench, group, subject, one));
        if (line !== undefined) lines.push(line);
      }
    }
    await pool.stop();
  }
  if (lines.some(({ system }) => system === undefined)) {
    bench.note('system calls: neither perf (raw_syscalls) nor strace may be used here');
  }
  return lines;
}

/** The server rests while counting begins and ends, so that what is counted was done for the messages of the sample. */
async function look(bench: Bench, group: ProcessGroup, subject: Subject, one: Case): Promise<InsideLine> {
  const times = { seconds: WATCHED_SECONDS, warmupSeconds: WARM_UP_SECONDS };
  const load = bench.load.beginGated(subject.target, one.shape, times);
  await load.warm();
  const before = await gcTotals(subject);
  const watch = await watchSystemCalls(group, subject.server.process.pid);
  await load.measure();
  const system = await watch?.end();
  const after = await gcTotals(subject);
  const sample = await load.finish();
  return {
    ...{ case: one.name, subject: subject.name, msgPerSec: sample.msgPerSec },
    ...(before && after ? { gc: gcBetween(before, after, sample.seconds) } : {}),
    ...(system === undefined ? {} : { system: perMessage(system, sample.messages) }),
  };
}

/** Undefined: not a Node server. */
async function gcTotals({ server: { process: watched } }: Subject): Promise<GcTotals | undefined> {
  if (!watched.isNode) return undefined;
  const seen = watched.stderrLines(/"gcTotals"/).length;
  watched.signal('SIGUSR2');
  const endMs = performance.now() + 2_000;
  while (performance.now() < endMs) {
    const line = watched.stderrLines(/"gcTotals"/)[seen];
    if (line !== undefined) return (JSON.parse(line) as { gcTotals: GcTotals }).gcTotals;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return undefined;
}

function gcBetween(before: GcTotals, after: GcTotals, seconds: number): InsideLine['gc'] {
  return {
    msPerSec: (after.gcMs - before.gcMs) / seconds,
    minorPerSec: (after.minor - before.minor) / seconds,
    majorPerSec: (after.major - before.major) / seconds,
  };
}

export function perMessage(
  { tool, calls, contextSwitches, byName }: SystemCalls,
  messages: number,
): NonNullable<InsideLine['system']> {
  const each = Object.entries(byName).map(([name, count]) => [name, count / messages] as const);
  return {
    tool,
    callsPerMessage: calls / messages,
    switchesPerMessage: contextSwitches === undefined ? undefined : contextSwitches / messages,
    byName: Object.fromEntries(each),
  };
}
