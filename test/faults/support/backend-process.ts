/** A backend as a process of its own that can be killed, stopped and started again on its port. */
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { type CliProcess, startCli } from '../../support/cli-process.js';

const HANDLER = fileURLToPath(new URL('recording-backend.mjs', import.meta.url));

export interface BackendProcessOptions {
  /** Where it writes down what it executed. */
  readonly record: string;
  /** Before each answer. Default 0. */
  readonly delayMs?: number;
}

export class BackendProcess {
  readonly #options: BackendProcessOptions;
  #process: CliProcess;
  #port = 0;

  private constructor(options: BackendProcessOptions) {
    this.#options = options;
    this.#process = this.#run();
  }

  static async start(options: BackendProcessOptions): Promise<BackendProcess> {
    const backend = new BackendProcess(options);
    backend.#port = await backend.#process.port();
    return backend;
  }

  get port(): number {
    return this.#port;
  }

  /** kill -9. Resolves when it is gone. */
  async kill(): Promise<void> {
    this.#process.signal('SIGKILL');
    await this.#process.ended;
  }

  /** After `kill` or `drain`: on the same port. */
  async startAgain(): Promise<void> {
    this.#process = this.#run();
    await this.#process.port();
  }

  /** SIGSTOP: its sockets stay open, nothing is read. */
  stop(): void {
    this.#process.signal('SIGSTOP');
  }

  goOn(): void {
    this.#process.signal('SIGCONT');
  }

  /** SIGTERM. @returns the exit status */
  async drain(): Promise<number | null> {
    this.#process.signal('SIGTERM');
    return (await this.#process.ended).status;
  }

  #run(): CliProcess {
    const { record, delayMs = 0 } = this.#options;
    return startCli(['backend', '--port', String(this.#port), '--handler', HANDLER], {
      env: { RECORD: record, DELAY_MS: String(delayMs) },
    });
  }
}

/** How often each id was executed, over all backends that write into this file. */
export function readExecutions(record: string, ids: number): Uint16Array {
  const bytes = readFileSync(record);
  const executions = new Uint16Array(ids + 1);
  for (let at = 0; at + 4 <= bytes.length; at += 4) executions[bytes.readUInt32BE(at)]++;
  return executions;
}
