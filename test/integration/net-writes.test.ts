// Writes: when their memory is the writer's again, who hears of their failure, and what of them arrives.
import nodeNet, { type AddressInfo, type Socket } from 'node:net';
import { describeNets, once, type World } from '../support/net-worlds.js';

/** Our end is `client`, and so is what listens; the peer reads nothing unless asked. */
async function open(world: World, options: object = {}, reads = false): Promise<[Socket, Socket]> {
  let peer: Socket | undefined;
  const { server, port } = await world.listen(
    { pauseOnConnect: !reads, ...options },
    (socket) => {
      peer = socket;
    },
    { data: reads },
  );
  const client = world.connect(port, options, { data: false });
  await Promise.all([once(client, 'ready'), once(server, 'connection')]);
  return [client, peer as Socket];
}

/** What comes is an actor of its own: how it falls between the other events is the kernel's matter. */
function read(world: World, socket: Socket): void {
  socket.on('data', (chunk) => world.log('bytes', 'data', chunk));
  socket.resume();
}

/** Writes until the kernel and the socket have taken what they take; answers whether they ever stopped. */
function fill(socket: Socket, chunk: Buffer | string): boolean {
  for (let i = 0; i < 100_000; i++) if (!socket.write(chunk) && socket.writableLength > 0) return true;
  return false;
}

describeNets('net: writes', ({ same, own }) => {
  same('a buffer is filled again in the callback of its write', async (world) => {
    const [client] = await open(world, {}, true);
    for (const bytes of [32_768, 100, 16_384, 200_000]) {
      const buffer = Buffer.alloc(bytes);
      for (let i = 0; i < 8; i++) {
        buffer.fill(97 + i);
        await new Promise((done) => client.write(buffer, done));
      }
    }
    client.end();
    await world.allClosed();
  });

  same('a buffer is filled again in its callback, while the peer is slow', async (world) => {
    const [client, peer] = await open(world);
    const buffer = Buffer.alloc(1_000_000);
    setTimeout(() => read(world, peer), 30);
    for (let i = 0; i < 12; i++) {
      buffer.fill(97 + i);
      await new Promise((done) => client.write(buffer, done));
    }
    client.end();
    await world.allClosed();
  });

  same('corked parts, short and long, are filled again in their callbacks', async (world) => {
    const [client] = await open(world, {}, true);
    const parts = [10, 50_000, 3, 20_000, 5_000, 400_000].map((bytes) => Buffer.alloc(bytes));
    for (let round = 0; round < 5; round++) {
      client.cork();
      const written = parts.map((part, i) => {
        return new Promise<void>((done) =>
          client.write(part.fill(97 + round * 6 + i), () => done(void part.fill('!'))),
        );
      });
      client.write('words between');
      client.uncork();
      await Promise.all(written);
    }
    client.end('the end');
    await world.allClosed();
  });

  same('what was received is written back, and written over when that is done', async (world) => {
    const echo = (peer: Socket) => peer.on('data', (chunk) => peer.write(chunk, () => chunk.fill('!')));
    const { port } = await world.listen({}, echo, { data: false });
    const client = world.connect(port, {}, { data: false });
    read(world, client);
    client.end(Buffer.alloc(4_000_000, 'abcdefg'));
    await world.allClosed();
  });

  same('a large write counts whole while it waits', async (world) => {
    const [client, peer] = await open(world);
    client.write(Buffer.alloc(20_000_000));
    world.log('client', 'sizes', `${client.bytesWritten} ${client.writableLength} ${client.bufferSize}`);
    client.write(Buffer.alloc(100));
    client.cork();
    client.write('corked');
    client.write(Buffer.alloc(30_000_000));
    client.uncork();
    world.log('client', 'sizes', `${client.bytesWritten} ${client.writableLength} ${client.bufferSize}`);
    client.destroy();
    world.log('client', 'sizes', `${client.bytesWritten} ${client.writableLength} ${client.bufferSize}`);
    peer.resume();
    await world.allClosed();
  });

  for (const reads of [false, true]) {
    same(`the peer resets under a write, we ${reads ? 'read' : 'do not'}`, async (world) => {
      const [client, peer] = await open(world);
      if (reads) client.resume();
      else client.pause();
      // More than a paused socket takes in.
      if (!reads) await new Promise((done) => peer.write(Buffer.alloc(200_000), done));
      client.write(Buffer.alloc(20_000_000), (error) => world.log('writes', 'first', error));
      client.write('more', (error) => world.log('writes', 'second', error));
      client.end((error?: Error) => world.log('writes', 'end', error));
      setTimeout(() => peer.resetAndDestroy(), 30);
      await world.allClosed();
      world.log('client', 'state', client.errored, client.writableFinished);
    });
  }

  same('destroyed under a write', async (world) => {
    const [client, peer] = await open(world);
    client.write(Buffer.alloc(20_000_000), (error) => world.log('client', 'first', error));
    client.write('more', (error) => world.log('client', 'second', error));
    client.destroy();
    peer.resume();
    await world.allClosed();
  });

  // The peer is Node's in both worlds: whether it tells of the reset or of an end is for how it polls.
  same('resetAndDestroy: what was written before it is not taken back', async (world) => {
    const server = nodeNet.createServer();
    world.cleanUp(() => server.close());
    server.on('connection', (peer) =>
      peer.on('data', (chunk) => world.log('peer', 'data', chunk)).on('error', () => {}),
    );
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const client = world.connect((server.address() as AddressInfo).port);
    const [[peer]] = await Promise.all([once(server, 'connection') as Promise<[Socket]>, once(client, 'ready')]);
    client.write('last words', (error) => world.log('writes', 'last', error));
    client.write(Buffer.alloc(40_000, 'long'), (error) => world.log('writes', 'long', error));
    client.resetAndDestroy();
    await Promise.all([world.allClosed(), once(peer, 'close')]);
  });

  same('destroy, and long writes: the kernel takes what it takes', async (world) => {
    const [client] = await open(world, {}, true);
    client.write('short, ');
    client.write(Buffer.alloc(40_000, 'long'));
    client.write('short again');
    client.destroy();
    await world.allClosed();
  });

  same('end with a long chunk, destroySoon behind it, finish when the peer has taken it', async (world) => {
    const [client, peer] = await open(world);
    client.write('head');
    client.end(Buffer.alloc(12_000_000, 'body'), () => world.log('client', 'end callback'));
    client.destroySoon();
    world.log('client', 'state', client.writableFinished, client.destroyed);
    setTimeout(() => read(world, peer), 30);
    await world.allClosed();
  });

  same('half-open: a long answer after the peer has ended', async (world) => {
    const { port } = await world.listen({ allowHalfOpen: true }, (peer) => {
      peer.on('end', () => {
        peer.write(Buffer.alloc(3_000_000, 'answer'), () => world.log('peer', 'written'));
        peer.end('done');
      });
    });
    const client = world.connect(port, {}, { data: false });
    read(world, client);
    client.end('question');
    await world.allClosed();
  });

  for (const size of [100, 4_096, 65_536]) {
    own(`who obeys write holds little: chunks of ${size} bytes to a peer that does not read`, async (world) => {
      const [client] = await open(world);
      const stopped = fill(client, Buffer.alloc(size));
      const { writeQueueSize } = (client as unknown as { _handle: { writeQueueSize: number } })._handle;
      if (!stopped || writeQueueSize > 65_536) throw new Error(`stopped: ${stopped}, ${writeQueueSize} bytes wait`);
    });
  }
});
