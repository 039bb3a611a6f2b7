/** Runs `ringway-load`, which checks every answer, and reads what it prints. */
import { join } from 'node:path';
import type { BenchProcess, ProcessGroup } from './process-group.js';
import { PARTIALS, type Shape } from './shape.js';

export type LoadProtocol = 'plain' | 'rmp';

export interface Latency {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

export interface CpuTime {
  readonly totalUs: number;
  /** Clock ticks of 10 ms: of one run they are too few to divide the time by. */
  readonly userTicks: number;
  readonly systemTicks: number;
}

/** One measured run. */
export interface Sample {
  /** Answers that came in the measured time (in churn: connections, each with one; in cancel: cancelled requests). */
  readonly messages: number;
  readonly seconds: number;
  readonly msgPerSec: number;
  /** In a closed loop from sending, at a constant arrival rate from the time at which it should have been sent. */
  readonly latencyUs: Latency;
  /** The server's own, then that of each one behind it. */
  readonly cpu: readonly CpuTime[];
  /** CPU time of the load generator. */
  readonly generatorUs: number;
  /** At a constant arrival rate: how late the generator itself sent, 99th percentile. */
  readonly latenessP99Us?: number;
  /** And how many messages were due in the measured time. */
  readonly due?: number;
  readonly connectsPerSec?: number;
  readonly partialsPerSec?: number;
}

/** What the load is pointed at. The first pid is the server whose CPU time counts; the others stand behind it. */
export interface Target {
  readonly host: string;
  readonly port: number;
  readonly pids: readonly number[];
  readonly protocol: LoadProtocol;
  readonly route: number;
}

export interface LoadTimes {
  readonly seconds: number;
  readonly warmupSeconds: number;
  /** The warm-up also lasts until each connection had so many answers on average, but not beyond the seconds here. */
  readonly warmupAnswers?: { readonly each: number; readonly mostSeconds: number };
  /** Messages per second over all connections; undefined: closed loop. */
  readonly rate?: number;
}

export class LoadGenerator {
  #group: ProcessGroup;
  #program: string;

  constructor(group: ProcessGroup, nativeDirectory: string) {
    this.#group = group;
    this.#program = join(nativeDirectory, 'ringway-load');
  }

  get program(): string {
    return this.#program;
  }

  /** @throws when an answer was wrong or missing, with what the generator said about it. */
  async run(target: Target, shape: Shape, times: LoadTimes): Promise<Sample> {
    return this.begin(target, shape, times).sample;
  }

  /** The same, for who does something meanwhile. */
  begin(target: Target, shape: Shape, times: LoadTimes): { readonly pid: number; readonly sample: Promise<Sample> } {
    const running = this.#start('ringway-load', target, [...shapeArguments(shape), ...timeArguments(times, target)]);
    return { pid: running.pid, sample: finish(running) };
  }

  /** The same, with the server at rest before and after the measured time, for who counts what it does for exactly these messages. */
  beginGated(target: Target, shape: Shape, times: LoadTimes): GatedLoad {
    const args = [...shapeArguments(shape), ...timeArguments(times, target), '--gate'];
    return new GatedLoad(this.#start('ringway-load', target, args));
  }

  /** Opens connections and answers when the server has accepted all; `release` closes them. */
  async hold(target: Target, connections: number, touch: boolean): Promise<{ release(): Promise<void> }> {
    const args = ['--idle', connections, ...(touch ? ['--touch'] : [])];
    const running = this.#start('ringway-load --idle', target, args);
    await running.line(/"open":/, 60_000);
    return {
      release: async () => {
        running.closeInput();
        const { status } = await running.ended;
        if (status !== 0) throw new Error(`the server closed idle connections: ${running.stdout.trim()}`);
      },
    };
  }

  #start(name: string, target: Target, args: readonly (string | number)[]): BenchProcess {
    const to = ['--host', target.host, '--port', target.port, '--protocol', target.protocol, '--route', target.route];
    return this.#group.start(name, this.#program, [...to, ...args].map(String));
  }
}

const GATE_MS = 60_000;

/** A load that waits at two gates: warm and at rest, then done and at rest. */
export class GatedLoad {
  #running: BenchProcess;

  constructor(running: BenchProcess) {
    this.#running = running;
  }

  async warm(): Promise<void> {
    await this.#running.line(/"warm"/, GATE_MS);
  }

  /** Lets the measured time begin, and is back when the server is at rest again. */
  async measure(): Promise<void> {
    this.#running.writeLine();
    await this.#running.line(/"rested"/, GATE_MS);
  }

  finish(): Promise<Sample> {
    this.#running.writeLine();
    return finish(this.#running);
  }
}

function shapeArguments({ connections, depth, sizes, mode, idle }: Shape): (string | number)[] {
  const base = [
    '--connections',
    connections,
    ...(depth > 0 ? ['--depth', depth] : []),
    '--size',
    sizes,
    '--mode',
    mode,
  ];
  return [...base, ...(mode === 'stream' ? ['--partials', PARTIALS] : []), ...(idle > 0 ? ['--idle', idle] : [])];
}

function timeArguments(times: LoadTimes, { pids }: Target): (string | number)[] {
  const { seconds, warmupSeconds, warmupAnswers, rate } = times;
  const warm =
    warmupAnswers === undefined
      ? []
      : ['--warmup-answers', warmupAnswers.each, '--warmup-most', warmupAnswers.mostSeconds];
  const base = ['--seconds', seconds, '--warmup-seconds', warmupSeconds, ...warm, '--pid', pids.join(',')];
  return rate === undefined ? base : [...base, '--rate', Math.round(rate)];
}

async function finish(running: BenchProcess): Promise<Sample> {
  const { status } = await running.ended;
  const printed = running.stdout.trim().split('\n').at(-1)!;
  if (status !== 0) throw new Error(`${running.stderr || whyFailed(printed)} ${printed}`);
  return readSample(printed);
}

function whyFailed(printed: string): string {
  return /"messages":0,/.test(printed) ? 'nothing was answered in the measured time' : 'ringway-load failed';
}

/** What `ringway-load` prints, as far as it is read here. */
interface Printed {
  readonly messages: number;
  readonly seconds: number;
  readonly msgPerSec: number;
  readonly latency_us: Latency;
  readonly cpu: readonly { readonly cpuUs: number; readonly userTicks: number; readonly systemTicks: number }[];
  readonly loadCpuUsPerMessage: number;
  readonly lateness_us?: { readonly p99: number };
  readonly arrivals?: number;
  readonly connects_per_s?: number;
  readonly partials?: number;
}

/** @throws when it is not what `ringway-load` prints. */
export function readSample(text: string): Sample {
  const printed = JSON.parse(text) as Printed;
  const { messages, seconds, msgPerSec, latency_us: latencyUs, lateness_us: lateness } = printed;
  if (!(messages > 0) || latencyUs === undefined) {
    throw new Error(`ringway-load printed something else: ${text.trim()}`);
  }
  return {
    ...{ messages, seconds, msgPerSec, latencyUs },
    cpu: printed.cpu.map(({ cpuUs, userTicks, systemTicks }) => ({ totalUs: cpuUs, userTicks, systemTicks })),
    generatorUs: printed.loadCpuUsPerMessage * messages,
    ...(lateness === undefined ? {} : { latenessP99Us: lateness.p99, due: printed.arrivals }),
    ...(printed.connects_per_s === undefined ? {} : { connectsPerSec: printed.connects_per_s }),
    ...(printed.partials === undefined ? {} : { partialsPerSec: printed.partials / seconds }),
  };
}

/** CPU-µs per message of the server itself. */
export function serverCpu({ cpu, messages }: Sample): number {
  return cpu[0].totalUs / messages;
}

/** Of all servers behind it, together. */
export function backendsCpu({ cpu, messages }: Sample): number {
  return cpu.slice(1).reduce((sum, { totalUs }) => sum + totalUs, 0) / messages;
}

/** The share of one core that the server used: 1 is a core of its own, all the time. */
export function serverShare({ cpu, seconds }: Sample): number {
  return cpu[0].totalUs / (seconds * 1e6);
}

export function generatorShare({ generatorUs, seconds }: Sample): number {
  return generatorUs / (seconds * 1e6);
}

/** Cores that the server, those behind it and the generator used together. */
export function coresUsed({ cpu, generatorUs, seconds }: Sample): number {
  return cpu.reduce((sum, { totalUs }) => sum + totalUs, generatorUs) / (seconds * 1e6);
}
