/** What the parts of the bench share: who starts processes, who asks, who is told, and what went wrong. */
import type { LoadGenerator } from './load.js';
import type { BenchOptions } from './options.js';
import { type Servers, Unavailable } from './servers.js';

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

  get isAborted(): boolean {
    return this.#aborted;
  }

  say(text: string): void {
    if (!this.#aborted) process.stderr.write(`${text}\n`);
  }

  note(sentence: string): void {
    if (this.notes.includes(sentence)) return;
    this.notes.push(sentence);
    this.say(`  left out: ${sentence}`);
  }

  /** Runs one step; what goes wrong is recorded, and the bench goes on without it. */
  async attempt<Result>(what: string, step: () => Promise<Result>): Promise<Result | undefined> {
    if (this.#aborted) return undefined;
    try {
      return await step();
    } catch (error) {
      if (this.#aborted) return undefined;
      const message = (error as Error).message;
      if (error instanceof Unavailable) this.note(message.startsWith(what) ? message : `${what}: ${message}`);
      else this.#fail(`${what}: ${message}`);
      return undefined;
    }
  }

  #fail(sentence: string): void {
    this.failures.push(sentence);
    this.say(`  FAILED: ${sentence}`);
  }
}
