/** What to change on a machine, from what was found there. Pure: the tests make up machines. */
import type { DriverName } from '../engine/engine.js';
import type { Limits, MachineFacts } from './machine-facts.js';

export interface EngineFacts {
  readonly name: DriverName;
  readonly reason: string;
}

/** Enough for the default `maxConnections` of one listener, its links, and Node's own. */
const WANTED_FILES = 10_500;
/** Bytes: rings and registered buffers of a few reactors, on kernels before 5.12, which count them as locked. */
const WANTED_LOCKED = 8 * 2 ** 20;
const WANTED_BACKLOG = 1024;

/** One sentence each, the gravest first; empty where there is nothing to do. */
export function advise(facts: MachineFacts, engine: EngineFacts): string[] {
  return [...adviseEngine(facts, engine), ...adviseFiles(facts.openFiles), ...adviseKernel(facts)];
}

function adviseEngine(facts: MachineFacts, engine: EngineFacts): string[] {
  if (engine.name === 'io_uring') return [];
  if (engine.name === 'portable') {
    if (!facts.platform.startsWith('linux')) return [];
    return ['the native engine did not load: `npx ringway build` compiles it (g++ 12 or newer, make and python3)'];
  }
  if (facts.ioUringDisabled !== undefined && facts.ioUringDisabled > 0) {
    return [
      `io_uring is switched off (kernel.io_uring_disabled = ${facts.ioUringDisabled}): \`sysctl kernel.io_uring_disabled=0\` allows it; epoll is a full replacement`,
    ];
  }
  if (facts.seccomp === 2) {
    return [
      'a seccomp profile (Docker’s and containerd’s default) refuses io_uring: one that allows io_uring_setup, io_uring_enter and io_uring_register lets it run; epoll is a full replacement',
    ];
  }
  return [];
}

function adviseFiles(openFiles: Limits | undefined): string[] {
  if (openFiles === undefined || openFiles.soft >= WANTED_FILES) return [];
  const how =
    openFiles.hard >= WANTED_FILES
      ? `\`ulimit -n ${WANTED_FILES}\` before the start, or LimitNOFILE=${WANTED_FILES} in a systemd unit`
      : `the hard limit is ${openFiles.hard}: LimitNOFILE= in a systemd unit, --ulimit nofile= for a container, or limits.conf`;
  return [`${openFiles.soft} open files are fewer than the default of 10,000 connections needs: ${how}`];
}

function adviseKernel(facts: MachineFacts): string[] {
  const advice: string[] = [];
  if (facts.lockedMemory !== undefined && facts.lockedMemory.soft < WANTED_LOCKED && isBefore(facts.kernel, 5, 12)) {
    advice.push(
      `kernels before 5.12 count io_uring’s rings as locked memory, and the limit is ${facts.lockedMemory.soft} bytes: \`ulimit -l 8192\``,
    );
  }
  if (facts.somaxconn !== undefined && facts.somaxconn < WANTED_BACKLOG) {
    advice.push(
      `net.core.somaxconn is ${facts.somaxconn}: many clients connecting at once may be refused; \`sysctl net.core.somaxconn=4096\``,
    );
  }
  return advice;
}

function isBefore(kernel: string, major: number, minor: number): boolean {
  const match = /^(\d+)\.(\d+)/.exec(kernel);
  if (match === null) return false;
  const [its, of] = [Number(match[1]), Number(match[2])];
  return its < major || (its === major && of < minor);
}
