/** Sockets made of what somebody else opened: a descriptor, or a handle of Node's. */
import { Socket as NodeSocket } from 'node:net';
/**
 * Node's own socket, for what no engine of ours can serve: pipes, terminals, handles of Node's (from another process, or
 * from a library). Node throws where it cannot either.
 */
export function foreignSocket(options: { fd?: number; handle?: unknown }): unknown {
  if (options.handle) return new NodeSocket(options as { fd?: number });
  if (options.fd !== undefined) return new NodeSocket(options);
  return undefined;
}
