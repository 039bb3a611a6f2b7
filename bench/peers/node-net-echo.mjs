/**
 * The peer of the echo rows: the frame server a careful engineer writes on node:net today, with an echo handler.
 *
 * - One pass over each chunk as it comes. Each whole frame goes to a handler as a view on the chunk (node allocates a new
 *   chunk per read, so a view may be kept): the only object made per frame.
 * - One write per chunk, however many frames were answered: a single answer is written as it is, small ones are copied
 *   together, large ones leave in one writev.
 * - A frame that is not whole is kept in pieces, and joined once, when it is whole.
 * - Bounded as a server must be: the longest frame, and no reading while the client does not take its answers.
 *
 * --in-place leaves the handler out: whole frames are found in the chunk and written back as they stand there. That is not
 * a server anyone could put a handler into, but the floor of what node:net itself costs; the bench shows it beside.
 *
 * usage: node node-net-echo.mjs [--port P] [--host H] [--in-place]
 * Prints `listening on HOST:PORT` when ready; ends on SIGTERM.
 */
import { createServer } from 'node:net';
import { parseArgs } from 'node:util';

const LENGTH_BYTES = 4;
const MAX_FRAME_LENGTH = 16 * 1024 * 1024;
/** Up to here copying answers together is cheaper than a writev of them. */
const MAX_COPY_BYTES = 16 * 1024;

const { values } = parseArgs({
  options: {
    port: { type: 'string', default: '0' },
    host: { type: 'string', default: '127.0.0.1' },
    'in-place': { type: 'boolean', default: false },
  },
});

/** Frames with a 4-byte big-endian length in front, delivered with it. */
class FrameConnection {
  #socket;
  #handler;
  /** Pieces of a frame that is not whole, their bytes, and how many it takes. */
  #partial = [];
  #partialBytes = 0;
  #neededBytes = 0;
  /** Answers of the chunk being handled. */
  #answers = [];
  #answerBytes = 0;

  constructor(socket, handler) {
    this.#socket = socket;
    this.#handler = handler;
    socket.on('data', (chunk) => this.#receive(chunk));
    socket.on('drain', () => socket.resume());
    socket.on('error', () => socket.destroy());
  }

  /** Queues a whole frame; it leaves with all others of this chunk. */
  send(frame) {
    this.#answers.push(frame);
    this.#answerBytes += frame.length;
  }

  #receive(chunk) {
    if (this.#partialBytes === 0) {
      this.#deliver(chunk);
      return;
    }
    this.#keep(chunk);
    if (this.#partialBytes < this.#neededBytes) return;
    const joined = Buffer.concat(this.#partial, this.#partialBytes);
    this.#partial = [];
    this.#partialBytes = 0;
    this.#deliver(joined);
  }

  #deliver(bytes) {
    let start = 0;
    this.#neededBytes = LENGTH_BYTES;
    while (bytes.length - start >= LENGTH_BYTES) {
      const frameBytes = LENGTH_BYTES + readLength(bytes, start);
      if (frameBytes > LENGTH_BYTES + MAX_FRAME_LENGTH) {
        this.#socket.destroy();
        return;
      }
      if (bytes.length - start < frameBytes) {
        this.#neededBytes = frameBytes;
        break;
      }
      this.#handler(this, bytes.subarray(start, start + frameBytes));
      start += frameBytes;
    }
    if (start < bytes.length) this.#keep(start === 0 ? bytes : bytes.subarray(start));
    if (this.#answers.length > 0) this.#flush();
  }

  #keep(bytes) {
    this.#partial.push(bytes);
    this.#partialBytes += bytes.length;
  }

  #flush() {
    const answers = this.#answers;
    if (answers.length === 1) this.#write(answers[0]);
    else if (this.#answerBytes <= MAX_COPY_BYTES) this.#write(join(answers, this.#answerBytes));
    else this.#writeAll(answers);
    answers.length = 0;
    this.#answerBytes = 0;
  }

  #writeAll(answers) {
    this.#socket.cork();
    for (const answer of answers) this.#write(answer);
    this.#socket.uncork();
  }

  #write(bytes) {
    if (!this.#socket.write(bytes)) this.#socket.pause();
  }
}

/** The floor: no handler, no object per frame, the frames of a chunk written back as one view on it. */
function echoInPlace(socket) {
  let partial = null;
  socket.on('drain', () => socket.resume());
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk) => {
    const bytes = partial === null ? chunk : Buffer.concat([partial, chunk]);
    let end = 0;
    while (bytes.length - end >= LENGTH_BYTES) {
      const frameBytes = LENGTH_BYTES + readLength(bytes, end);
      if (frameBytes > LENGTH_BYTES + MAX_FRAME_LENGTH) {
        socket.destroy();
        return;
      }
      if (bytes.length - end < frameBytes) break;
      end += frameBytes;
    }
    partial = end === bytes.length ? null : bytes.subarray(end);
    if (end > 0 && !socket.write(end === bytes.length ? bytes : bytes.subarray(0, end))) socket.pause();
  });
}

/** By byte: V8 compiles it to a handful of loads, without readUInt32BE's checks. */
function readLength(bytes, at) {
  return ((bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3]) >>> 0;
}

/** Buffer.concat without its checks of every element. */
function join(pieces, totalBytes) {
  const joined = Buffer.allocUnsafe(totalBytes);
  let at = 0;
  for (const piece of pieces) {
    joined.set(piece, at);
    at += piece.length;
  }
  return joined;
}

function echo(connection, frame) {
  connection.send(frame);
}

const accept = values['in-place'] ? echoInPlace : (socket) => new FrameConnection(socket, echo);
const server = createServer({ noDelay: true }, accept);
server.listen({ port: Number(values.port), host: values.host, backlog: 1024 }, () => {
  const { address, port } = server.address();
  console.log(`listening on ${address}:${port} (node:net)`);
});
process.on('SIGTERM', () => process.exit(0));
process.on('SIGINT', () => process.exit(0));
