/** Small programs on `node:net` and on `ringway/net` as it is built: for what shows only in a process of its own. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

/** `ringway/net`, built. */
export const builtNet = fileURLToPath(new URL('../../dist/net/index.js', import.meta.url));

export interface Ended {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs it with `net`, the module named; whoever does not end by himself is killed, and `code` is null then. */
export function runNetProgram(module: string, engine: string, program: string): Promise<Ended> {
  return run(engine, ['--input-type=module', '-e', withNet(module, program)]);
}

/** The same from a file, so that it can fork itself (`process.argv[1]`). What it forks must end when it ends. */
export async function runNetFile(module: string, engine: string, program: string): Promise<Ended> {
  const folder = mkdtempSync(join(tmpdir(), 'ringway-net-program-'));
  const file = join(folder, 'program.mjs');
  writeFileSync(file, withNet(module, program));
  try {
    return await run(engine, [file]);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function withNet(module: string, program: string): string {
  return `import * as net from ${JSON.stringify(module)};\n${program}`;
}

const PATIENCE_MS = 20_000;

/** What it forked is killed with it. */
async function run(engine: string, args: readonly string[]): Promise<Ended> {
  const child = spawn(process.execPath, args, {
    env: { ...process.env, RINGWAY_ENGINE: engine },
    stdio: ['ignore', 'pipe', 'pipe'],
    detached: true,
  });
  const timer = setTimeout(() => process.kill(-(child.pid as number), 'SIGKILL'), PATIENCE_MS);
  try {
    const [stdout, stderr, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'close')]);
    return { code, stdout, stderr };
  } finally {
    clearTimeout(timer);
  }
}
