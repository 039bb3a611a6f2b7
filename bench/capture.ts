/**
 * `--capture CASE`: the packets of one relay case, captured on loopback, and what they alone say: round trip, time inside the gateway and
 * inside the backend. The load comes at a moderate constant rate, so that capturing disturbs little. Two other clocks saw the same messages:
 * the load generator's and the gateway's own; whether they agree is said.
 */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import type { Bench } from './bench.js';
import type { Sample } from './load.js';
import { findProgram } from './find-program.js';
import { type ClockReading, type GatewayClock, type Range, readGatewayClock, readingBetween } from './gateway-clock.js';
import { matches, UsageError } from './options.js';
import { type PacketTimes, percentiles, timesOfPackets } from './packet-times.js';
import { readPcap } from './pcap.js';
import { findCase, subjectNameFor } from './plan.js';
import type { BenchProcess, ProcessGroup } from './process-group.js';
import { root } from './root.js';
import { Unavailable } from './servers.js';
import { describeShape, type Shape } from './shape.js';
import { mean } from './statistics.js';
import { describeSubject, parseEngine, protocolOf, type Subject, SubjectPool } from './subjects.js';
import { figure, renderText, type Table } from './table.js';

const RATE_PER_SEC = 3_000;
const SECONDS = 3;
const WARM_UP_SECONDS = 1;
const READY_WITHIN_MS = 5_000;
/** Packets still on their way when the load has ended. */
const SETTLE_MS = 300;
const KERNEL_BUFFER_KIB = 65_536;

/**
 * So far two clocks may be apart, whichever is more. The gateway's own begins when it has read a frame and ends when it passes the
 * answer on; what lies between that and the packets is its wake-up and its receive.
 */
const TOLERANCE = { share: 0.2, us: 30 } as const;

export async function captureCase(bench: Bench, group: ProcessGroup): Promise<number> {
  const one = findCase(bench.options.of!);
  if (one.room !== 'relay' || one.shape.mode !== 'request' || matches(one.shape.sizes, ['*:*'])) {
    throw new UsageError('--capture takes relay cases of plain requests with one size: relay-1x1, relay-500x1, …');
  }
  const name = subjectNameFor(one, bench.options);
  if (parseEngine(name) === undefined) throw new UsageError(`--capture looks at Ringway gateways, not ${name}`);
  const directory = mkdtempSync(join(tmpdir(), 'ringway-capture-'));
  const pool = new SubjectPool(bench, 'relay', new Set(['echo']), bench.servers.launching({ admin: true }));
  try {
    const subject = await pool.get(name);
    if (subject === undefined) return 1;
    const label = `${describeSubject('relay', name)}, ${describeShape({ ...one.shape, depth: 0 })}, ${figure(RATE_PER_SEC)} msg/s`;
    bench.say(`${one.name}, ${label}`);
    const file = join(directory, 'packets.pcap');
    const seen = await observe(bench, group, subject, { ...one.shape, depth: 0 }, file);
    const times = timesOfPackets(
      readPcap(readFileSync(file)),
      subject.target.port,
      subject.backendPorts,
      protocolOf(name),
    );
    const text = reportCapture(label, times, seen);
    const saved = join(root, 'bench', 'results', `capture-${one.name}-${name.replace(/[/:]/g, '-')}.txt`);
    mkdirSync(join(root, 'bench', 'results'), { recursive: true });
    writeFileSync(saved, text);
    process.stdout.write(`${text}written: ${relative(root, saved)}\n`);
    return 0;
  } finally {
    await pool.stop();
    rmSync(directory, { recursive: true, force: true });
  }
}

export interface Seen {
  readonly sample: Sample;
  /** The gateway's own, from receipt to outcome. */
  readonly gateway: ClockReading | undefined;
  readonly dropped: number;
}

async function observe(bench: Bench, group: ProcessGroup, subject: Subject, shape: Shape, file: string): Promise<Seen> {
  await bench.load.run(subject.target, shape, { seconds: 0.3, warmupSeconds: WARM_UP_SECONDS, rate: RATE_PER_SEC });
  const before = await gatewayClock(subject);
  const tcpdump = await startCapture(group, [subject.target.port, ...subject.backendPorts], file);
  const sample = await bench.load.run(subject.target, shape, {
    seconds: SECONDS,
    warmupSeconds: 0,
    rate: RATE_PER_SEC,
  });
  await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
  const after = await gatewayClock(subject);
  await tcpdump.stop('SIGINT');
  const dropped = Number(/(\d+) packets dropped by kernel/.exec(tcpdump.stderr)?.[1] ?? 0);
  return { sample, gateway: before && after && readingBetween(before, after), dropped };
}

async function startCapture(group: ProcessGroup, ports: readonly number[], file: string): Promise<BenchProcess> {
  const filter = `tcp and (${ports.map((port) => `port ${port}`).join(' or ')})`;
  // As root tcpdump would otherwise become another user, who may not write here.
  const user = process.getuid?.() === 0 ? ['-Z', 'root'] : [];
  const args = [
    '-i',
    'lo',
    '-n',
    '-s',
    '0',
    '-B',
    String(KERNEL_BUFFER_KIB),
    '--time-stamp-precision=nano',
    ...user,
    '-w',
    file,
    filter,
  ];
  const running = group.start('tcpdump', findProgram('tcpdump') ?? 'tcpdump', args);
  const endMs = performance.now() + READY_WITHIN_MS;
  while (!/listening on/.test(running.stderr)) {
    if (/ENOENT/.test(running.stderr)) throw new UsageError('--capture needs tcpdump: apt-get install tcpdump');
    if (running.failure !== undefined || performance.now() > endMs) {
      throw new Unavailable(`tcpdump does not capture: ${running.stderr}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return running;
}

/** From /metrics of the gateway. */
async function gatewayClock({ server: { ready } }: Subject): Promise<GatewayClock | undefined> {
  const address = /admin on (\S+?)[,)\s]/.exec(`${ready} `)?.[1];
  if (address === undefined) return undefined;
  const text = await (await fetch(`http://${address}/metrics`)).text();
  return readGatewayClock(text);
}

export function reportCapture(label: string, times: PacketTimes, { sample, gateway, dropped }: Seen): string {
  const { roundTripUs, gatewayUs, backendUs } = times;
  if (roundTripUs.length === 0) return `${label}\n  no message was found in ${times.segments} segments\n`;
  const row = (name: string, values: readonly number[]) => [
    name,
    figure(mean(values)),
    ...percentiles(values).map(figure),
  ];
  const { p50, p90, p99, p999, max } = sample.latencyUs;
  const table: Table = {
    title: `${label}: ${roundTripUs.length.toLocaleString('en-US')} messages, from the packets alone`,
    headings: ['µs', 'mean', 'p50', 'p90', 'p99', 'p99.9', 'max'],
    rows: [
      row('client round trip', roundTripUs),
      row('inside the gateway', gatewayUs),
      row('inside the backend', backendUs),
      ['load generator', '', ...[p50, p90, p99, p999, max].map(figure)],
      ...(gateway === undefined ? [] : [clockRow(gateway)]),
    ],
  };
  const packets = `  ${(times.segments / roundTripUs.length).toFixed(1)} segments per message, ${times.retransmissions} retransmissions`;
  return [
    renderText(table),
    `${packets}, ${times.unmatched} not matched, ${dropped} dropped by the capture, jitter ${figure(times.jitterUs)} µs`,
    ...(gateway === undefined ? [] : clockAgreements(times, gateway)),
    generatorAgreement(percentiles(roundTripUs)[0], p50),
    '',
  ].join('\n');
}

function clockRow({ meanUs, p50Us, p99Us }: ClockReading): string[] {
  const within = ({ low, high }: Range) =>
    Number.isFinite(high) ? `${figure(low)}–${figure(high)}` : `over ${figure(low)}`;
  return ['gateway’s own clock', figure(meanUs), within(p50Us), '', within(p99Us), '', ''];
}

/**
 * The gateway's clock runs while a task is in it and at the backend. Less the backend's time from the packets, its mean must be the time
 * in the gateway that the packets say; its percentiles are known to a bucket of its histogram, and the packets' must lie there.
 */
function clockAgreements({ roundTripUs, gatewayUs, backendUs }: PacketTimes, clock: ClockReading): string[] {
  const [p50, , p99] = percentiles(roundTripUs);
  return [
    agreement('gateway’s own clock, mean time in it', mean(gatewayUs), clock.meanUs - mean(backendUs)),
    rangeAgreement('gateway’s own clock, p50 of its tasks', p50, clock.p50Us),
    rangeAgreement('gateway’s own clock, p99 of its tasks', p99, clock.p99Us),
  ];
}

function allowedUs(us: number): number {
  return Math.max(TOLERANCE.us, TOLERANCE.share * us);
}

/** A sentence on two clocks that saw the same messages. */
export function agreement(what: string, packetsUs: number, otherUs: number): string {
  const allowed = allowedUs(packetsUs);
  const clocks = `${figure(otherUs)} and ${figure(packetsUs)} µs; ${figure(allowed)} µs apart would be allowed`;
  return `  ${what}: ${verdict(Math.abs(packetsUs - otherUs) <= allowed)} (${clocks})`;
}

export function rangeAgreement(what: string, packetsUs: number, { low, high }: Range): string {
  const allowed = allowedUs(packetsUs);
  const agrees = packetsUs >= low - allowed && packetsUs <= high + allowed;
  return `  ${what}: ${verdict(agrees)} (${figure(low)} to ${Number.isFinite(high) ? figure(high) : '∞'} and ${figure(packetsUs)} µs)`;
}

/** The generator's clock begins when a message was due and ends in user space: it may show more than the packets, never less. */
export function generatorAgreement(packetsUs: number, generatorUs: number): string {
  const allowed = allowedUs(packetsUs);
  const wakeUps = `${figure(generatorUs - packetsUs)} µs of its own wake-ups over ${figure(packetsUs)} µs`;
  if (generatorUs < packetsUs - allowed) {
    return `  load generator, p50: ${verdict(false)} (${figure(generatorUs)} µs, less than ${figure(packetsUs)} µs on the wire)`;
  }
  return `  load generator, p50: ${wakeUps}`;
}

function verdict(agrees: boolean): string {
  return agrees ? 'agrees with the packets' : 'DOES NOT AGREE with the packets';
}
