/** How many descriptors a process here may have, and how many a case takes. */
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { HAPROXY, NGINX } from './cases.js';
import type { Shape } from './shape.js';

/** What a server needs besides those of its connections. */
export const SPARE_DESCRIPTORS = 100;
/** A TCP relay with 12,000 clients has as many connections behind it. */
const WANTED = 32_768;

/** Of this process and those it starts: Node raises its own soft limit to the hard one. */
export function descriptorLimit(): number {
  const hard = readFileSync('/proc/self/limits', 'utf8').match(/^Max open files\s+\S+\s+(\S+)/m)?.[1];
  return hard === undefined || hard === 'unlimited' ? Number.POSITIVE_INFINITY : Number(hard);
}

/** As far as it may: root may raise the hard limit too. Cases that take more are left out. */
export function raiseDescriptorLimit(): void {
  if (descriptorLimit() >= WANTED) return;
  spawnSync('prlimit', ['--pid', String(process.pid), `--nofile=${WANTED}:${WANTED}`], { stdio: 'ignore' });
}

/** Of the server that holds the most for one connection of its client. */
export function descriptorsOf(subject: string, { connections, idle }: Shape): number {
  const each = subject === HAPROXY || subject === NGINX ? 2 : 1;
  return each * (connections + idle) + SPARE_DESCRIPTORS;
}

/** The most connections that a TCP relay can be told to take: it opens a second one for each. */
export function relayConnections(most: number, limit = descriptorLimit()): number {
  return Math.min(most, Math.floor((limit - SPARE_DESCRIPTORS) / 2));
}
