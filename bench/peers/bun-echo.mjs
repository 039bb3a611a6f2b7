/**
 * An echo server on Bun's own sockets, for the echo rows, where Bun is installed. It does what node-net-frames.mjs does: u32 big-endian
 * length and payload, the payload alone to a handler as a Buffer that may be kept (Bun too hands out fresh memory per read), an answer
 * encoded by `send`, one write per chunk, what the socket does not take waits for its drain. Bounds: longest frame, connections, bytes
 * that wait; a silent client is closed after 5 minutes, an incomplete frame after 30 seconds and its length at 16 KB/s.
 *
 * usage: bun bun-echo.mjs [MAX_CONNECTIONS]. Prints `listening on HOST:PORT` when ready.
 */
const LENGTH_BYTES = 4;
const MAX_FRAME_LENGTH = 16 * 1024 * 1024;
const MAX_CONNECTIONS = Number(process.argv[2] ?? 10_000);
const HIGH_WATER_BYTES = 64 * 1024;
const MAX_BUFFERED_BYTES = 32 * 1024 * 1024;
const IDLE_SECONDS = 300;
const PARTIAL_FRAME_MS = 30_000;
const PARTIAL_FRAME_BYTES_PER_MS = 16;
const SWEEP_MS = 1_000;

const echo = {
  frame(connection, payload) {
    // Who does not take its answers is not asked for more questions.
    if (!connection.send(payload)) connection.pause();
  },
  drain: (connection) => connection.resume(),
};

const incomplete = new Set();

class FrameConnection {
  constructor(socket, handlers) {
    this.socket = socket;
    this.handlers = handlers;
    /** Pieces of a frame that is not whole, their bytes, and how many it takes. */
    this.partial = [];
    this.partialBytes = 0;
    this.neededBytes = 0;
    this.partialDueMs = 0;
    this.isPaused = false;
    this.isReceiving = false;
    /** Payloads sent since the last flush. */
    this.payloads = [];
    this.payloadBytes = 0;
    /** Bytes that the socket did not take. */
    this.unsent = [];
    this.unsentBytes = 0;
  }

  /** Queues one frame. Those of one chunk leave together. */
  send(payload) {
    this.payloads.push(payload);
    this.payloadBytes += LENGTH_BYTES + payload.length;
    if (!this.isReceiving) this.flush();
    return this.unsentBytes === 0 && this.payloadBytes <= HIGH_WATER_BYTES;
  }

  pause() {
    // What was queued with this chunk may leave at once: only what is left over is waited for.
    this.isPaused = true;
  }

  resume() {
    this.isPaused = false;
    if (this.partialBytes > 0) this.setDeadline();
    this.socket.resume();
  }

  receive(chunk) {
    let bytes = chunk;
    if (this.partialBytes > 0) {
      this.keep(chunk);
      if (this.partialBytes < this.neededBytes) return;
      bytes = Buffer.concat(this.partial);
      this.partial = [];
      this.partialBytes = 0;
      incomplete.delete(this);
    }
    this.isReceiving = true;
    const rest = this.deliver(bytes);
    this.isReceiving = false;
    if (rest === undefined) return;
    if (rest.length > 0) {
      this.keep(rest);
      this.setDeadline();
      incomplete.add(this);
    }
    if (this.payloads.length > 0) this.flush();
    if (!this.isPaused) return;
    if (this.unsentBytes > 0) this.socket.pause();
    else this.handlers.drain(this);
  }

  /** What is left of the bytes; undefined: the frame was too long. */
  deliver(bytes) {
    let start = 0;
    this.neededBytes = LENGTH_BYTES;
    while (bytes.length - start >= LENGTH_BYTES) {
      const length = readLength(bytes, start);
      if (length > MAX_FRAME_LENGTH) {
        this.socket.terminate();
        return undefined;
      }
      const end = start + LENGTH_BYTES + length;
      if (end > bytes.length) {
        this.neededBytes = LENGTH_BYTES + length;
        break;
      }
      this.handlers.frame(this, bytes.subarray(start + LENGTH_BYTES, end));
      start = end;
    }
    return bytes.subarray(start);
  }

  keep(bytes) {
    this.partial.push(bytes);
    this.partialBytes += bytes.length;
  }

  setDeadline() {
    this.partialDueMs = performance.now() + PARTIAL_FRAME_MS + this.neededBytes / PARTIAL_FRAME_BYTES_PER_MS;
  }

  flush() {
    const bytes = Buffer.allocUnsafe(this.payloadBytes);
    let at = 0;
    for (const payload of this.payloads) {
      writeLength(bytes, at, payload.length);
      bytes.set(payload, at + LENGTH_BYTES);
      at += LENGTH_BYTES + payload.length;
    }
    this.payloads = [];
    this.payloadBytes = 0;
    const taken = this.unsentBytes > 0 ? 0 : Math.max(0, this.socket.write(bytes));
    if (taken === bytes.length) return;
    this.unsent.push(bytes.subarray(taken));
    this.unsentBytes += bytes.length - taken;
    if (this.unsentBytes > MAX_BUFFERED_BYTES) this.socket.terminate();
  }

  drained() {
    while (this.unsent.length > 0) {
      const taken = Math.max(0, this.socket.write(this.unsent[0]));
      this.unsentBytes -= taken;
      if (taken < this.unsent[0].length) {
        this.unsent[0] = this.unsent[0].subarray(taken);
        return;
      }
      this.unsent.shift();
    }
    this.handlers.drain(this);
  }
}

function readLength(bytes, at) {
  return ((bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3]) >>> 0;
}

function writeLength(bytes, at, length) {
  bytes[at] = length >>> 24;
  bytes[at + 1] = length >>> 16;
  bytes[at + 2] = length >>> 8;
  bytes[at + 3] = length;
}

setInterval(() => {
  const nowMs = performance.now();
  for (const connection of incomplete) {
    if (nowMs > connection.partialDueMs && !connection.isPaused) connection.socket.terminate();
  }
}, SWEEP_MS).unref();

let connections = 0;
const server = Bun.listen({
  hostname: '127.0.0.1',
  port: 0,
  socket: {
    open(socket) {
      socket.data = new FrameConnection(socket, echo);
      if (++connections > MAX_CONNECTIONS) return socket.terminate();
      socket.setNoDelay(true);
      socket.timeout(IDLE_SECONDS);
    },
    data: (socket, chunk) => socket.data.receive(chunk),
    drain: (socket) => socket.data.drained(),
    timeout: (socket) => socket.terminate(),
    error: (socket) => socket.terminate(),
    close(socket) {
      connections--;
      incomplete.delete(socket.data);
    },
  },
});
console.log(`listening on ${server.hostname}:${server.port} (Bun ${Bun.version})`);
