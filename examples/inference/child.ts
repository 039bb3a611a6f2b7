/** A child process that prints a ready line, and ends when this one does. */
import { type ChildProcess, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';

/** For start-up: an engine is tried with real bytes, a model is loaded. */
const READY_TIMEOUT_MS = 30_000;
/** After SIGTERM, for a drain; then the process is killed. */
const STOP_TIMEOUT_MS = 10_000;
/** Of what a child printed, for the message when it fails. */
const KEPT_LINES = 20;

export class Child {
  readonly name: string;
  readonly #process: ChildProcess;
  readonly #exited: Promise<number>;
  readonly #lines: string[] = [];
  #onLine: (line: string) => void = () => {};

  constructor(name: string, script: string, args: readonly string[]) {
    this.name = name;
    // A process group of its own: Ctrl-C reaches only this process, which then stops the children in the right order.
    this.#process = spawn(process.execPath, [script, ...args], { stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    this.#exited = new Promise((resolve) => {
      this.#process.once('error', (error) => this.#keep(String(error)));
      this.#process.once('close', (code, signal) => resolve(code ?? (signal === null ? 0 : 1)));
    });
    for (const stream of [this.#process.stdout, this.#process.stderr]) {
      if (stream !== null) createInterface({ input: stream }).on('line', (line) => this.#keep(line));
    }
    process.once('exit', this.#kill);
  }

  get pid(): number | undefined {
    return this.#process.pid;
  }

  /** Resolves with the exit status, however it ended. */
  get exited(): Promise<number> {
    return this.#exited;
  }

  /** The first line that matches. @throws when the process ends before, or takes too long. */
  async ready(pattern: RegExp): Promise<RegExpExecArray> {
    let timer: NodeJS.Timeout | undefined;
    const line = new Promise<RegExpExecArray>((resolve, reject) => {
      this.#onLine = (text) => {
        const match = pattern.exec(text);
        if (match !== null) resolve(match);
      };
      for (const text of this.#lines) this.#onLine(text);
      const fail = (what: string): void => reject(new Error([`${this.name} ${what}`, ...this.#lines].join('\n  ')));
      timer = setTimeout(() => fail(`was not ready within ${READY_TIMEOUT_MS / 1000} s`), READY_TIMEOUT_MS);
      void this.#exited.then((status) => fail(`ended with exit status ${status} before it was ready`));
    });
    try {
      return await line;
    } finally {
      clearTimeout(timer);
      this.#onLine = () => {};
    }
  }

  /** SIGTERM, and after a while SIGKILL, to this process only. @returns its exit status. */
  async stop(): Promise<number> {
    this.#process.kill('SIGTERM');
    const timer = setTimeout(this.#kill, STOP_TIMEOUT_MS);
    const status = await this.#exited;
    clearTimeout(timer);
    process.off('exit', this.#kill);
    return status;
  }

  readonly #kill = (): void => {
    this.#process.kill('SIGKILL');
  };

  #keep(line: string): void {
    this.#lines.push(line);
    if (this.#lines.length > KEPT_LINES) this.#lines.shift();
    this.#onLine(line);
  }
}
