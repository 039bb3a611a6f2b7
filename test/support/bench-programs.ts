/** Runs the bench's native programs, which `npm run build` makes. */
import { type ChildProcess, spawn } from 'node:child_process';
import { on, once } from 'node:events';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const FOLDER = fileURLToPath(new URL('../../build-native/bin/', import.meta.url));

/** Why they cannot run here; undefined where they can. */
export const whyNoBenchPrograms = existsSync(`${FOLDER}ringway-load`)
  ? undefined
  : 'build-native/bin/ringway-load is not built (npm run build:native)';

export interface LoadReport {
  readonly status: number | null;
  readonly stderr: string;
  readonly messages: number;
  readonly errors: number;
  readonly wrong: number;
  readonly unexpected: number;
  readonly closed: number;
  readonly missing: number;
  readonly arrivals: number;
  readonly cancelled: number;
  readonly answered: number;
  readonly partials: number;
  readonly connects: number;
  readonly cpu: readonly { cpuUs: number; userTicks: number; systemTicks: number; cpuUsPerMessage: number }[];
  readonly latency_us: Times;
  readonly lateness_us: Times;
}

export interface Times {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly p999: number;
  readonly max: number;
}

const running = new Set<ChildProcess>();

/** Ends what a test left running, each by its own handle. */
export async function endBenchPrograms(): Promise<void> {
  const ended = [...running].map((child) => once(child, 'close'));
  for (const child of running) child.kill('SIGKILL');
  await Promise.all(ended);
}

function start(program: string, args: readonly (string | number)[]): ChildProcess {
  const child = spawn(`${FOLDER}${program}`, args.map(String), { stdio: ['pipe', 'pipe', 'pipe'] });
  running.add(child);
  child.once('close', () => running.delete(child));
  return child;
}

/** A run of ringway-load: a moment, and no long wait for an answer that does not come. */
export class LoadRun {
  readonly child: ChildProcess;
  readonly report: Promise<LoadReport>;

  constructor(port: number, args: readonly (string | number)[]) {
    const short = ['--seconds', 0.3, '--warmup-seconds', 0, '--patience', 2];
    this.child = start('ringway-load', ['--port', port, ...short, ...args]);
    this.report = this.#finish();
  }

  async #finish(): Promise<LoadReport> {
    let stdout = '';
    let stderr = '';
    this.child.stdout!.on('data', (chunk: Buffer) => (stdout += chunk));
    this.child.stderr!.on('data', (chunk: Buffer) => (stderr += chunk));
    const [status] = await once(this.child, 'close');
    if (stdout === '') throw new Error(`ringway-load printed nothing (exit status ${status}): ${stderr}`);
    return { ...JSON.parse(stdout.trim().split('\n').at(-1)!), status, stderr };
  }

  /** Resolves when it has printed such a line. */
  async line(pattern: RegExp): Promise<void> {
    let seen = '';
    for await (const [chunk] of on(this.child.stdout!, 'data')) {
      seen += chunk;
      if (pattern.test(seen)) return;
    }
  }
}

export function load(port: number, ...args: (string | number)[]): Promise<LoadReport> {
  return new LoadRun(port, args).report;
}

export interface BenchServer {
  readonly child: ChildProcess;
  readonly port: number;
}

/** A server of the bench that is ready; a string with what it said when it ended instead. */
export async function startBenchServer(program: string, ...args: (string | number)[]): Promise<BenchServer | string> {
  const child = start(program, ['--port', 0, ...args]);
  let said = '';
  return new Promise((resolve) => {
    child.stdout!.on('data', (chunk: Buffer) => {
      said += chunk;
      const ready = /listening on 127\.0\.0\.1:(\d+) \(.+\)\n/.exec(said);
      if (ready !== null) resolve({ child, port: Number(ready[1]) });
    });
    child.stderr!.on('data', (chunk: Buffer) => (said += chunk));
    child.once('close', () => resolve(said));
  });
}
