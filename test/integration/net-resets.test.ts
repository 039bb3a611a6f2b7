// A peer that breaks the connection off while bytes of ours wait for it: no truncated stream may look whole.
import { mkdtempSync, rmSync } from 'node:fs';
import nodeNet, { type AddressInfo, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describeNets, once, type World } from '../support/net-worlds.js';

/** More than the kernel takes of a peer that does not read. */
const TOO_MUCH = 20 * 1024 * 1024;

interface Pair {
  readonly client: Socket;
  readonly peer: Socket;
}

/** A client of which the peer, Node's own, reads nothing, and that has read what the peer wrote. */
async function stalled(world: World, path?: string): Promise<Pair> {
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

/** A client, and its peer, which is Node's own. */
async function connected(world: World, options: object): Promise<Pair> {
  const server = nodeNet.createServer();
  world.cleanUp(() => server.close());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  world.name(port, 'the port');
  const accepted = once(server, 'connection');
  const client = world.connect(port, options);
  const [[peer]] = (await Promise.all([accepted, once(client, 'connect')])) as [[Socket], unknown];
  world.cleanUp(() => peer.destroy());
  peer.on('error', () => {});
  return { client, peer };
}

describeNets('net: resets', ({ same }) => {
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

  // Until libuv 1.51 between the bytes and the error an end that never came: it asks a socket that has hung up for no more.
  same('bytes and a reset in one turn, while a write is pending', async (world) => {
    const { client, peer } = await stalled(world);
    peer.write(' download');
    peer.destroy();
    await once(client, 'close');
  });

  for (const allowHalfOpen of [false, true]) {
    same(`bytes and a reset in one turn, allowHalfOpen ${allowHalfOpen}`, async (world) => {
      const { client, peer } = await connected(world, { allowHalfOpen });
      client.once('end', () => {
        world.log('client', 'state', client.readyState, client.destroyed, client.writable);
        if (allowHalfOpen) client.write('late', (error) => world.log('client', 'written', error));
      });
      peer.write('whole');
      peer.resetAndDestroy();
      await once(client, 'close');
      world.log('client', 'bytes', client.bytesRead);
    });
  }

  same('bytes and a reset in one turn, allowHalfOpen, and an end', async (world) => {
    const { client, peer } = await connected(world, { allowHalfOpen: true });
    client.once('end', () => client.end(() => world.log('client', 'ended')));
    peer.write('whole');
    peer.resetAndDestroy();
    await once(client, 'close');
  });

  same('bytes and a reset in one turn, and the bytes pause it', async (world) => {
    const { client, peer } = await connected(world, {});
    const closed = once(client, 'close');
    client.once('data', () => client.pause());
    peer.write('whole');
    peer.resetAndDestroy();
    await closed;
  });

  /** Its receiver asks for no more than it holds, and has not looked at that. */
  const full = async (world: World): Promise<Pair> => {
    const pair = await connected(world, { highWaterMark: 1 });
    pair.client.pause();
    pair.peer.write('whole');
    pair.peer.resetAndDestroy();
    for (let i = 0; i < 20; i++) await new Promise(setImmediate);
    world.log('client', 'state', pair.client.readyState, pair.client.destroyed, pair.client.readableLength);
    return pair;
  };

  same('bytes and a reset in one turn, to one that is full, and reads on', async (world) => {
    const { client } = await full(world);
    client.resume();
    await once(client, 'close');
    world.log('client', 'bytes', client.bytesRead);
  });

  same('bytes and a reset in one turn, to one that is full, and writes', async (world) => {
    const { client } = await full(world);
    client.write('late', (error) => world.log('client', 'written', error));
    await once(client, 'close');
  });

  same('bytes and a reset in one turn, to one that is full, and ends', async (world) => {
    const { client } = await full(world);
    client.end(() => world.log('client', 'ended'));
    await once(client, 'finish');
    client.resume();
    await once(client, 'close');
  });

  same('bytes and a reset in one turn, of which the first destroy it', async (world) => {
    const { client, peer } = await connected(world, {});
    client.once('data', () => client.destroy());
    peer.write('whole');
    peer.resetAndDestroy();
    await once(client, 'close');
  });

  same('bytes, and a reset later', async (world) => {
    const { client, peer } = await connected(world, {});
    peer.write('whole');
    await once(client, 'data');
    for (let i = 0; i < 20; i++) await new Promise(setImmediate);
    peer.resetAndDestroy();
    await once(client, 'close');
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
