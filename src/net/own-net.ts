/** The module's functions, on the engine. */
import { channel } from 'node:diagnostics_channel';
import { type NormalizedArguments, normalizeArguments } from './arguments.js';
import { Server, type ServerMethods } from './server.js';
import { Socket, type SocketMethods } from './socket.js';

const socketChannel = channel('net.client.socket');

export function connect(...args: unknown[]): SocketMethods {
  const normalized: NormalizedArguments = normalizeArguments(args);
  const [options] = normalized;
  const socket = new Socket(options);
  if (socketChannel.hasSubscribers) socketChannel.publish({ socket });
  if (options.timeout) socket.setTimeout(options.timeout as number);
  return socket.connect(normalized);
}

export function createServer(options?: unknown, connectionListener?: unknown): ServerMethods {
  return new Server(options, connectionListener);
}

export { normalizeArguments, Server, Socket };
