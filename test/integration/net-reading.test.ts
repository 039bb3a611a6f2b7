// Who reads, when, and how much: until somebody does, what the peer sends stays with it.
import type { AddressInfo, Socket } from 'node:net';
import { describeNets, once, type World } from '../support/net-worlds.js';

const PIECE = Buffer.alloc(1 << 20, 'piece');
/** Far more than both kernels' buffers hold. */
const PIECES = 48;

/** Writes it all as the peer takes it. */
function flood(peer: Socket): { written: number } {
  const state = { written: 0 };
  const next = () => {
    state.written++;
    if (state.written < PIECES) peer.write(PIECE, next);
    else peer.end();
  };
  peer.write(PIECE, next);
  return state;
}

/** The flood stands still, or is over. */
async function standsStill(state: { written: number }): Promise<void> {
  let before = -1;
  while (before !== state.written && state.written < PIECES) {
    before = state.written;
    for (let i = 0; i < 300; i++) await new Promise(setImmediate);
  }
}

async function flooded(world: World, options: object, pauses: (client: Socket) => void): Promise<Socket> {
  const { server, port } = await world.listen({}, () => {}, { data: false });
  const client = world.watch('client', world.net.connect({ port, host: '127.0.0.1', ...options }), { data: false });
  pauses(client);
  const [[peer]] = await Promise.all([once(server, 'connection') as Promise<[Socket]>, once(client, 'ready')]);
  const state = flood(peer);
  await standsStill(state);
  world.log('flood', 'is over', state.written === PIECES);
  world.log('flood', 'read', client.bytesRead, client.readableLength);
  return client;
}

async function rest(world: World, client: Socket): Promise<void> {
  let bytes = 0;
  client.on('data', (chunk) => {
    bytes += chunk.length;
  });
  client.resume();
  await world.allClosed();
  world.log('client', 'bytes', bytes);
}

describeNets('net: reading', ({ same }) => {
  same('a socket that is paused before it is open reads nothing', async (world) => {
    await rest(world, await flooded(world, {}, (client) => client.pause()));
  });

  same('a socket that is paused in the connect listener reads nothing', async (world) => {
    const client = await flooded(world, {}, (socket) => socket.once('connect', () => socket.pause()));
    await rest(world, client);
  });

  same('a socket that is not readable reads nothing', async (world) => {
    const client = await flooded(world, { readable: false }, () => {});
    client.destroy();
    await world.allClosed();
  });

  same('a socket that is not writable reads, and is over at the end', async (world) => {
    const { port } = await world.listen({}, (socket) => socket.end('all there is'));
    const client = world.connect(port, { writable: false });
    await once(client, 'close');
    await world.allClosed();
  });

  same('an accepted socket that is paused reads nothing', async (world) => {
    let accepted: Socket | undefined;
    const { server, port } = await world.listen({ pauseOnConnect: true }, (socket) => (accepted = socket), {
      data: false,
    });
    const client = world.connect(port, {}, { data: false });
    await Promise.all([once(server, 'connection'), once(client, 'ready')]);
    const state = flood(client);
    await standsStill(state);
    world.log('flood', 'is over', state.written === PIECES);
    client.resume();
    await rest(world, accepted as Socket);
  });

  for (const how of ['destroy', 'pause', 'false'] as const) {
    same(`onread: no more after ${how}`, async (world) => {
      // Nobody watches the peer: how it learns of the end depends on how much the kernel still held.
      const server = world.net.createServer((peer) => peer.on('error', () => {}).end('0123456789'));
      world.cleanUp(() => server.close());
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      const { port } = server.address() as AddressInfo;
      let reads = 0;
      const callback = (bytes: number, buffer: Uint8Array) => {
        world.log('client', 'read', Buffer.from(buffer.subarray(0, bytes)).toString());
        reads++;
        if (reads !== 2) return true;
        if (how === 'destroy') client.destroy();
        if (how === 'pause') client.pause();
        if (how !== 'destroy') {
          setImmediate(() => {
            world.log('client', 'later');
            client.resume();
          });
        }
        return how !== 'false';
      };
      const client = world.connect(port, { onread: { buffer: Buffer.alloc(3), callback } });
      await world.allClosed();
    });
  }
});
