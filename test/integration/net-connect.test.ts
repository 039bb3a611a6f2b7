// From a host's name to a connection: lookups, one attempt after another, local addresses, paths.
import type { LookupAddress } from 'node:dns';
import nodeNet from 'node:net';
import { Worker } from 'node:worker_threads';
import { describeNets, once, type World } from '../support/net-worlds.js';

type Answer = (error: Error | null, address?: string | LookupAddress[], family?: number) => void;

/** A lookup that answers this, in Node's form for one address or for all. */
function lookup(found: LookupAddress[], error: Error | null = null) {
  return (_host: string, options: { all?: boolean }, done: Answer) => {
    process.nextTick(() => {
      if (error) done(error);
      else if (options.all) done(null, found);
      else done(null, found[0]?.address, found[0]?.family);
    });
  };
}

/** A port of 127.0.0.1 that answers nobody: as many as may wait there do, and who listens never comes to them. */
async function blackHole(world: World): Promise<number> {
  const blocked = new Int32Array(new SharedArrayBuffer(4));
  const program = `
    const { parentPort, workerData } = require('node:worker_threads');
    const server = require('node:net').createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => {
      parentPort.postMessage(server.address().port);
      Atomics.wait(workerData, 0, 0);
    });`;
  const worker = new Worker(program, { eval: true, execArgv: [], workerData: blocked });
  const [port] = (await once(worker, 'message')) as [number];
  world.cleanUp(() => {
    Atomics.store(blocked, 0, 1);
    Atomics.notify(blocked, 0);
    return worker.terminate();
  });
  world.name(port, 'the port');
  for (let i = 0; i < 2; i++) {
    const waiting = nodeNet.connect(port, '127.0.0.1');
    world.cleanUp(() => waiting.destroy());
    waiting.on('error', () => {});
    await once(waiting, 'connect');
  }
  return port;
}

const v4 = { address: '127.0.0.1', family: 4 };
const v6 = { address: '::1', family: 6 };

describeNets('net: connect', ({ same, own }) => {
  same('what setDefaultAutoSelectFamily sets holds', async (world) => {
    const { net } = world;
    const before = net.getDefaultAutoSelectFamily();
    try {
      for (const set of [true, false]) {
        net.setDefaultAutoSelectFamily(set);
        const { port } = await world.listen({}, (peer) => peer.end('found'));
        const client = world.connect(port, { host: 'some.name', lookup: lookup([v4]) });
        await world.allClosed();
        world.log('client', 'tried', [set, client.autoSelectFamilyAttemptedAddresses]);
      }
    } finally {
      net.setDefaultAutoSelectFamily(before);
    }
  });

  for (const autoSelectFamily of [true, false]) {
    const name = autoSelectFamily ? 'all addresses' : 'one address';
    const options = (found: LookupAddress[], error?: Error) => ({
      host: 'some.name',
      autoSelectFamily,
      lookup: lookup(found, error),
    });

    same(`${name}: a lookup that finds`, async (world) => {
      const { port } = await world.listen({}, (peer) => peer.end('found'));
      const client = world.connect(port, options([v4]));
      await world.allClosed();
      world.log('client', 'tried', client.autoSelectFamilyAttemptedAddresses);
    });

    same(`${name}: a lookup that fails`, async (world) => {
      const error = Object.assign(new Error('no such name'), { code: 'ENOTFOUND' });
      world.connect(1, options([], error));
      await world.allClosed();
    });

    for (const found of [
      { address: 'nonsense', family: 4 },
      { address: '127.0.0.1', family: 5 },
      { address: '', family: 0 },
    ]) {
      same(`${name}: a lookup that answers ${JSON.stringify(found)}`, async (world) => {
        world.connect(1, options([found]));
        await world.allClosed();
      });
    }

    same(`${name}: destroyed in the lookup listener`, async (world) => {
      const { port } = await world.listen();
      const client = world.connect(port, options([v4, v6]));
      client.on('lookup', () => client.destroy());
      await world.allClosed();
    });
  }

  same('the second address answers', async (world) => {
    const { port } = await world.listen({}, (peer) => peer.end('found'));
    const found = [
      { address: '127.0.0.2', family: 4 },
      { address: '127.0.0.1', family: 4 },
    ];
    const client = world.connect(port, { host: 'some.name', lookup: lookup(found) });
    await world.allClosed();
    world.log('client', 'tried', client.autoSelectFamilyAttemptedAddresses);
  });

  same('IPv6 refuses, IPv4 answers', async (world) => {
    const { port } = await world.listen({}, (peer) => peer.end('found'));
    const client = world.connect(port, { host: 'some.name', lookup: lookup([v6, v4, v6]) });
    await world.allClosed();
    world.log('client', 'tried', client.autoSelectFamilyAttemptedAddresses);
    world.log('client', 'remote', client.remoteAddress);
  });

  same('every address refuses', async (world) => {
    const { server, port } = await world.listen();
    server.close();
    await once(server, 'close');
    const client = world.connect(port, {
      host: 'some.name',
      lookup: lookup([v4, v6, { address: '127.0.0.2', family: 4 }]),
    });
    await world.allClosed();
    world.log('client', 'tried', client.autoSelectFamilyAttemptedAddresses);
  });

  same('an attempt that takes too long', async (world) => {
    const port = await blackHole(world);
    const server = world.net.createServer((peer) => world.watch('peer', peer).end('found'));
    world.cleanUp(() => server.close());
    server.listen(port, '127.0.0.2');
    await once(server, 'listening');
    const client = world.connect(port, {
      host: 'some.name',
      lookup: lookup([v4, { address: '127.0.0.2', family: 4 }]),
      autoSelectFamilyAttemptTimeout: 50,
    });
    await world.allClosed();
    world.log('client', 'tried', client.autoSelectFamilyAttemptedAddresses);
  });

  same('destroyed while it tries the first of several addresses', async (world) => {
    const port = await blackHole(world);
    const client = world.connect(port, {
      host: 'some.name',
      lookup: lookup([v4, { address: '127.0.0.2', family: 4 }]),
      autoSelectFamilyAttemptTimeout: 5_000,
    });
    await once(client, 'connectionAttempt');
    client.destroy();
    await once(client, 'close');
  });

  // Where the kernel made the socket listen to is not known here before it is open: docs/net.md.
  const withoutLocal = (error: unknown) => String(error).replace(/ - Local .*/, '');

  same('connecting while it connects', async (world) => {
    const { port } = await world.listen();
    const client = world.net.connect(port, '127.0.0.1');
    world.cleanUp(() => client.destroy());
    client.on('error', (error: NodeJS.ErrnoException) => {
      world.log('client', 'error', withoutLocal(error), error.code, error.syscall);
    });
    client.on('connect', () => world.log('client', 'connect'));
    client.connect(port, '127.0.0.1');
    world.log('client', 'close', ...(await once(client, 'close')));
  });

  same('connecting while it is open: once', async (world) => {
    const { server, port } = await world.listen({}, (peer) => peer.write('from the only peer'));
    const client = world.connect(port);
    await once(client, 'data');
    world.log('client', 'again', client.connect(port, '127.0.0.1') === client, client.connecting);
    await once(client, 'ready');
    world.log('server', 'connections', (server as unknown as { _connections: number })._connections);
    client.end('still the same');
    await world.allClosed();
  });

  same('connecting while it is open: twice, or accepted', async (world) => {
    const { server, port } = await world.listen();
    const client = world.net.connect(port, '127.0.0.1');
    world.cleanUp(() => client.destroy());
    const failed = (actor: string) => (error: NodeJS.ErrnoException) => {
      world.log(actor, 'error', withoutLocal(error), error.code, error.syscall);
    };
    client.on('error', failed('client'));
    const [peer] = (await once(server, 'connection')) as [import('node:net').Socket];
    peer.removeAllListeners('error');
    peer.on('error', failed('accepted'));
    if (client.connecting) await once(client, 'connect');
    client.connect(port, '127.0.0.1');
    await once(client, 'connect');
    client.connect(port, '127.0.0.1');
    world.log('client', 'close', ...(await once(client, 'close')));
    if (peer.destroyed) return;
    peer.connect(port, '127.0.0.1');
  });

  same('from an address of the other family', async (world) => {
    const { port } = await world.listen();
    world.watch('v6 to v4', world.net.connect({ port, host: '127.0.0.1', localAddress: '::1' }));
    world.watch('v4 to v6', world.net.connect({ port, host: '::1', localAddress: '127.0.0.1' }));
    await world.allClosed();
  });

  same('localhost by its name', async (world) => {
    const { port } = await world.listen({}, (peer) => peer.end('found'));
    const client = world.connect(port, { host: 'localhost', family: 4 });
    await world.allClosed();
    world.log('client', 'remote', client.remoteAddress);
  });

  same('from a local address and port', async (world) => {
    const { server, port } = await world.listen();
    const client = world.connect(port, { localAddress: '127.0.0.3' });
    const [peer] = (await once(server, 'connection')) as [import('node:net').Socket];
    world.log('peer', 'remote', peer.remoteAddress);
    client.end();
    await world.allClosed();
  });

  same('from an address that is not ours', async (world) => {
    const { port } = await world.listen();
    world.connect(port, { localAddress: '192.0.2.1' });
    await world.allClosed();
  });

  same('from a port that is taken', async (world) => {
    const { port } = await world.listen();
    world.connect(port, { localAddress: '127.0.0.1', localPort: port });
    await world.allClosed();
  });

  for (const path of ['/nowhere/at/all', '/etc/hosts']) {
    same(`a path where nobody listens: ${path}`, async (world) => {
      const client = world.watch('client', world.net.connect({ path }));
      world.log('client', 'state', client.connecting, client.pending, client.readyState);
      await world.allClosed();
    });
  }

  same('a callback, and options with a callback', async (world) => {
    const { port } = await world.listen({}, (peer) => peer.end());
    const first = world.watch(
      'first',
      world.net.connect(port, '127.0.0.1', () => world.log('first', 'callback')),
    );
    await once(first, 'close');
    const options = { port, host: '127.0.0.1' };
    const second = world.watch(
      'second',
      world.net.createConnection(options, () => world.log('second', 'callback')),
    );
    await once(second, 'close');
    await world.allClosed();
  });

  same('port 0 and broadcast', async (world) => {
    for (const [actor, options] of [
      ['zero', { port: 0, host: '127.0.0.1' }],
      ['broadcast', { port: 9, host: '255.255.255.255' }],
    ] as const) {
      const client = world.watch(actor, world.net.connect(options));
      await once(client, 'close');
    }
  });

  same('keepAlive and noDelay in the options', async (world) => {
    const { port } = await world.listen({}, (peer) => peer.end('hello'));
    world.connect(port, { noDelay: true, keepAlive: true, keepAliveInitialDelay: 1_000 });
    await world.allClosed();
  });

  own('an address in the blockList is not connected to', async (world) => {
    const { port } = await world.listen();
    const blockList = new world.net.BlockList();
    blockList.addSubnet('127.0.0.0', 8);
    const client = world.net.connect({ port, host: '127.0.0.1', blockList } as never);
    const [error] = (await once(client, 'error')) as [NodeJS.ErrnoException];
    if (error.code !== 'ERR_IP_BLOCKED') throw error;
  });
});
