// Servers: listening in every form, refusing, counting, closing.
import { channel, tracingChannel } from 'node:diagnostics_channel';
import { EventEmitter } from 'node:events';
import { mkdtempSync, rmSync, statSync } from 'node:fs';
import type { AddressInfo, Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describeNets, once, type World } from '../support/net-worlds.js';

function folder(world: World): string {
  const path = mkdtempSync(join(tmpdir(), 'ringway-net-'));
  world.cleanUp(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

function server(world: World, options: object = {}): Server {
  return world.watchServer('server', world.net.createServer(options));
}

async function closed(one: Server): Promise<void> {
  if (one.listening) one.close();
  await once(one, 'close');
}

describeNets('net: server', ({ same, own }) => {
  for (const [name, args] of Object.entries({
    nothing: [],
    'a port': [0],
    'a port and a host': [0, '127.0.0.1'],
    'a port and a name': [0, 'localhost'],
    IPv6: [0, '::1'],
    'all of IPv6': [{ port: 0, host: '::', ipv6Only: true }],
    'options with everything': [{ port: 0, host: '127.0.0.1', backlog: 5, exclusive: true }],
    'a port as a string': ['0'],
  })) {
    same(`listens by ${name}`, async (world) => {
      const one = server(world);
      const answer = (one.listen as (...given: unknown[]) => unknown).apply(one, [
        ...args,
        () => world.log('server', 'callback', one.listening, one.address()),
      ]);
      world.log('server', 'at once', answer === one, one.listening);
      await once(one, 'listening');
      await closed(one);
      world.log('server', 'after', one.listening, one.address());
    });
  }

  same('address and listening are there as soon as listen returns', async (world) => {
    const one = server(world);
    one.listen(0, () => {});
    world.log('server', 'look', one.listening, one.address());
    await once(one, 'listening');
    await closed(one);
  });

  same('a unix socket: its file comes and goes with the server', async (world) => {
    const path = join(folder(world), 'socket');
    const one = server(world);
    one.listen(path);
    await once(one, 'listening');
    world.log('server', 'file', statSync(path).isSocket(), (one.address() as string) === path);
    const client = world.watch('client', world.net.connect(path));
    client.on('connectionAttempt', () => world.logs.client.pop());
    const [peer] = (await once(one, 'connection')) as [import('node:net').Socket];
    world.watch('peer', peer);
    peer.end('by path');
    await world.allClosed();
    for (const socket of [client, peer]) {
      world.log('names', 'remote', socket.remoteAddress, socket.remoteFamily, socket.remotePort);
      world.log('names', 'local', socket.localAddress, socket.localFamily, socket.localPort, socket.address());
    }
    await closed(one);
    world.log('server', 'gone', statSync(path, { throwIfNoEntry: false }) === undefined);
  });

  same('the names of both ends of a unix socket while it is open', async (world) => {
    const path = join(folder(world), 'socket');
    const one = server(world);
    one.listen({ path, readableAll: true, writableAll: true });
    await once(one, 'listening');
    world.log('server', 'mode', (statSync(path).mode & 0o777).toString(8));
    const client = world.net.connect({ path });
    world.cleanUp(() => client.destroy());
    const [peer] = (await once(one, 'connection')) as [import('node:net').Socket];
    for (const socket of [client, peer]) {
      world.log('names', 'remote', socket.remoteAddress, socket.remoteFamily, socket.remotePort);
      world.log('names', 'local', socket.localAddress, socket.localFamily, socket.localPort, socket.address());
      world.try('names', 'reset', () => socket.resetAndDestroy() === socket);
      world.try('names', 'noDelay', () => socket.setNoDelay(true) === socket);
      socket.destroy();
    }
    await closed(one);
  });

  same('an abstract socket', async (world) => {
    const path = `\0ringway-net-test-${process.pid}`;
    const one = server(world);
    one.on('connection', (peer) => peer.end('abstract'));
    one.listen(path);
    await once(one, 'listening');
    world.log('server', 'address', one.address() === path);
    const client = world.net.connect(path);
    world.log('client', 'data', String((await once(client, 'data'))[0]));
    await once(client, 'close');
    await closed(one);
  });

  same('a port that is taken', async (world) => {
    const { port } = await world.listen();
    const one = server(world);
    one.listen(port, '127.0.0.1');
    world.log('server', 'at once', one.listening, one.address());
    await once(one, 'error');
    one.listen(0, '127.0.0.1');
    await once(one, 'listening');
    await closed(one);
  });

  same('a path that is taken, and one in a folder that is not there', async (world) => {
    const place = folder(world);
    const other = world.net.createServer().listen(join(place, 'taken'));
    world.cleanUp(() => other.close());
    await once(other, 'listening');
    for (const path of [join(place, 'taken'), join(place, 'nowhere', 'socket')]) {
      const one = world.net.createServer();
      one.listen(path);
      const [error] = (await once(one, 'error')) as [Error & { address?: string }];
      world.log('server', 'error', (error as NodeJS.ErrnoException).code, (error as NodeJS.ErrnoException).syscall);
      world.log('server', 'error', error.address === path, error.message.replace(path, 'PATH'), 'port' in error);
    }
  });

  same('an address that is not ours, a name that is none', async (world) => {
    const one = server(world);
    one.listen(0, '192.0.2.1');
    await once(one, 'error');
    one.listen(0, 'name.invalid');
    const [error] = (await once(one, 'error')) as [NodeJS.ErrnoException];
    world.log('name', 'error', error.code === 'ENOTFOUND' || error.code === 'EAI_AGAIN', error.syscall);
    world.logs.server.length = 1;
  });

  same('listening twice, and once more after closing', async (world) => {
    const one = server(world);
    one.listen(0, '127.0.0.1');
    world.try('server', 'listen', () => one.listen(0));
    await once(one, 'listening');
    world.try('server', 'listen', () => one.listen(0));
    const { port } = one.address() as AddressInfo;
    one.close(() => world.log('server', 'close callback'));
    world.log('server', 'closing', one.listening, one.address());
    one.listen(port, '127.0.0.1');
    world.log('server', 'again', one.listening);
    await once(one, 'listening');
    await closed(one);
  });

  same('closing: with connections, twice, with callbacks', async (world) => {
    const { server: one, port } = await world.listen({}, (peer) =>
      peer.on('end', () => world.log('order', 'peer end')),
    );
    world.watchServer('server', one);
    const client = world.connect(port);
    await once(one, 'connection');
    one.close((error) => world.log('order', 'first callback', error));
    one.close((error) => world.log('order', 'second callback', error));
    one.on('close', () => world.log('order', 'close'));
    world.log('order', 'connections', (one as unknown as { _connections: number })._connections, one.listening);
    client.end();
    await once(one, 'close');
    one.close((error) => world.log('order', 'third callback', error));
    await world.allClosed();
    await new Promise(setImmediate);
  });

  same('an AbortSignal closes it', async (world) => {
    const controller = new AbortController();
    const one = server(world);
    one.listen({ port: 0, host: '127.0.0.1', signal: controller.signal });
    await once(one, 'listening');
    controller.abort();
    await once(one, 'close');
    world.log('server', 'after', one.listening);
    const late = world.watchServer('late', world.net.createServer());
    late.listen({ port: 0, signal: controller.signal });
    await once(late, 'close');
  });

  same('asyncDispose', async (world) => {
    const one = server(world);
    one.listen(0, '127.0.0.1');
    await once(one, 'listening');
    await one[Symbol.asyncDispose]();
    world.log('server', 'after', one.listening);
    world.log('server', 'again', await one[Symbol.asyncDispose]());
  });

  same('maxConnections drops and says of what', async (world) => {
    const { server: one, port } = await world.listen();
    one.maxConnections = 1;
    world.watchServer('server', one);
    const first = world.connect(port);
    await once(one, 'connection');
    const second = world.watch('second', world.net.connect(port, '127.0.0.1'));
    const [data] = (await once(one, 'drop')) as [{ remotePort: number; localPort: number }];
    await once(second, 'close');
    world.log('server', 'ports', data.remotePort > 0, data.localPort === port, Object.getPrototypeOf(data));
    first.end();
    await world.allClosed();
  });

  same('maxConnections of 0', async (world) => {
    const { server: one, port } = await world.listen({}, (peer) => peer.end());
    one.maxConnections = 0;
    world.watchServer('server', one);
    world.connect(port).end();
    await world.allClosed();
  });

  same('maxConnections on a unix socket: there is nothing to say of it', async (world) => {
    const path = join(folder(world), 'socket');
    const one = server(world);
    one.maxConnections = 1;
    one.on('drop', (...args) => world.log('server', 'arguments', args.length));
    one.listen(path);
    await once(one, 'listening');
    const first = world.watch('first', world.net.connect(path));
    await once(one, 'connection');
    const second = world.watch('second', world.net.connect(path));
    await once(second, 'close');
    first.destroy();
    await world.allClosed();
  });

  same('address after a path that could not be listened on', async (world) => {
    const one = server(world);
    one.listen('/nonexistent/socket');
    world.log('server', 'address', one.address(), one.listening);
    await once(one, 'error');
    world.log('server', 'address', one.address(), one.listening);
  });

  same('a backlog below 0', async (world) => {
    const one = server(world);
    one.listen({ port: 0, host: '127.0.0.1', backlog: -5 });
    await Promise.race([once(one, 'listening'), once(one, 'error')]);
  });

  same('diagnostics channels tell of sockets and of listening', async (world) => {
    const listening = tracingChannel('net.server.listen');
    const channels = [channel('net.server.socket'), channel('net.client.socket')];
    for (const one of [...channels, listening.asyncStart, listening.asyncEnd, listening.error]) {
      const hear = (message: unknown) => world.log('channels', one.name, Object.keys(message as object));
      one.subscribe(hear);
      world.cleanUp(() => one.unsubscribe(hear));
    }
    const one = server(world);
    one.listen(0, '127.0.0.1');
    await once(one, 'listening');
    const { port } = one.address() as AddressInfo;
    const client = world.connect(port);
    await Promise.all([once(one, 'connection'), once(client, 'ready')]);
    const other = server(world);
    other.listen(port, '127.0.0.1');
    await once(other, 'error');
    client.destroy();
  });

  own('reusePort: two servers of one port', async (world) => {
    const options = { host: '127.0.0.1', reusePort: true };
    const one = server(world);
    one.listen({ ...options, port: 0 });
    await once(one, 'listening');
    const other = server(world);
    other.listen({ ...options, port: (one.address() as AddressInfo).port });
    await once(other, 'listening');
  });

  same('getConnections counts', async (world) => {
    const { server: one, port } = await world.listen();
    const count = () =>
      new Promise<void>((resolve) => {
        const answer = one.getConnections((error, connections) => {
          world.log('counts', 'counted', error, connections);
          resolve();
        });
        world.log('counts', 'answer', answer === one);
      });
    await count();
    const client = world.connect(port);
    await once(one, 'connection');
    await count();
    client.end();
    await world.allClosed();
    await count();
  });

  for (const options of [
    { allowHalfOpen: true },
    { allowHalfOpen: false },
    { noDelay: true, keepAlive: true, keepAliveInitialDelay: 3_000 },
    { highWaterMark: 12_345 },
    { pauseOnConnect: true },
  ]) {
    same(`connections of a server with ${JSON.stringify(options)}`, async (world) => {
      const { port } = await world.listen(
        options,
        (peer) => {
          world.log('options', 'are', peer.allowHalfOpen, peer.isPaused(), peer.readableFlowing);
          world.log('options', 'marks', peer.readableHighWaterMark, peer.writableHighWaterMark);
          world.log('options', 'server', (peer as unknown as { server: unknown }).server === peer && false);
          if (peer.allowHalfOpen) peer.on('end', () => peer.end('at last'));
          if (!peer.isPaused()) return;
          setTimeout(() => {
            world.log('options', 'read', peer.bytesRead);
            peer.resume();
          }, 30);
        },
        { data: !('pauseOnConnect' in options) },
      );
      const client = world.connect(port);
      client.end('something');
      await world.allClosed();
    });
  }

  same('a server that is closed while a host is looked up never listens', async (world) => {
    const one = server(world);
    one.listen(0, 'localhost');
    one.close(() => world.log('server', 'close callback'));
    await once(one, 'close');
    await new Promise((resolve) => setTimeout(resolve, 50));
    world.log('server', 'after', one.listening);
  });

  same('a captured rejection of a connection listener destroys the connection', async (world) => {
    const { net } = world;
    // No option of net.Server's: what is made while it is on captures.
    EventEmitter.captureRejections = true;
    const one = new net.Server(async () => {
      throw new Error('from the listener');
    });
    EventEmitter.captureRejections = false;
    world.watchServer('server', one);
    one.on('connection', (peer) => world.watch('peer', peer));
    one.listen(0, '127.0.0.1');
    await once(one, 'listening');
    const { port } = one.address() as AddressInfo;
    world.name(port, 'the port');
    const client = net.connect(port, '127.0.0.1');
    world.watch('client', client);
    client.resume();
    await once(client, 'close');
    await closed(one);
  });

  own('connections of a blockList are dropped', async (world) => {
    const blockList = new world.net.BlockList();
    blockList.addAddress('127.0.0.1');
    const one = world.net.createServer({ blockList } as never);
    world.cleanUp(() => one.close());
    one.listen(0, '127.0.0.1');
    await once(one, 'listening');
    const client = world.net.connect((one.address() as AddressInfo).port, '127.0.0.1');
    client.on('error', () => {});
    const [data] = (await once(one, 'drop')) as [{ remoteAddress: string }];
    if (data.remoteAddress !== '127.0.0.1') throw new Error(`dropped ${data.remoteAddress}`);
    await once(client, 'close');
  });
});
