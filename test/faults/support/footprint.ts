/** What a process holds, from /proc: it cannot flatter itself. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';

export interface Footprint {
  readonly rssBytes: number;
  readonly fds: number;
}

export function footprint(pid: number): Footprint {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return {
    rssBytes: Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024,
    fds: readdirSync(`/proc/${pid}/fd`).length,
  };
}

/** From here on the kernel marks the most that the process holds, between any two looks; `highestRssBytes` reads the mark. */
export function markHighestRss(pid: number): void {
  writeFileSync(`/proc/${pid}/clear_refs`, '5');
}

export function highestRssBytes(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmHWM:\s+(\d+) kB/m.exec(status)?.[1] ?? 0) * 1024;
}

/** CPU time so far, user and system, in ms. Linux counts it in ticks of 10 ms. */
export function cpuMs(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ');
  return (Number(fields[11]) + Number(fields[12])) * 10;
}

const LOOK_EVERY_MS = 50;

/** The most a process held at any look between now and `end`. */
export class PeakRss {
  #peak = 0;
  readonly #pid: number;
  readonly #timer: NodeJS.Timeout;

  constructor(pid: number) {
    this.#pid = pid;
    this.#timer = setInterval(() => this.#look(), LOOK_EVERY_MS);
  }

  end(): number {
    clearInterval(this.#timer);
    return this.#peak;
  }

  #look(): void {
    // It may have ended: what it held before stands.
    if (existsSync(`/proc/${this.#pid}/status`)) this.#peak = Math.max(this.#peak, footprint(this.#pid).rssBytes);
  }
}
