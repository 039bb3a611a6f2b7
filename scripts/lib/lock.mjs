import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { root } from './root.mjs';
import { say } from './run.mjs';

// A name in Linux's abstract socket namespace: the kernel frees it when its holder ends, however it ends.
const name = `\0ringway-setup-${createHash('sha256').update(root).digest('hex').slice(0, 16)}`;

/**
 * Runs a step of the set-up while no other process (an `npm start` beside an `npm test`) runs one in this folder.
 * Elsewhere than on Linux there is no native build to protect, and no lock.
 */
export async function withSetupLock(body) {
  if (process.platform !== 'linux') return body();
  let lock = await take();
  if (!lock) say('waiting for another set-up in this folder');
  while (!lock) {
    await untilReleased();
    lock = await take();
  }
  try {
    return await body();
  } finally {
    lock.close();
  }
}

async function take() {
  const waiting = new Set();
  const server = createServer((socket) => waiting.add(socket.on('error', () => {})));
  server.unref();
  server.listen(name);
  try {
    await once(server, 'listening');
  } catch (error) {
    if (error.code === 'EADDRINUSE') return undefined;
    throw error;
  }
  return {
    close() {
      server.close();
      for (const socket of waiting) socket.destroy();
    },
  };
}

/** A waiter stays connected to the holder; the connection ends with the lock. */
async function untilReleased() {
  const socket = connect(name);
  socket.on('error', () => {});
  socket.resume();
  await once(socket, 'close');
}
