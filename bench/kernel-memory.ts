/** What the kernel holds for sockets: objects, from /proc/slabinfo (root only), and buffers, from /proc/net/sockstat. Whole machine. */
import { readFileSync } from 'node:fs';

/** What a TCP socket is made of. Names may be missing: the kernel merges caches of one size. */
const CACHES = ['TCP', 'TCPv6', 'sock_inode_cache', 'filp', 'dentry', 'eventpoll_epi', 'eventpoll_pwq'];
/** sockstat counts in pages. */
const PAGE_BYTES = 4096;

export interface KernelMemory {
  readonly objectBytes: number;
  readonly bufferBytes: number;
}

/** Undefined where the kernel does not show it. */
export function readKernelMemory(): KernelMemory | undefined {
  try {
    const objectBytes = parseSlabinfo(readFileSync('/proc/slabinfo', 'utf8'));
    return { objectBytes, bufferBytes: parseSockstat(readFileSync('/proc/net/sockstat', 'utf8')) };
  } catch {
    return undefined;
  }
}

/** Bytes of the objects in use of all caches above. Lines are `name active total objectSize …`. */
export function parseSlabinfo(text: string): number {
  let bytes = 0;
  for (const line of text.split('\n')) {
    const [name, active, , size] = line.split(/\s+/);
    if (CACHES.includes(name)) bytes += Number(active) * Number(size);
  }
  return bytes;
}

/** `TCP: inuse 1 orphan 0 tw 500 alloc 1 mem 51` */
export function parseSockstat(text: string): number {
  return Number(/^TCP: .*\bmem (\d+)/m.exec(text)?.[1] ?? 0) * PAGE_BYTES;
}
