// One connection over TCP: opening, both directions, half-closing, ending.
import type { Socket } from 'node:net';
import { describeNets, once } from '../support/net-worlds.js';

describeNets('net: tcp', ({ same }) => {
  same('echo', async (world) => {
    const { port } = await world.listen({}, (peer) => peer.on('data', (chunk) => peer.write(chunk)));
    const client = world.connect(port);
    client.write('hello ');
    client.write(Buffer.from('there'));
    let bytes = 0;
    client.on('data', (chunk) => {
      bytes += chunk.length;
      if (bytes === 11) client.end();
    });
    await world.allClosed();
    world.log('client', 'bytes', client.bytesRead, client.bytesWritten);
  });

  same('end with data, in both directions', async (world) => {
    const { port } = await world.listen({}, (peer) => peer.end('good day'));
    const client = world.connect(port);
    client.end('good bye', () => world.log('client', 'end callback'));
    await world.allClosed();
  });

  same('a half-open socket answers after the peer has ended', async (world) => {
    const { port } = await world.listen({ allowHalfOpen: true }, (peer) => {
      peer.on('end', () => {
        world.log('peer', 'state', peer.readyState, peer.writable);
        peer.end('after your end');
      });
    });
    const client = world.connect(port);
    client.end('question');
    await world.allClosed();
  });

  same('names and states', async (world) => {
    const look = (actor: string, socket: Socket) => {
      world.log(actor, 'names', socket.remoteAddress, socket.remoteFamily, socket.remotePort);
      world.log(actor, 'local', socket.localAddress, socket.localPort, socket.localFamily, socket.address());
      world.log(actor, 'state', socket.readyState, socket.pending, socket.connecting, socket.destroyed);
      world.log(actor, 'sizes', socket.bytesRead, socket.bytesWritten, socket.bufferSize, socket.timeout);
    };
    const { port } = await world.listen({}, (peer) => {
      look('peer', peer);
      peer.once('close', () => look('peer', peer));
    });
    const client = world.connect(port);
    look('client', client);
    await once(client, 'ready');
    look('client', client);
    client.end();
    await world.allClosed();
    look('client', client);
  });

  same('nobody listens', async (world) => {
    const { server, port } = await world.listen();
    server.close();
    await once(server, 'close');
    world.connect(port);
    await world.allClosed();
  });

  same('large writes arrive whole, and their callbacks come', async (world) => {
    const { port } = await world.listen({}, (peer) => peer.pipe(peer), { data: false });
    const client = world.connect(port, {}, { data: false });
    client.on('data', (chunk) => world.log('echo', 'data', chunk));
    client.write(Buffer.alloc(3_000_000, 'abcdefghij'), () => world.log('writes', 'written'));
    client.end('tail');
    await world.allClosed();
    world.log('client', 'bytes', client.bytesRead, client.bytesWritten);
  });
});
