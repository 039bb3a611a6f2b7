/** Frames on the sockets of node-net-gateway.mjs: found in place, sent together, each with a deadline to become whole. */

const MAX_FRAME_BYTES = 16 * 1024 * 1024;
const PARTIAL_FRAME_MS = 30_000;
const PARTIAL_FRAME_BYTES_PER_MS = 16;
/** From here on a piece is cheaper sent from where it lies: a Buffer to copy 4 KB into is beyond Node's pool. */
export const LARGE_BYTES = 2048;

export function readU32(bytes, at) {
  return ((bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3]) >>> 0;
}

export function writeU32(bytes, at, value) {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}

/** Sockets with a frame that is not whole. */
const incomplete = new Set();

/** Ends those whose frame should have been whole by now. */
export function expireFrames(nowMs) {
  for (const frames of incomplete) frames.expire(nowMs);
}

/** A socket that delivers frames with a 4-byte length in front as views, and gathers what is sent until it is flushed. */
export class FrameSocket {
  constructor(socket, leastBytes, onFrame) {
    this.socket = socket;
    this.leastBytes = leastBytes;
    this.onFrame = onFrame;
    this.pieces = [];
    this.pieceBytes = 0;
    this.hasLarge = false;
    this.partial = [];
    this.partialBytes = 0;
    this.neededBytes = 0;
    this.partialDueMs = 0;
    socket.on('close', () => incomplete.delete(this));
  }

  /** False: broke the protocol, and was destroyed. */
  receive(chunk) {
    let bytes = chunk;
    if (this.partialBytes > 0) {
      this.keep(chunk);
      if (this.partialBytes < this.neededBytes) return true;
      bytes = Buffer.concat(this.partial, this.partialBytes);
      this.partial = [];
      this.partialBytes = 0;
      incomplete.delete(this);
    }
    let start = 0;
    this.neededBytes = 4;
    while (bytes.length - start >= 4) {
      const length = readU32(bytes, start);
      if (length > MAX_FRAME_BYTES || length < this.leastBytes) {
        this.socket.destroy();
        return false;
      }
      if (bytes.length - start < 4 + length) {
        this.neededBytes = 4 + length;
        break;
      }
      this.onFrame(bytes, start, start + 4 + length);
      start += 4 + length;
    }
    if (start < bytes.length) {
      this.keep(start === 0 ? bytes : bytes.subarray(start));
      this.setDeadline(performance.now());
      incomplete.add(this);
    }
    return true;
  }

  setDeadline(nowMs) {
    this.partialDueMs = nowMs + PARTIAL_FRAME_MS + this.neededBytes / PARTIAL_FRAME_BYTES_PER_MS;
  }

  /** Time in which we did not read is not the peer's. */
  expire(nowMs) {
    if (this.socket.isPaused()) this.setDeadline(nowMs);
    else if (nowMs > this.partialDueMs) this.socket.destroy();
  }

  keep(bytes) {
    this.partial.push(bytes);
    this.partialBytes += bytes.length;
  }

  push(bytes) {
    this.pieces.push(bytes);
    this.pieceBytes += bytes.length;
    if (bytes.length >= LARGE_BYTES) this.hasLarge = true;
  }

  /** Answers false when the socket holds more than it should. */
  flush() {
    const { pieces, socket } = this;
    if (pieces.length === 0 || socket.destroyed) return true;
    let room;
    if (pieces.length === 1) room = socket.write(pieces[0]);
    else if (!this.hasLarge) room = socket.write(join(pieces, 0, pieces.length));
    else room = this.writeParts();
    this.pieces = [];
    this.pieceBytes = 0;
    this.hasLarge = false;
    return room;
  }

  /** Large pieces from where they lie, small ones between them together, all in one writev. */
  writeParts() {
    const { pieces, socket } = this;
    let room = true;
    let first = 0;
    socket.cork();
    for (let at = 0; at < pieces.length; at++) {
      if (pieces[at].length < LARGE_BYTES) continue;
      if (first < at) socket.write(join(pieces, first, at));
      room = socket.write(pieces[at]);
      first = at + 1;
    }
    if (first < pieces.length) room = socket.write(join(pieces, first, pieces.length));
    socket.uncork();
    return room;
  }
}

/** Buffer.concat of some of them, without its checks of every element. */
function join(pieces, from, to) {
  if (to - from === 1) return pieces[from];
  let totalBytes = 0;
  for (let i = from; i < to; i++) totalBytes += pieces[i].length;
  const joined = Buffer.allocUnsafe(totalBytes);
  let at = 0;
  for (let i = from; i < to; i++) {
    joined.set(pieces[i], at);
    at += pieces[i].length;
  }
  return joined;
}
