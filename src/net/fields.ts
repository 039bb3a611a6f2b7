/**
 * Names of what a socket keeps for itself. Private fields cannot be: `Socket.call(this)` gives them to objects that were
 * made elsewhere.
 */
export const kTransport = Symbol('transport');
export const kTimer = Symbol('timer');
export const kLastWriteQueueSize = Symbol('lastWriteQueueSize');
export const kNoDelay = Symbol('noDelay');
export const kKeepAlive = Symbol('keepAlive');
export const kKeepAliveDelayS = Symbol('keepAliveDelayS');
export const kBytesRead = Symbol('bytesRead');
export const kBytesWritten = Symbol('bytesWritten');
export const kOnRead = Symbol('onRead');
export const kIsReset = Symbol('isReset');
export const kBlockList = Symbol('blockList');
