// What `noDelay` and `keepAlive` do to the kernel's socket, in every way of asking for them: of what it says nothing of itself.
import type { Socket } from 'node:net';
import { expect } from 'vitest';
import { keepAliveDueS, socketOptions, whyNoSocketOptions } from '../support/kernel-sockets.js';
import { describeNets, once, type World } from '../support/net-worlds.js';

/** Both ends of a connection, which is open. */
async function pair(world: World, ofServer: object, ofClient: object): Promise<{ client: Socket; peer: Socket }> {
  const { server, port } = await world.listen(ofServer);
  const client = world.connect(port, ofClient);
  const [[peer]] = (await Promise.all([once(server, 'connection'), once(client, 'ready')])) as [[Socket], unknown];
  return { client, peer };
}

/**
 * Tells when the kernel will probe, in hundreds of seconds: whatever a test asks for, it looks before a hundred seconds of it
 * are over. Nothing may be on its way between the two.
 */
function due(socket: Socket): string {
  const dueS = keepAliveDueS(socket);
  return dueS === undefined ? 'never' : `in ${Math.ceil(dueS / 100)} × 100 s`;
}

/** Each way of asking, which both modules must turn into the same; `asked` is what the kernel has when all was asked for. */
function describeOptions<T>(name: string, read: (socket: Socket) => T, asked: T): void {
  const look = (world: World, actor: string, socket: Socket) => world.log(actor, 'has', read(socket));

  describeNets(name, ({ same, own }) => {
    own('are what was asked for', async (world) => {
      const options = { noDelay: true, keepAlive: true, keepAliveInitialDelay: 1_000_000 };
      const { client, peer } = await pair(world, options, options);
      expect(read(client)).toEqual(asked);
      expect(read(peer)).toEqual(asked);
      client.setNoDelay(false).setKeepAlive(false);
      expect(read(client)).not.toEqual(asked);
    });

    same('nobody asked for anything', async (world) => {
      const { client, peer } = await pair(world, {}, {});
      look(world, 'client', client);
      look(world, 'peer', peer);
    });

    same('options of the server, and of the client', async (world) => {
      for (const [delayMs, other] of [
        [1_000_000, 2_000_000],
        [3_000_999, 0],
      ]) {
        const of = (keepAliveInitialDelay: number) => ({ noDelay: true, keepAlive: true, keepAliveInitialDelay });
        const { client, peer } = await pair(world, of(delayMs), of(other));
        look(world, 'client', client);
        look(world, 'peer', peer);
      }
    });

    same('one of them alone', async (world) => {
      for (const options of [{ noDelay: true }, { keepAlive: true }, { keepAliveInitialDelay: 1_000_000 }]) {
        const { client, peer } = await pair(world, options, options);
        look(world, 'client', client);
        look(world, 'peer', peer);
      }
    });

    same('set and taken back on an open socket', async (world) => {
      const { client, peer } = await pair(world, {}, {});
      for (const [noDelay, keepAlive, delayMs] of [
        [true, true, 1_000_000],
        [undefined, true, 2_000_000],
        [false, false, 0],
        [true, true, undefined],
        [false, true, 4_000_000],
      ] as const) {
        client.setNoDelay(noDelay).setKeepAlive(keepAlive, delayMs);
        look(world, 'client', client);
      }
      peer.setNoDelay(true).setKeepAlive(true, 7_000_000);
      look(world, 'peer', peer);
    });

    same('set before the socket is open, and before it connects', async (world) => {
      const { port } = await world.listen();
      const early = world.watch('early', new world.net.Socket());
      early.setNoDelay(true).setKeepAlive(true, 5_000_000);
      early.connect(port, '127.0.0.1');
      await once(early, 'ready');
      look(world, 'early', early);
      const client = world.connect(port);
      client.setNoDelay().setKeepAlive(true, 6_000_000);
      await once(client, 'ready');
      look(world, 'client', client);
    });
  });
}

describeOptions('net: keepalive, by the timer of the kernel', due, 'in 10 × 100 s');

const missing = whyNoSocketOptions();
if (missing !== undefined) console.log(`not tested: what getsockopt(2) says of sockets: ${missing}`);
else {
  const asked = { noDelay: true, keepAlive: true, idleS: 1_000, intervalS: 1, probes: 10 };
  describeOptions('net: options, by getsockopt', socketOptions, asked);
}
