/** What a transport tells its socket, told on in Node's way. */
import type { CloseInfo } from '../engine/engine.js';
import { systemError } from './errors.js';
import { kLastWriteQueueSize, kOnRead, kTimer } from './fields.js';
import type { SocketMethods } from './socket.js';
import type { Transport } from './transport.js';

/** Each call runs in the socket's scope. */
export const socketEvents = {
  /** False, or what is left of the chunk: no more for now. Where it throws, `putBack` says what is left. */
  data(socket: SocketMethods, chunk: Buffer, transport: Transport): boolean | Buffer {
    const onRead = socket[kOnRead];
    if (socket.destroyed) return false;
    return onRead === undefined ? socket.push(chunk) : onRead.push(chunk, transport);
  },

  /** Anything happened: for the socket's timeout. */
  active(socket: SocketMethods): void {
    socket[kLastWriteQueueSize] = 0;
    if (socket[kTimer] !== null || socket._parent !== null) socket._unrefTimer();
  },

  ended(socket: SocketMethods): void {
    if ((socket as unknown as { _readableState: { endEmitted: boolean } })._readableState.endEmitted) return;
    socket.push(null);
    socket.read(0);
  },

  /** The engine closed it, not we. */
  failed(socket: SocketMethods, transport: Transport, info: CloseInfo): void {
    const attempt = transport.takeAttempt();
    if (attempt !== undefined) {
      attempt.failed(info);
      return;
    }
    const error = systemError(info.errorCode ?? 'ECONNABORTED', info.syscall ?? 'read');
    if (info.syscall !== 'write' || !transport.failWrite(error)) socket.destroy(error);
  },
};
