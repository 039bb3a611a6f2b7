/** What this machine allows, read from /proc: for `ringway doctor`. Everything may be absent (macOS, Windows, containers). */
import { readFileSync } from 'node:fs';
import { release } from 'node:os';

export interface MachineFacts {
  readonly platform: string;
  readonly kernel: string;
  readonly node: string;
  /** Soft and hard limit of open files; undefined where unknown. */
  readonly openFiles: Limits | undefined;
  /** Bytes of locked memory. */
  readonly lockedMemory: Limits | undefined;
  /** `/proc/sys/kernel/io_uring_disabled`: 0 allowed, 1 for a group only, 2 for nobody. */
  readonly ioUringDisabled: number | undefined;
  /** Longest queue of connections not yet accepted that the kernel grants. */
  readonly somaxconn: number | undefined;
  /** 0 none, 1 strict, 2 filtered: containers filter. */
  readonly seccomp: number | undefined;
}

export interface Limits {
  /** Infinity: unlimited. */
  readonly soft: number;
  readonly hard: number;
}

export type ReadText = (path: string) => string | undefined;

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

export function machineFacts(read: ReadText = readText): MachineFacts {
  const limits = read('/proc/self/limits') ?? '';
  return {
    platform: `${process.platform} ${process.arch}`,
    kernel: release(),
    node: process.version,
    openFiles: limitsOf(limits, 'Max open files'),
    lockedMemory: limitsOf(limits, 'Max locked memory'),
    ioUringDisabled: numberOf(read('/proc/sys/kernel/io_uring_disabled')),
    somaxconn: numberOf(read('/proc/sys/net/core/somaxconn')),
    seccomp: numberOf(/^Seccomp:\s*(\d+)/m.exec(read('/proc/self/status') ?? '')?.[1]),
  };
}

function numberOf(text: string | undefined): number | undefined {
  return text === undefined || text.trim() === '' ? undefined : Number(text);
}

function limitsOf(table: string, row: string): Limits | undefined {
  const match = new RegExp(`^${row}\\s+(\\S+)\\s+(\\S+)`, 'm').exec(table);
  if (match === null) return undefined;
  const value = (text: string): number => (text === 'unlimited' ? Infinity : Number(text));
  return { soft: value(match[1]), hard: value(match[2]) };
}
