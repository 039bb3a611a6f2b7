import type { AddressFamily } from './engine.js';

/** Of an address as connections have it: an IP address, or a unix socket's path, or nothing. */
export function familyOf(address: string, port: number): AddressFamily {
  if (port === 0) return 'unix';
  return address.includes(':') ? 'IPv6' : 'IPv4';
}
