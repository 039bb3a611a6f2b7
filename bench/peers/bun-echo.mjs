/**
 * An echo server on Bun's own sockets, for the echo rows, where Bun is installed: frames with a 4-byte length, found in the chunk,
 * each given to a handler as a view, answers written once per chunk; what the socket does not take waits for its drain.
 *
 * usage: bun bun-echo.mjs. Prints `listening on HOST:PORT` when ready.
 */
const LENGTH_BYTES = 4;
const MAX_FRAME_LENGTH = 16 * 1024 * 1024;

function readLength(bytes, at) {
  return ((bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3]) >>> 0;
}

function receive(socket, chunk) {
  const state = socket.data;
  const bytes = state.partial === null ? chunk : Buffer.concat([state.partial, chunk]);
  let start = 0;
  const answers = [];
  while (bytes.length - start >= LENGTH_BYTES) {
    const frameBytes = LENGTH_BYTES + readLength(bytes, start);
    if (frameBytes > LENGTH_BYTES + MAX_FRAME_LENGTH) {
      socket.end();
      return;
    }
    if (bytes.length - start < frameBytes) break;
    answers.push(bytes.subarray(start, start + frameBytes));
    start += frameBytes;
  }
  // Bun may use the chunk's memory again: what is kept is copied.
  state.partial = start === bytes.length ? null : Buffer.from(bytes.subarray(start));
  if (answers.length > 0) send(socket, answers.length === 1 ? answers[0] : Buffer.concat(answers));
}

function send(socket, bytes) {
  const { unsent } = socket.data;
  if (unsent.length > 0) {
    unsent.push(Buffer.from(bytes));
    return;
  }
  const taken = Math.max(0, socket.write(bytes));
  if (taken < bytes.length) unsent.push(Buffer.from(bytes.subarray(taken)));
}

function drain(socket) {
  const { unsent } = socket.data;
  while (unsent.length > 0) {
    const taken = Math.max(0, socket.write(unsent[0]));
    if (taken < unsent[0].length) {
      unsent[0] = unsent[0].subarray(taken);
      return;
    }
    unsent.shift();
  }
}

const server = Bun.listen({
  hostname: '127.0.0.1',
  port: 0,
  socket: {
    open(socket) {
      socket.data = { partial: null, unsent: [] };
    },
    data: receive,
    drain,
    error: (socket) => socket.end(),
  },
});
console.log(`listening on ${server.hostname}:${server.port} (Bun ${Bun.version})`);
