/** From samples to tables: medians with their spread, goals, warnings. */
import { addedLatencyTable, LEAST_ANSWERED } from './added-latency.js';
import type { Room } from './cases.js';
import { type GoalLine, judgeGoals } from './goals.js';
import { backendsCpu, generatorShare, type Latency, type Sample, serverCpu } from './load.js';
import type { MemorySeries } from './memory.js';
import type { Machine } from './machine.js';
import type { Results } from './results.js';
import type { Series } from './rounds.js';
import { median } from './statistics.js';
import { describeSubject, threadsOf } from './subjects.js';
import { answeredShare, divisionOf, generatorWasTheLimit, latencyOf, machineWasFull, mid } from './summary.js';
import { figure, percent, renderText, type Table } from './table.js';

const roomOf = (name: string): Room => (name.startsWith('relay') ? 'relay' : 'echo');

export function caseTables(results: Results): Table[] {
  const names = [...new Set(results.series.map((one) => one.case))];
  return names.map((name) => {
    const inCase = results.series.filter((one) => one.case === name);
    return caseTable(name, results.shapes[name] ?? '', inCase, results.machine.cores);
  });
}

function caseTable(name: string, shape: string, inCase: readonly Series[], cores: number): Table {
  const room = inCase[0].case.startsWith('relay') ? 'relay' : roomOf(name);
  const behind = inCase.some(({ samples }) => samples[0].cpu.length > 1);
  const stream = inCase.some(({ samples }) => samples[0].partialsPerSec !== undefined);
  const churn = inCase.some(({ samples }) => samples[0].connectsPerSec !== undefined);
  const headings = [
    ...['server', 'CPU-µs/msg', 'lowest–highest', 'user', 'system'],
    ...(behind ? ['backends'] : []),
    ...['msg/s', ...(churn ? ['connects/s'] : []), ...(stream ? ['partials/s'] : [])],
    ...['p50 µs', 'p90', 'p99', 'worst p99.9', 'max', 'load', ''],
  ];
  const rows = inCase.map(({ subject, samples }) => [
    describeSubject(room, subject),
    ...cpuCells(samples),
    ...(behind ? [samples[0].cpu.length > 1 ? figure(mid(samples, backendsCpu)) : ''] : []),
    figure(mid(samples, ({ msgPerSec }) => msgPerSec)),
    ...(churn ? [figure(mid(samples, ({ connectsPerSec = Number.NaN }) => connectsPerSec))] : []),
    ...(stream ? [figure(mid(samples, ({ partialsPerSec = Number.NaN }) => partialsPerSec))] : []),
    ...latencyCells(samples),
    `${Math.round(100 * mid(samples, generatorShare))} %`,
    limitOf(subject, samples, cores),
  ]);
  return { title: `${name}: ${shape}`, note: divisionNote(inCase), headings, rows };
}

function limitOf(subject: string, samples: readonly Sample[], cores: number): string {
  if (generatorWasTheLimit(samples, threadsOf(subject), cores)) return 'load-limited';
  return machineWasFull(samples, cores) ? 'machine full' : '';
}

/** No profile stands behind user and system time. */
function divisionNote(inCase: readonly Series[]): string | undefined {
  const known = inCase.flatMap(({ samples }) => divisionOf(samples) ?? []);
  if (known.length === 0) return undefined;
  const points = Math.ceil(100 * Math.max(...known.map(({ uncertain }) => uncertain)));
  return `user and system: CPU time divided by the clock ticks of all rounds, ±${points} % of it where there were fewest`;
}

function cpuCells(samples: readonly Sample[]): string[] {
  const all = samples.map(serverCpu);
  const total = median(all);
  const division = divisionOf(samples);
  const part = (share: number | undefined) => (share === undefined ? '' : figure(total * share));
  return [
    figure(total),
    `${figure(Math.min(...all))}–${figure(Math.max(...all))}`,
    part(division?.user),
    part(division && 1 - division.user),
  ];
}

const PERCENTILES = ['p50', 'p90', 'p99', 'p999', 'max'] as const satisfies readonly (keyof Latency)[];

function latencyCells(samples: readonly Sample[]): string[] {
  const latency = latencyOf(samples);
  return PERCENTILES.map((name) => figure(latency[name]));
}

export function arrivalTables({ arrivals, shapes }: Results): Table[] {
  return [...new Set(arrivals.map((one) => one.case))].map((name) => ({
    title: `${name}: ${shapes[name] ?? ''}, constant arrival rate, latency from the time at which a message was due`,
    headings: ['server', 'due', 'msg/s', 'p50 µs', 'p90', 'p99', 'worst p99.9', 'max', 'CPU-µs/msg', 'load'],
    rows: arrivals
      .filter((one) => one.case === name)
      .sort((a, b) => (a.share ?? a.ratePerSec) - (b.share ?? b.ratePerSec))
      .map((one) => [
        describeSubject(roomOf(name), one.subject),
        one.share === undefined ? figure(one.ratePerSec) : percent(one.share),
        figure(mid(one.samples, ({ msgPerSec }) => msgPerSec)),
        ...latencyCells(one.samples),
        figure(mid(one.samples, serverCpu)),
        `${Math.round(100 * mid(one.samples, generatorShare))} %`,
      ]),
  }));
}

export function memoryTable(memory: readonly MemorySeries[]): Table | undefined {
  if (memory.length === 0) return undefined;
  const { connections } = memory[0];
  const each = (bytes: readonly number[], ends = 1) =>
    bytes.length === 0 ? '' : Math.round(median(bytes) / connections / ends).toLocaleString('en-US');
  return {
    title: `memory: ${connections.toLocaleString('en-US')} idle connections`,
    note: 'bytes per connection at the server’s end; of what the kernel has at both ends (sockets, their buffers of data) half is shown',
    headings: ['server', 'resident', 'after a message each', 'kernel objects', 'kernel buffers', 'MB together'],
    rows: memory.map((one) => [
      describeSubject('echo', one.subject),
      each(one.addedBytes),
      each(one.touchedBytes),
      each(one.kernelBytes),
      each(one.socketBufferBytes, 2),
      (median(one.addedBytes) / 1e6).toFixed(1),
    ]),
  };
}

export function insideTables({ inside }: Results): Table[] {
  return [...new Set(inside.map((one) => one.case))].map((name) => ({
    title: `inside, ${name}`,
    note: 'separate runs: garbage collection of V8, system calls and context switches per message',
    headings: ['server', 'GC ms/s', 'minor/s', 'major/s', 'calls/msg', 'switches/msg', 'by', 'most frequent'],
    rows: inside
      .filter((one) => one.case === name)
      .map(({ subject, gc, system }) => [
        describeSubject(roomOf(name), subject),
        gc === undefined ? '' : figure(gc.msPerSec),
        gc === undefined ? '' : figure(gc.minorPerSec),
        gc === undefined ? '' : figure(gc.majorPerSec),
        system === undefined ? '' : figure(system.callsPerMessage),
        system?.switchesPerMessage === undefined ? '' : figure(system.switchesPerMessage),
        system?.tool ?? '',
        Object.entries(system?.byName ?? {})
          .slice(0, 3)
          .map(([call, count]) => `${call} ${figure(count)}`)
          .join(', '),
      ]),
  }));
}

export function goalTable(lines: readonly GoalLine[]): Table | undefined {
  if (lines.length === 0) return undefined;
  return {
    title: 'goals',
    note: 'CPU per message over the other server’s, unless the row says otherwise; in brackets the 95 % interval of this run',
    headings: ['row', 'server', 'against', 'measured', '95 %', 'must', 'aim', ''],
    rows: lines.map(({ row, subject, against, value, interval, must, aim, verdict }) => {
      const room = roomOf(row);
      const show = (its: number) =>
        its > 1e6 ? `${(its / 1e6).toFixed(1)} MB` : its > 100 ? `${Math.round(its)} B` : its.toFixed(2);
      return [
        row,
        describeSubject(room, subject),
        against === undefined ? '' : describeSubject(room, against),
        show(value),
        interval === undefined ? '' : `(${interval.low.toFixed(2)}–${interval.high.toFixed(2)})`,
        must === undefined ? '' : show(must),
        aim === undefined ? '' : show(aim),
        verdict,
      ];
    }),
  };
}

export function allTables(results: Results): Table[] {
  const optional = (table: Table | undefined) => (table === undefined ? [] : [table]);
  return [
    ...caseTables(results),
    ...arrivalTables(results),
    ...optional(addedLatencyTable(results)),
    ...optional(memoryTable(results.memory)),
    ...insideTables(results),
    ...optional(goalTable(judgeGoals(results.series, results.memory))),
  ];
}

/** What a reader must know before believing a number. */
export function warnings({ machine, series, arrivals }: Results): string[] {
  const found: string[] = [];
  if (machine.load > machine.cores / 4) {
    found.push(`the machine was busy before (load ${machine.load.toFixed(1)}): measure again`);
  }
  const { cores } = machine;
  const limited = series.filter(({ subject, samples }) => generatorWasTheLimit(samples, threadsOf(subject), cores));
  for (const { case: name, subject } of limited) {
    found.push(`${name}, ${describeSubject(roomOf(name), subject)}: the load generator was the limit, not the server`);
  }
  const full = series.filter(({ samples }) => machineWasFull(samples, cores));
  if (full.length > 0) {
    found.push(
      `in ${full.length} of ${series.length} rows all ${cores} cores were full: msg/s and latency say there who got them, CPU per message compares`,
    );
  }
  for (const one of arrivals) {
    const reached = answeredShare(one.samples);
    const label = `${one.case}, ${describeSubject(roomOf(one.case), one.subject)} at ${figure(one.ratePerSec)} msg/s`;
    if (reached < LEAST_ANSWERED) found.push(`${label}: only ${percent(reached)} were answered in the measured time`);
    const late = mid(one.samples, ({ latenessP99Us = 0 }) => latenessP99Us);
    if (late > mid(one.samples, ({ latencyUs }) => latencyUs.p99) / 2) {
      found.push(`${label}: the load generator itself was late (p99 ${figure(late)} µs): its tail is in the latencies`);
    }
  }
  return found;
}

export function describeRun({ rounds, seconds, minutes, backends, seed }: Results): string {
  const order = `in an order drawn with --seed ${seed}`;
  return `medians of up to ${rounds} interleaved rounds of ${seconds} s ${order}, backends: ${backends}, ${minutes.toFixed(1)} minutes in all`;
}

export function describeIt({ cpu, cores, memoryGiB, kernel, node, v8, congestionControl, peers }: Machine): string {
  const installed = Object.entries(peers).map(([name, version]) => `${name} ${version ?? 'not installed'}`);
  const network = congestionControl === undefined ? '' : ` (${congestionControl})`;
  const machine = `${cpu}, ${cores} cores, ${memoryGiB} GiB, Linux ${kernel}${network}`;
  return `${machine}, Node ${node} (V8 ${v8}), ${installed.join(', ')}`;
}

/** What was measured. */
export function describeCommit({ commit }: Machine): string {
  if (commit === undefined) return 'measured: no git commit (not a repository)';
  return `measured: commit ${commit.replace('+', '')}${commit.endsWith('+') ? ', with files changed since' : ''}`;
}

export function renderAll(results: Results): string {
  const verdicts = judgeGoals(results.series, results.memory).map(({ verdict }) => verdict);
  const count = (verdict: string) => verdicts.filter((its) => its === verdict).length;
  return [
    describeIt(results.machine),
    describeCommit(results.machine),
    describeRun(results),
    '',
    ...allTables(results).map(renderText),
    ...warnings(results).map((warning) => `warning: ${warning}`),
    ...results.notes.map((note) => `left out: ${note}`),
    ...results.failures.map((failure) => `FAILED: ${failure}`),
    `goals: ${count('aim met')} reached the aim, ${count('must met')} what they must, ${count('MISSED')} missed`,
  ].join('\n');
}
