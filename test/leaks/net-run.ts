/**
 * Sockets of `ringway/net`, opened and closed for long: `net-run.js --engine E --sockets N`. Prints one line of JSON: what the process
 * holds before and after.
 */
import type { Server, Socket } from 'node:net';
import { readdirSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { settled } from './held.js';

const { values } = parseArgs({
  options: { engine: { type: 'string', default: 'epoll' }, sockets: { type: 'string', default: '2000' } },
});

/** Open at once. */
const WIDTH = 32;
const SHORT = Buffer.from('echo this');
/** None closed for so long: one hangs. */
const STUCK_MS = 30_000;
/** Long enough to be sent from where it lies, and to come in blocks that are sent on by reference. */
const LONG = Buffer.alloc(300_000, 'long');

process.env.RINGWAY_ENGINE = values.engine;
const net = await import('../../src/net/index.js');
if (net.engine.name !== values.engine) throw new Error(`${values.engine} was asked for and ${net.engine.name} runs`);

let open = 0;
let closedMs = performance.now();

setInterval(() => {
  if (performance.now() - closedMs < STUCK_MS) return;
  console.error(`${open} sockets are open, and none has closed for ${STUCK_MS / 1000} s`);
  process.exit(1);
}, 1_000).unref();

function counted(socket: Socket): Socket {
  open++;
  // A reset is one of the ways to end here.
  return socket
    .on('error', () => {})
    .on('close', () => {
      open--;
      closedMs = performance.now();
    });
}

/** One socket's life, of each kind in turn. It has closed when that resolves. */
type Way = (socket: Socket) => void;

function whenEchoed(socket: Socket, length: number, then: () => void): void {
  let received = 0;
  let echoed = false;
  socket.on('data', (chunk: Buffer) => {
    received += chunk.length;
    if (received >= length && !echoed) {
      echoed = true;
      then();
    }
  });
}

const WAYS: readonly Way[] = [
  // Both ends say that they are done.
  (socket) => {
    whenEchoed(socket, SHORT.length, () => socket.end());
    socket.write(SHORT);
  },
  (socket) => {
    whenEchoed(socket, LONG.length, () => socket.end());
    socket.write(LONG);
  },
  // Half-closed: what comes back comes behind our end.
  (socket) => {
    socket.resume();
    socket.end(LONG);
  },
  (socket) => {
    whenEchoed(socket, SHORT.length, () => socket.resetAndDestroy());
    socket.write(SHORT);
  },
  // With much on its way, both ways.
  (socket) => {
    whenEchoed(socket, SHORT.length, () => socket.destroy());
    socket.write(SHORT);
    socket.write(LONG);
  },
  // Never used.
  (socket) => void socket.destroy(),
];

async function churn(port: number, count: number): Promise<void> {
  let begun = 0;
  const next = (): Promise<void> =>
    new Promise((resolve) => {
      const way = WAYS[begun++ % WAYS.length];
      const socket = counted(net.connect({ port, host: '127.0.0.1' }));
      socket.once('connect', () => way(socket));
      socket.once('close', () => resolve());
    });
  const lane = async (): Promise<void> => {
    while (begun < count) await next();
  };
  await Promise.all(Array.from({ length: WIDTH }, lane));
}

const server: Server = net.createServer({ allowHalfOpen: true }, (socket) => {
  counted(socket).pipe(socket);
});
await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
const { port } = server.address() as { port: number };
const sockets = Number(values.sockets);

// What grows once and stays (pools, tables, compiled code, the heap that V8 keeps: 30 MB, level after some 10,000 sockets) is there before
// the first look.
await churn(port, Math.min(20_000, sockets));
const before = await settled(() => open);
const startMs = performance.now();
await churn(port, sockets);
const seconds = Math.round((performance.now() - startMs) / 100) / 10;
const after = await settled(() => open);
await new Promise((resolve) => server.close(resolve));
const { name } = net.engine;
console.log(JSON.stringify({ engine: name, seconds, before, after, fdsAtEnd: readdirSync('/proc/self/fd').length }));
