/** What the kernel says of a TCP socket over IPv4 that this process has open, whichever module opened it. Linux only. */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** One end of a connection. */
export interface End {
  readonly localPort?: number;
  readonly remotePort?: number;
}

/** The options that users set, as getsockopt(2) tells them: numbers of probes, and seconds. */
export interface SocketOptions {
  readonly noDelay: boolean;
  readonly keepAlive: boolean;
  readonly idleS: number;
  readonly intervalS: number;
  readonly probes: number;
}

/** In /proc/net/tcp: a timer of the socket's own, which on a connection at rest is that of keepalive, and its clock. */
const KEEPALIVE_TIMER = '02';
const TICKS_PER_S = 100;

/** When the kernel will probe the peer: seconds from now, undefined where it never will. The connection must be at rest. */
export function keepAliveDueS(end: End): number | undefined {
  const [timer, ticks] = rowOf(end).timer;
  return timer === KEEPALIVE_TIMER ? Number.parseInt(ticks, 16) / TICKS_PER_S : undefined;
}

/** Without what the machine adds to Python: it starts in half the time. */
const ALONE = ['-I', '-S'];
const GETSOCKOPT = `
import json, socket
end = socket.socket(fileno=3)
tcp = socket.IPPROTO_TCP
print(json.dumps({
  'noDelay': end.getsockopt(tcp, socket.TCP_NODELAY) != 0,
  'keepAlive': end.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0,
  'idleS': end.getsockopt(tcp, socket.TCP_KEEPIDLE),
  'intervalS': end.getsockopt(tcp, socket.TCP_KEEPINTVL),
  'probes': end.getsockopt(tcp, socket.TCP_KEEPCNT),
}))`;

/** Why `socketOptions` cannot be asked here; undefined where it can. */
export function whyNoSocketOptions(): string | undefined {
  const { status } = spawnSync('python3', [...ALONE, '-c', 'import socket; socket.TCP_KEEPIDLE'], { stdio: 'ignore' });
  return status === 0 ? undefined : 'python3 is not here, and Node has no getsockopt(2)';
}

/** Asks the socket itself: Python has getsockopt(2), and gets the socket as its descriptor 3. */
export function socketOptions(end: End): SocketOptions {
  const { stdout } = spawnSync('python3', [...ALONE, '-c', GETSOCKOPT], {
    stdio: ['ignore', 'pipe', 'inherit', descriptorOf(end)],
    encoding: 'utf8',
  });
  return JSON.parse(stdout);
}

/** Its descriptor in this process. */
function descriptorOf(end: End): number {
  const name = `socket:[${rowOf(end).inode}]`;
  for (const fd of readdirSync('/proc/self/fd')) {
    // The one that lists them is closed by now.
    if (linkOf(`/proc/self/fd/${fd}`) === name) return Number(fd);
  }
  throw new Error(`no descriptor of this process is ${name}`);
}

function linkOf(path: string): string | undefined {
  try {
    return readlinkSync(path);
  } catch {
    return undefined;
  }
}

/** A table that changes while it is read may come without a row of it. */
const READINGS = 10;

function rowOf({ localPort = 0, remotePort = 0 }: End): { timer: string[]; inode: string } {
  const [local, remote] = [localPort, remotePort].map((port) => `:${port.toString(16).toUpperCase().padStart(4, '0')}`);
  for (let i = 0; i < READINGS; i++) {
    for (const line of readFileSync('/proc/net/tcp', 'utf8').split('\n')) {
      const [, from, to, , , timer, , , , inode] = line.trim().split(/\s+/);
      if (from?.endsWith(local) && to?.endsWith(remote)) return { timer: timer.split(':'), inode };
    }
  }
  throw new Error(`/proc/net/tcp has no connection from port ${localPort} to port ${remotePort}`);
}
