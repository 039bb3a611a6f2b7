/**
 * What the kernel holds for sockets: objects, from /proc/slabinfo (root only), and buffers, from /proc/net/sockstat. Whole machine, and
 * both ends of each connection: what both have is halved, what only one has belongs to it.
 */
import { readFileSync, readlinkSync } from 'node:fs';

/** A TCP socket, at either end. */
const BOTH_ENDS = ['TCP', 'TCPv6', 'sock_inode_cache', 'filp', 'dentry', 'lsm_file_cache', 'lsm_inode_cache'];
/**
 * Only at the server's: who holds the idle clients neither polls nor rings. An armed receive of io_uring is a request, its poll and its
 * message; the last two are plain kmalloc (96 and 512 bytes in Linux 6.18, other sizes elsewhere).
 */
const SERVER_END = ['eventpoll_epi', 'eventpoll_pwq', 'ep_head', 'io_kiocb'];
const SERVER_END_KMALLOC = /^kmalloc-(cg-)?(96|128|192|256|512)$/;
/** Only at the clients': the port that each was given. The kernel may keep these in one cache with some of the server's end. */
const CLIENT_END = ['tcp_bind_bucket', 'tcp_bind2_bucket'];

/** sockstat counts in pages. */
const PAGE_BYTES = 4096;

/** Objects in use and their size, by cache. */
export type Slabs = ReadonlyMap<string, { readonly active: number; readonly bytes: number }>;

export interface KernelMemory {
  readonly slabs: Slabs;
  readonly bufferBytes: number;
}

/** Undefined where the kernel does not show it. */
export function readKernelMemory(): KernelMemory | undefined {
  try {
    const slabs = parseSlabinfo(readFileSync('/proc/slabinfo', 'utf8'));
    return { slabs, bufferBytes: parseSockstat(readFileSync('/proc/net/sockstat', 'utf8')) };
  } catch {
    return undefined;
  }
}

/** Lines are `name active total objectSize …`. */
export function parseSlabinfo(text: string): Slabs {
  const lines = text.split('\n').map((line) => line.split(/\s+/));
  const caches = lines.filter(([, active, , bytes]) => /^\d+$/.test(active ?? '') && /^\d+$/.test(bytes ?? ''));
  return new Map(caches.map(([name, active, , bytes]) => [name, { active: Number(active), bytes: Number(bytes) }]));
}

/** `TCP: inuse 1 orphan 0 tw 500 alloc 1 mem 51` */
export function parseSockstat(text: string): number {
  return Number(/^TCP: .*\bmem (\d+)/m.exec(text)?.[1] ?? 0) * PAGE_BYTES;
}

/** The kernel keeps caches of one object size as one, which slabinfo shows under the name of one of them. */
export type CacheIdOf = (name: string) => string;

function cacheId(name: string): string {
  try {
    return readlinkSync(`/sys/kernel/slab/${name}`);
  } catch {
    return name;
  }
}

/** Bytes of objects that so many connections added at the server's end. */
export function serverEndBytes(before: Slabs, after: Slabs, connections: number, idOf: CacheIdOf = cacheId): number {
  const shown = new Map([...after.keys()].map((name) => [idOf(name), name]));
  const grown = (name: string): { readonly objects: number; readonly bytes: number } => {
    const cache = shown.get(idOf(name)) ?? name;
    const now = after.get(cache);
    return { objects: (now?.active ?? 0) - (before.get(cache)?.active ?? 0), bytes: now?.bytes ?? 0 };
  };
  const distinct = (names: readonly string[]) => [...new Map(names.map((name) => [idOf(name), name])).values()];
  const halves = distinct(BOTH_ENDS).map((name) => {
    const { objects, bytes } = grown(name);
    return (objects * bytes) / 2;
  });
  const kmalloc = [...after.keys()].filter((name) => SERVER_END_KMALLOC.test(name));
  const wholes = distinct([...SERVER_END, ...kmalloc]).map((name) => {
    const { objects, bytes } = grown(name);
    const ofClients = CLIENT_END.filter((one) => idOf(one) === idOf(name)).length * connections;
    return (objects - ofClients) * bytes;
  });
  return [...halves, ...wholes].reduce((sum, bytes) => sum + bytes, 0);
}
