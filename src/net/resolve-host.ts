import { lookup } from 'node:dns';
import { isIP } from 'node:net';

/** The first address of a host to listen on. */
export function resolveHost(host: string, done: (error: Error | null, address: string) => void): void {
  lookup(host, (error, address) => {
    done(error, isIP(address) ? address : '0.0.0.0');
  });
}
