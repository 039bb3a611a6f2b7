/** Runs `ringway-load`, which checks every answer, and reads what it prints. */
import { join } from 'node:path';
import type { BenchProcess, ProcessGroup } from './process-group.js';

export type LoadProtocol = 'plain' | 'rmp';

export interface Shape {
  readonly connections: number;
  readonly depth: number;
  readonly size: number;
}

/** One measured run, as `ringway-load` prints it. */
export interface Sample {
  readonly messages: number;
  readonly msgPerSec: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly p999Us: number;
  readonly maxUs: number;
  readonly cpu: readonly { pid: number; cpuUserUs: number; cpuSystemUs: number; cpuUsPerMessage: number }[];
  readonly loadCpuUsPerMessage: number;
  readonly errors: number;
  readonly wrong: number;
  readonly unexpected: number;
  readonly closed: number;
  readonly missing: number;
}

/** What the load is pointed at. The first pid is the server whose CPU time counts; the others stand behind it. */
export interface Target {
  readonly host: string;
  readonly port: number;
  readonly pids: readonly number[];
  readonly protocol: LoadProtocol;
}

export interface LoadTimes {
  readonly seconds: number;
  readonly warmupSeconds: number;
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
    const running = this.#start('ringway-load', target, [
      ...['--connections', shape.connections, '--depth', shape.depth, '--size', shape.size],
      ...['--seconds', times.seconds, '--warmup', times.warmupSeconds, '--pid', target.pids.join(',')],
    ]);
    const { status } = await running.ended;
    if (status !== 0) throw new Error(`${running.stderr || 'ringway-load failed'} ${running.stdout.trim()}`);
    return JSON.parse(running.stdout) as Sample;
  }

  /** Opens connections and answers when the server has accepted all; `release` closes them. */
  async hold(target: Target, connections: number, touch: boolean): Promise<{ release(): Promise<void> }> {
    const running = this.#start('ringway-load --idle', target, ['--idle', connections, ...(touch ? ['--touch'] : [])]);
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
    const to = ['--host', target.host, '--port', target.port, '--protocol', target.protocol];
    return this.#group.start(name, this.#program, [...to, ...args].map(String));
  }
}
