/** Runs `bin/ringway` as a process of its own, as users do. It needs `dist/`, which `npm test` builds first. */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const BIN = fileURLToPath(new URL('../../bin/ringway', import.meta.url));

export interface Ended {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export class CliProcess {
  readonly child: ChildProcess;
  /** Resolves when the process has ended and its output is read to the end. */
  readonly ended: Promise<Ended>;
  #stdout = '';
  #stderr = '';
  #waiting: (() => void)[] = [];
  #over = false;

  constructor(
    args: readonly string[],
    options: { cwd?: string; env?: NodeJS.ProcessEnv; command?: readonly string[]; bin?: string } = {},
  ) {
    const [command, ...before] = [...(options.command ?? []), process.execPath];
    this.child = spawn(command, [...before, options.bin ?? BIN, ...args], {
      cwd: options.cwd,
      env: { ...process.env, ...options.env },
      stdio: ['pipe', 'pipe', 'pipe'],
    });
    this.child.stdout!.on('data', (chunk: Buffer) => this.#heard(chunk.toString(), ''));
    this.child.stderr!.on('data', (chunk: Buffer) => this.#heard('', chunk.toString()));
    this.ended = once(this.child, 'close').then(([status, signal]) => {
      this.#over = true;
      this.#heard('', '');
      return { status, signal, stdout: this.#stdout, stderr: this.#stderr };
    });
  }

  /** The first match, waited for. Rejects with all output when the process ends without it. */
  async match(pattern: RegExp, stream: 'stdout' | 'stderr' = 'stdout'): Promise<RegExpExecArray> {
    for (;;) {
      const found = pattern.exec(stream === 'stdout' ? this.#stdout : this.#stderr);
      if (found !== null) return found;
      if (this.#over) throw new Error(`no ${pattern} in:\n${this.#stdout}\n${this.#stderr}`);
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  /** The lines so far, of both streams, that match. */
  said(pattern: RegExp): string[] {
    return `${this.#stdout}\n${this.#stderr}`.split('\n').filter((line) => pattern.test(line));
  }

  /** The port of the ready line. */
  async port(): Promise<number> {
    return Number((await this.match(/listening on [^\s,]*:(\d+)/))[1]);
  }

  signal(name: NodeJS.Signals): void {
    this.child.kill(name);
  }

  #heard(stdout: string, stderr: string): void {
    this.#stdout += stdout;
    this.#stderr += stderr;
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

const running = new Set<CliProcess>();

/** Starts a command that `endAll` ends if the test does not. */
export function startCli(
  args: readonly string[],
  options: ConstructorParameters<typeof CliProcess>[1] = {},
): CliProcess {
  const process = new CliProcess(args, options);
  running.add(process);
  void process.ended.then(() => running.delete(process));
  return process;
}

/** Runs a command that ends by itself. */
export function runCli(
  args: readonly string[],
  options: ConstructorParameters<typeof CliProcess>[1] = {},
): Promise<Ended> {
  const process = startCli(args, options);
  process.child.stdin!.end();
  return process.ended;
}

/** For afterEach: nothing outlives its test. */
export async function endAll(): Promise<void> {
  await Promise.all(
    [...running].map((process) => {
      process.signal('SIGKILL');
      return process.ended;
    }),
  );
}
