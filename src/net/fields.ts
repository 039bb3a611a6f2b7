/**
 * Names of what a socket keeps for itself. Private fields cannot be: `Socket.call(this)` gives them to objects that were
 * made elsewhere.
 */
export const kTransport = Symbol('transport');
export const kTimer = Symbol('timer');
export const kLastWriteQueueSize = Symbol('lastWriteQueueSize');
export const kNoDelay = Symbol('noDelay');
/** Undefined: no keep-alive. */
export const kKeepAliveDelayS = Symbol('keepAliveDelayS');
/** Of a transport that is no more. */
export const kFinalBytes = Symbol('finalBytes');
export const kOnRead = Symbol('onRead');
export const kIsReset = Symbol('isReset');
export const kBlockList = Symbol('blockList');
