/** What a transport tells its socket, told on in Node's way. */
import type { CloseInfo } from '../engine/engine.js';
import { systemError } from './errors.js';
import { kLastWriteQueueSize, kOnRead, kTimer } from './fields.js';
import type { SocketMethods } from './socket.js';
import type { Transport, TransportEvents, TransportOwner } from './transport.js';

const events: TransportEvents<SocketMethods> = {
  opened(_socket, transport) {
    const { attempt } = transport;
    transport.attempt = undefined;
    attempt?.opened();
  },

  data(socket, chunk, transport) {
    const onRead = socket[kOnRead];
    if (socket.destroyed) return false;
    return onRead === undefined ? socket.push(chunk) : onRead.push(chunk, transport);
  },

  active(socket) {
    socket[kLastWriteQueueSize] = 0;
    if (socket[kTimer] !== null || socket._parent !== null) socket._unrefTimer();
  },

  ended(socket) {
    if ((socket as unknown as { _readableState: { endEmitted: boolean } })._readableState.endEmitted) return;
    socket.push(null);
    socket.read(0);
  },

  failed(socket, transport: Transport, info: CloseInfo) {
    const { attempt } = transport;
    transport.attempt = undefined;
    if (attempt !== undefined) {
      attempt.failed(info);
      return;
    }
    const error = systemError(info.errorCode ?? 'ECONNABORTED', info.syscall ?? 'read');
    if (info.syscall !== 'write' || !transport.failWrite(error)) socket.destroy(error);
  },
};

export const socketEvents = events as TransportEvents<TransportOwner>;
