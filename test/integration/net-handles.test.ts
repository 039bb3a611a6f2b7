// Handles of Node's, which other modules and other processes hand over: `new Socket({ handle })`.
import nodeNet, { type AddressInfo, type Socket } from 'node:net';
import { expect } from 'vitest';
import { describeNets, once, type World } from '../support/net-worlds.js';

/** What Node's own server makes of a connection before there is a socket of it. */
interface Accepted {
  close(): void;
}

interface Accepting {
  readonly _handle: { onconnection(error: number, handle: Accepted): void };
}

/** A connection: one end as a handle that nobody has taken, the other as a socket of Node's. */
async function accepted(world: World): Promise<{ handle: Accepted; other: Socket }> {
  const server = nodeNet.createServer();
  world.cleanUp(() => server.close());
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const taken = new Promise<Accepted>((resolve) => {
    (server as unknown as Accepting)._handle.onconnection = (_error, handle) => resolve(handle);
  });
  const { port } = server.address() as AddressInfo;
  world.name(port, 'the port');
  const other = world.watch('other', nodeNet.connect(port, '127.0.0.1'));
  return { handle: await taken, other };
}

function socketOf(world: World, handle: unknown): Socket {
  return new world.net.Socket({ handle } as never);
}

describeNets('net: handles', ({ same, own }) => {
  same('of a handle a socket of Node comes back, which works', async (world) => {
    const { handle, other } = await accepted(world);
    const socket = world.watch('socket', socketOf(world, handle));
    world.log('socket', 'is', socket.constructor === nodeNet.Socket, socket instanceof world.net.Socket);
    world.log('socket', 'names', socket.localPort, socket.remoteFamily, socket.readyState);
    other.write('to the handle');
    await once(socket, 'data');
    socket.end('from the handle');
    await once(other, 'end');
    other.end();
    await world.allClosed();
  });

  same('by a call without new, by both names', async (world) => {
    for (const make of [
      (handle: unknown) => (world.net.Socket as unknown as (options: object) => Socket)({ handle }),
      (handle: unknown) => (world.net as unknown as { Stream(options: object): Socket }).Stream({ handle }),
    ]) {
      const { handle, other } = await accepted(world);
      const socket = make(handle);
      world.cleanUp(() => socket.destroy());
      world.log('socket', 'is', socket.constructor === nodeNet.Socket);
      socket.end('by a call');
      world.log('socket', 'ended', socket.writableEnded);
      other.end();
      await world.allClosed();
    }
  });

  same('what is no handle', (world) => {
    for (const handle of [1, 'handle', true]) {
      world.try('socket', `of ${handle}`, () => socketOf(world, handle).readyState);
    }
    for (const handle of [undefined, null, 0, '']) {
      const socket = socketOf(world, handle);
      world.log('socket', `of ${handle}`, socket.pending, socket.constructor === world.net.Socket);
    }
  });

  own("an heir's socket is Node's too: what the heir adds is not there", async (world) => {
    class Heir extends world.net.Socket {
      readonly field = 'here';
      method(): void {}
    }
    const { handle, other } = await accepted(world);
    const socket = new Heir({ handle } as never);
    world.watch('socket', socket);
    expect(socket.constructor).toBe(nodeNet.Socket);
    expect(socket).not.toHaveProperty('method');
    // The heir's constructor ran on what came back.
    expect(socket.field).toBe('here');
    other.end();
    socket.end();
    await world.allClosed();
  });
});
