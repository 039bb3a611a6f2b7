// A peer that breaks the connection off while bytes of ours wait for it: no truncated stream may look whole.
import { mkdtempSync, rmSync } from 'node:fs';
import nodeNet, { type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'vitest';
import { describeNets, once, type World } from '../support/net-worlds.js';

/** More than the kernel takes of a peer that does not read. */
const TOO_MUCH = 20 * 1024 * 1024;

interface Stalled {
  readonly client: Socket;
  readonly peer: Socket;
}

/** A client of which the peer, Node's own, reads nothing, and that has read what the peer wrote. */
async function stalled(world: World, path?: string): Promise<Stalled> {
  const server = nodeNet.createServer({ pauseOnConnect: true, allowHalfOpen: true });
  world.cleanUp(() => server.close());
  server.listen(path === undefined ? { port: 0, host: '127.0.0.1' } : { path });
  await once(server, 'listening');
  const where = path === undefined ? { port: (server.address() as AddressInfo).port, host: '127.0.0.1' } : { path };
  if (path === undefined) world.name((where as { port: number }).port, 'the port');
  const accepted = once(server, 'connection');
  const client = world.watch('client', world.net.connect(where as never));
  const [peer] = (await accepted) as [Socket];
  world.cleanUp(() => peer.destroy());
  peer.on('error', () => {});
  peer.write('partial');
  await once(client, 'data');
  client.write(Buffer.alloc(TOO_MUCH));
  // What is written leaves when the turn is over.
  for (let i = 0; i < 20; i++) await new Promise(setImmediate);
  return { client, peer };
}

describeNets('net: resets', ({ same, own }) => {
  same('a reset while a write is pending', async (world) => {
    const { client, peer } = await stalled(world);
    peer.resetAndDestroy();
    await once(client, 'close');
    world.log('client', 'bytes', client.bytesRead);
  });

  same('a peer that is closed with our bytes unread', async (world) => {
    const { client, peer } = await stalled(world);
    peer.destroy();
    await once(client, 'close');
  });

  // Node tells the end that never came: docs/net.md.
  own('bytes and a reset in one turn: the bytes, and then the reset', async (world) => {
    const { client, peer } = await stalled(world);
    peer.write(' download');
    peer.destroy();
    await once(client, 'close');
    const told = JSON.parse(JSON.stringify(world.logs.client)) as [string, unknown][];
    expect(told.slice(-3)).toMatchObject([
      ['data', 'partial download'],
      ['error', { code: 'ECONNRESET', syscall: 'read' }],
      ['close', true],
    ]);
  });

  same('an end, and a reset later', async (world) => {
    const { client, peer } = await stalled(world);
    const ended = once(client, 'end');
    peer.end(' and whole');
    await ended;
    peer.destroy();
    await once(client, 'close');
  });

  same('a reset while a write is pending and nobody reads', async (world) => {
    const { client, peer } = await stalled(world);
    client.pause();
    // Node notices that nobody reads when the next bytes come.
    peer.write('unread');
    for (let i = 0; i < 20; i++) await new Promise(setImmediate);
    world.log('client', 'paused', client.isPaused());
    peer.resetAndDestroy();
    await once(client, 'close');
  });

  same('a unix socket whose peer is closed with our bytes unread', async (world) => {
    const folder = mkdtempSync(join(tmpdir(), 'ringway-'));
    world.cleanUp(() => rmSync(folder, { recursive: true }));
    const { client, peer } = await stalled(world, join(folder, 'socket'));
    peer.destroy();
    await once(client, 'close');
  });
});
