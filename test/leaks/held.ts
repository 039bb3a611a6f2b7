/** What a process holds once everything has had its chance to go: the start line of the leak checks, and where they must be back. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { setFlagsFromString, getHeapStatistics } from 'node:v8';
import { runInNewContext } from 'node:vm';

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

export interface Held {
  readonly rssMb: number;
  readonly fds: number;
  /** Timers of the reactors that are set. */
  readonly timers: number;
  /** References from native code: V8's global handles, in bytes. */
  readonly handleBytes: number;
  readonly externalMb: number;
  readonly open: number;
}

function armedTimers(): number {
  return readdirSync('/proc/self/fd').filter((fd) => {
    try {
      if (!readlinkSync(`/proc/self/fd/${fd}`).includes('timerfd')) return false;
      return !/it_value: \(0, 0\)/.test(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'));
    } catch {
      return false; // the descriptor of this very listing
    }
  }).length;
}

/** @param open how many connections there are */
export async function settled(open: () => number): Promise<Held> {
  // Closes on their way, and timers that notice at their next turn that nobody is left.
  for (let i = 0; i < 100 && (open() > 0 || armedTimers() > 0); i++) {
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  for (let i = 0; i < 4; i++) {
    collect();
    await new Promise((resolve) => setImmediate(resolve));
  }
  const memory = process.memoryUsage();
  return {
    rssMb: Math.round(memory.rss / 104857.6) / 10,
    fds: readdirSync('/proc/self/fd').length,
    timers: armedTimers(),
    handleBytes: getHeapStatistics().used_global_handles_size,
    externalMb: Math.round((memory.external + memory.arrayBuffers) / 104857.6) / 10,
    open: open(),
  };
}
