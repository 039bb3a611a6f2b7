// A backend that accepts every connection, reads every request and never answers anything, pings neither.
import { createServer, type Server, type Socket } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { describeEngines } from '../support/engines.js';
import { failedTotal } from './support/ledger.js';
import { endScenes, Scene } from './support/scene.js';

const servers: Server[] = [];
const sockets = new Set<Socket>();

afterEach(() => {
  for (const server of servers.splice(0)) server.close();
  for (const socket of sockets) socket.destroy();
});

/** @param reads false: it does not even read. */
async function silentBackend(reads: boolean): Promise<number> {
  const server = createServer({ pauseOnConnect: !reads }, (socket) => {
    sockets.add(socket);
    socket.on('error', () => {});
    socket.on('close', () => sockets.delete(socket));
    if (reads) socket.resume();
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as { port: number }).port;
}

describeEngines('a backend that never answers', (driver) => {
  endScenes();

  test.each([
    ['reads', true],
    ['does not read', false],
  ])('and %s, beside one that does', async (what, reads) => {
    const scene = await Scene.open(driver, { backends: 1, more: async () => [await silentBackend(reads)] });
    const { exposed } = await scene.under(`a backend that ${what} and never answers`, () => scene.load(2, 10));
    expect(exposed.answered).toBeGreaterThan(failedTotal(exposed));
  });

  test('alone: every request ends by its deadline', async () => {
    const more = async () => [await silentBackend(true)];
    const scene = await Scene.open(driver, { backends: 0, more, pool: { deadlineMs: 300 } });
    const { exposed } = await scene.under('no backend but a silent one', () => scene.load(1.2, 5));
    expect(exposed.answered).toBe(0);
  });
});
