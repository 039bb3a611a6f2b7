/** SIGTERM and SIGINT: the first drains, the second aborts. */
import { ExitStatus } from './exit-status.js';

const SIGNALS = ['SIGTERM', 'SIGINT'] as const;

/**
 * Waits for a signal, then for the drain that it begins. Call it before the ready line is printed: who reads that line may
 * send a signal at once.
 * @param drain resolves with how much work was cut
 * @returns the exit status: 0 when everything was finished, 1 when something was cut. A second signal ends the process at
 *   once, with 1.
 */
export async function drainOnSignal(drain: () => Promise<{ readonly cut: number }>): Promise<number> {
  const signal = await nextSignal();
  const abort = (): never => process.exit(ExitStatus.failed);
  for (const name of SIGNALS) process.on(name, abort);
  process.stderr.write(`ringway: ${signal}: draining; a second signal aborts\n`);
  try {
    const { cut } = await drain();
    if (cut === 0) return ExitStatus.ok;
    process.stderr.write(`ringway: the grace period cut ${cut} ${cut === 1 ? 'request' : 'requests'}\n`);
    return ExitStatus.failed;
  } finally {
    for (const name of SIGNALS) process.off(name, abort);
  }
}

function nextSignal(): Promise<string> {
  return new Promise((resolve) => {
    const take = (signal: string): void => {
      for (const name of SIGNALS) process.off(name, take);
      resolve(signal);
    };
    for (const name of SIGNALS) process.on(name, take);
  });
}
