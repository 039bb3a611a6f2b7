/** Small programs on `node:net` and on `ringway/net` as it is built: for what shows only in a process of its own. */
import { execFile } from 'node:child_process';
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
  const source = `import * as net from ${JSON.stringify(module)};\n${program}`;
  return new Promise((resolve) => {
    const child = execFile(
      process.execPath,
      ['--input-type=module', '-e', source],
      { env: { ...process.env, RINGWAY_ENGINE: engine }, timeout: 20_000 },
      (_error, stdout, stderr) => resolve({ code: child.exitCode, stdout, stderr }),
    );
  });
}
