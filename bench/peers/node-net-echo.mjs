/**
 * The peer of the echo rows: an echo on the frame server of node-net-frames.mjs, with the handler that `ringway echo` has.
 *
 * --in-place leaves handler and encoding out: whole frames are found in the chunk and written back as they stand there. That is not
 * a server anyone could put a handler into, but the floor of what node:net itself costs; the bench shows it beside.
 *
 * usage: node node-net-echo.mjs [--port P] [--host H] [--max-connections N] [--in-place]
 * Prints `listening on HOST:PORT` when ready; ends on SIGTERM.
 */
import { createServer } from 'node:net';
import { parseArgs } from 'node:util';
import { createFrameServer, readLength } from './node-net-frames.mjs';

const LENGTH_BYTES = 4;
const MAX_FRAME_LENGTH = 16 * 1024 * 1024;

const { values } = parseArgs({
  options: {
    port: { type: 'string', default: '0' },
    host: { type: 'string', default: '127.0.0.1' },
    'max-connections': { type: 'string', default: '10000' },
    'in-place': { type: 'boolean', default: false },
  },
});

const echo = {
  frame(connection, payload) {
    // Who does not take its answers is not asked for more questions.
    if (!connection.send(payload)) connection.pause();
  },
  drain: (connection) => connection.resume(),
};

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

const maxConnections = Number(values['max-connections']);
const server = values['in-place']
  ? createServer({ noDelay: true }, echoInPlace)
  : createFrameServer({ maxConnections }, echo);
server.listen({ port: Number(values.port), host: values.host, backlog: 1024 }, () => {
  const { address, port } = server.address();
  console.log(`listening on ${address}:${port} (node:net)`);
});
process.on('SIGTERM', () => process.exit(0));
process.on('SIGINT', () => process.exit(0));
