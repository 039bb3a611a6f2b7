/** What the numbers were measured on. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os';
import { findProgram } from './find-program.js';
import { root } from './root.js';

export interface Machine {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly kernel: string;
  readonly node: string;
  readonly v8: string;
  readonly congestionControl: string | undefined;
  /** Versions of what is compared with; null: not installed (and kept as such in the file). */
  readonly peers: Readonly<Record<string, string | null>>;
  readonly commit: string | undefined;
  /** Of the last minute, before the bench began. */
  readonly load: number;
}

export function describeMachine(): Machine {
  return {
    cpu: cpus()[0]?.model ?? 'unknown',
    cores: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    node: process.version,
    v8: process.versions.v8,
    congestionControl: firstLineOf('/proc/sys/net/ipv4/tcp_congestion_control'),
    peers: {
      haproxy: said('haproxy', ['-v'])?.match(/version (\S+)/)?.[1] ?? null,
      nginx: said('nginx', ['-v'])?.match(/nginx\/(\S+)/)?.[1] ?? null,
      bun: said('bun', ['--version'])?.trim() ?? null,
    },
    commit: commit(),
    load: loadavg()[0],
  };
}

/** With a plus when files were changed since. */
function commit(): string | undefined {
  const head = said('git', ['-C', root, 'rev-parse', '--short', 'HEAD'])?.trim();
  const changed = said('git', ['-C', root, 'status', '--porcelain', '--untracked-files=no'])?.trim();
  return head === undefined ? undefined : `${head}${changed ? '+' : ''}`;
}

/** stdout and stderr of a program that ended well: nginx says its version on stderr. */
function said(command: string, args: readonly string[]): string | undefined {
  const { status, stdout, stderr } = spawnSync(findProgram(command) ?? command, args, { encoding: 'utf8' });
  return status === 0 ? stdout + stderr : undefined;
}

function firstLineOf(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8').split('\n')[0];
  } catch {
    return undefined;
  }
}
