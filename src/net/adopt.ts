/** Sockets made of what somebody else opened: a descriptor, or a handle of Node's. */
import { fstatSync } from 'node:fs';
import { Socket as NodeSocket } from 'node:net';
import type { Connection } from '../engine/engine.js';
import { clientInbox, netEngine, SOCKET_OPTIONS } from './engine.js';

/** The connected stream socket `fd` on the engine; undefined where it is something else. */
export function adoptDescriptor(fd: number): Connection | undefined {
  try {
    if (!fstatSync(fd).isSocket()) return undefined;
    return netEngine().adopt(fd, SOCKET_OPTIONS, clientInbox());
  } catch {
    // Node says what is wrong with it.
    return undefined;
  }
}

/**
 * Node's own socket, for what no engine of ours can serve: pipes, terminals, handles of Node's (from another process, or
 * from a library). Node throws where it cannot either.
 */
export function foreignSocket(options: { fd?: number; handle?: unknown }): unknown {
  return new NodeSocket(options as { fd?: number });
}
