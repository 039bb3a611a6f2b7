import type { BlockList } from 'node:net';

/** Whether a `blockList` option holds the address. */
export function isBlocked(blockList: unknown, address: string, family: string | number): boolean {
  if (!blockList) return false;
  const name = family === 6 || family === 'IPv6' ? 'ipv6' : 'ipv4';
  return (blockList as BlockList).check(address, name);
}
