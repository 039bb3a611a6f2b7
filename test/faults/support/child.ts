/** A helper program of a test, with the lines it prints. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';

export class Child {
  readonly process: ChildProcess;
  readonly lines: string[] = [];
  readonly ended: Promise<number | null>;
  readonly #waiting: (() => void)[] = [];

  constructor(command: string, args: readonly string[]) {
    this.process = spawn(command, [...args], { stdio: ['ignore', 'pipe', 'inherit'] });
    createInterface(this.process.stdout!).on('line', (line) => {
      this.lines.push(line);
      for (const resolve of this.#waiting.splice(0)) resolve();
    });
    this.ended = once(this.process, 'close').then(([status]) => {
      for (const resolve of this.#waiting.splice(0)) resolve();
      return status as number | null;
    });
  }

  async line(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      for (const line of this.lines) {
        const found = pattern.exec(line);
        if (found !== null) return found;
      }
      if (this.process.exitCode !== null || this.process.signalCode !== null)
        throw new Error(`ended without ${pattern}`);
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  async kill(): Promise<void> {
    this.process.kill('SIGKILL');
    await this.ended;
  }
}
