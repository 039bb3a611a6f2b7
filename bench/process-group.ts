/** The processes this bench started: each is ended by its pid, whatever happens to the bench. */
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { root } from './root.js';

const STOP_GRACE_MS = 5_000;
const KEPT_OUTPUT = 16_000;

type Child = ChildProcessByStdio<Writable, Readable, Readable>;

export interface Ending {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
}

export class BenchProcess {
  readonly name: string;
  /** Whether it runs the same Node as the bench. */
  readonly isNode: boolean;
  readonly ended: Promise<Ending>;
  #child: Child;
  #stdout = '';
  #stderr = '';
  #ending: Ending | undefined;
  #stopping = false;

  constructor(name: string, command: string, args: readonly string[], env: Readonly<Record<string, string>> = {}) {
    this.name = name;
    this.isNode = command === process.execPath;
    this.#child = spawn(command, args, { cwd: root, stdio: ['pipe', 'pipe', 'pipe'], env: { ...process.env, ...env } });
    this.#child.stdin.on('error', () => {});
    this.#child.stdout.setEncoding('utf8').on('data', (text: string) => {
      this.#stdout += text;
    });
    this.#child.stderr.setEncoding('utf8').on('data', (text: string) => {
      this.#stderr = (this.#stderr + text).slice(-KEPT_OUTPUT);
    });
    this.ended = new Promise((resolve) => {
      this.#child.on('error', (error) => {
        this.#stderr += error.message;
        if (this.#child.pid === undefined) this.#settle({ status: null, signal: null }, resolve);
      });
      this.#child.on('close', (status, signal) => this.#settle({ status, signal }, resolve));
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  get stdout(): string {
    return this.#stdout;
  }

  /** The end of what it wrote, for a message. */
  get stderr(): string {
    return this.#stderr.trim();
  }

  /** Whole lines on stderr that match, of what is kept of it. */
  stderrLines(pattern: RegExp): string[] {
    return this.#stderr
      .split('\n')
      .slice(0, -1)
      .filter((line) => pattern.test(line));
  }

  /** How it ended although nobody asked it to; undefined while all is well. */
  get failure(): string | undefined {
    if (this.#ending === undefined || this.#stopping) return undefined;
    const { status, signal } = this.#ending;
    return `${this.name} ended (${signal ?? `exit status ${status}`}): ${gist(this.stderr || this.#stdout)}`;
  }

  /** The first line on stdout that matches. @throws when the process ends or the time passes before it is there. */
  async line(pattern: RegExp, timeoutMs = 15_000): Promise<RegExpMatchArray> {
    const found = () =>
      this.#stdout
        .split('\n')
        .slice(0, -1)
        .map((line) => line.match(pattern))
        .find((match) => match !== null);
    return new Promise((resolve, reject) => {
      const finish = (error?: Error) => {
        const match = found();
        if (match === undefined && error === undefined) return;
        clearTimeout(timer);
        this.#child.stdout.off('data', look);
        if (match === undefined) reject(error);
        else resolve(match);
      };
      const look = () => finish();
      const timer = setTimeout(
        () => finish(new Error(`${this.name} said nothing like ${pattern} in ${timeoutMs} ms: ${this.stderr}`)),
        timeoutMs,
      );
      this.#child.stdout.on('data', look);
      this.ended.then(() => finish(new Error(this.failure ?? `${this.name} was stopped`)));
      look();
    });
  }

  writeLine(text = ''): void {
    this.#child.stdin.write(`${text}\n`);
  }

  closeInput(): void {
    this.#child.stdin.end();
  }

  signal(signal: NodeJS.Signals): void {
    if (this.#ending === undefined) this.#child.kill(signal);
  }

  /** SIGTERM (or what the program ends on), and SIGKILL for what does not end. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    this.#stopping = this.#ending === undefined;
    if (this.#ending !== undefined) return;
    this.#child.kill(signal);
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), STOP_GRACE_MS);
    await this.ended;
    clearTimeout(timer);
  }

  #settle(ending: Ending, resolve: (ending: Ending) => void): void {
    this.#ending ??= ending;
    resolve(ending);
  }
}

export class ProcessGroup {
  #processes = new Set<BenchProcess>();
  #closed = false;

  start(name: string, command: string, args: readonly string[], env?: Readonly<Record<string, string>>): BenchProcess {
    if (this.#closed) throw new Error('the bench is ending');
    const started = new BenchProcess(name, command, args, env);
    this.#processes.add(started);
    started.ended.then(() => this.#processes.delete(started));
    return started;
  }

  /** Ends all that runs; nothing can be started afterwards. */
  async close(): Promise<void> {
    this.#closed = true;
    await Promise.all([...this.#processes].map((running) => running.stop()));
  }
}

/** One line of what a program said: the error's own where there is a stack trace. */
function gist(output: string): string {
  const lines = output.trim().split('\n');
  return lines.find((line) => /^\w*Error\b/.test(line)) ?? (lines.at(-1) || 'no output');
}
