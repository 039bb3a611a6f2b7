/** What the parts of the bench share: who starts processes, who asks, who is told, and what went wrong. */
import type { LoadGenerator, Sample, Shape, Target } from './load.js';
import type { BenchOptions } from './options.js';
import { type Server, type Servers, Unavailable } from './servers.js';

/** A server under measurement, and those behind it. */
export interface Subject {
  readonly name: string;
  readonly server: Server;
  readonly target: Target;
}

export interface Series {
  readonly part: string;
  readonly shape: Shape;
  readonly subject: string;
  readonly samples: Sample[];
}

export class Bench {
  readonly options: BenchOptions;
  readonly servers: Servers;
  readonly load: LoadGenerator;
  /** Wrong answers and servers that failed: the bench then ends with status 1. */
  readonly failures: string[] = [];
  /** What this machine does not let run. */
  readonly notes: string[] = [];
  #aborted = false;

  constructor(options: BenchOptions, servers: Servers, load: LoadGenerator) {
    this.options = options;
    this.servers = servers;
    this.load = load;
  }

  /** After this no error is a finding: processes end because they are ended. */
  abort(): void {
    this.#aborted = true;
  }

  say(text: string): void {
    if (!this.#aborted) process.stderr.write(`${text}\n`);
  }

  /** Runs one step; what goes wrong is recorded, and the bench goes on without it. */
  async attempt<Result>(what: string, step: () => Promise<Result>): Promise<Result | undefined> {
    if (this.#aborted) return undefined;
    try {
      return await step();
    } catch (error) {
      if (this.#aborted) return undefined;
      const sentence = `${what}: ${(error as Error).message}`;
      const list = error instanceof Unavailable ? this.notes : this.failures;
      list.push(sentence);
      this.say(`  ${error instanceof Unavailable ? 'left out' : 'FAILED'}: ${sentence}`);
      return undefined;
    }
  }
}
