/** The one line that a command prints once it is ready: where it listens, and which engine runs and why. */
import { isIPv4, isIPv6 } from 'node:net';
import type { BoundAddress, Engine } from '../engine/engine.js';
import { formatAddress } from './explain-error.js';

export type { BoundAddress };

export function describeAddress(address: BoundAddress): string {
  return 'path' in address ? `unix:${address.path}` : formatAddress(address.host, address.port);
}

/** `io_uring, 2 reactors: reason`; `0 reactors` are told as what they are. */
export function describeEngine(engine: Pick<Engine, 'name' | 'reactors' | 'reason'>): string {
  const { name, reactors, reason } = engine;
  if (name === 'portable') return `${name}: ${reason}`;
  if (reactors === 0) return `${name}, in the main loop: ${reason}`;
  return `${name}, ${reactors} ${reactors === 1 ? 'reactor' : 'reactors'}: ${reason}`;
}

export function isLoopback(address: BoundAddress): boolean {
  if ('path' in address) return true;
  const { host } = address;
  return (
    (isIPv4(host) && host.startsWith('127.')) || (isIPv6(host) && (host === '::1' || host.startsWith('::ffff:127.')))
  );
}

/** `listening on 127.0.0.1:8080 (io_uring, 1 reactor: …)`; addresses that other machines can reach are named once more. */
export function readyLine(
  engine: Pick<Engine, 'name' | 'reactors' | 'reason'>,
  addresses: readonly BoundAddress[],
  admin?: BoundAddress,
): string {
  const open = [...addresses, ...(admin === undefined ? [] : [admin])].filter((address) => !isLoopback(address));
  const warning = open.length === 0 ? '' : `; reachable from other machines: ${open.map(describeAddress).join(', ')}`;
  const adminPart = admin === undefined ? '' : `, admin on ${describeAddress(admin)}`;
  return `listening on ${addresses.map(describeAddress).join(', ')}${adminPart} (${describeEngine(engine)}${warning})`;
}
