/** Addresses in Node's form. */
import type { Connection } from '../engine/engine.js';

export interface SocketName {
  address?: string;
  family?: string;
  port?: number;
}

export function remoteName(connection: Connection): SocketName {
  if (connection.remoteFamily === 'unix' || connection.remoteAddress === '') return {};
  return { address: connection.remoteAddress, family: connection.remoteFamily, port: connection.remotePort };
}

export function localName(connection: Connection): SocketName {
  const { localAddress, localFamily } = connection;
  if (localFamily === 'unix' || localAddress === '') return {};
  return { address: localAddress, family: localFamily, port: connection.localPort };
}
