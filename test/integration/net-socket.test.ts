// What a socket does once it is open: streams, timeouts, options, every way of ending.
import type { Socket } from 'node:net';
import { Readable, Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { describeNets, once, type World } from '../support/net-worlds.js';

/** Lets events that are on their way arrive. */
async function turns(count = 20): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise(setImmediate);
}

async function pair(world: World, options: object = {}, watched: { data?: boolean } = {}): Promise<[Socket, Socket]> {
  let peer: Socket | undefined;
  const { server, port } = await world.listen(
    options,
    (socket) => {
      peer = socket;
    },
    watched,
  );
  const client = world.connect(port, options, watched);
  await Promise.all([once(client, 'ready'), once(server, 'connection')]);
  return [client, peer as Socket];
}

describeNets('net: socket', ({ same, own }) => {
  same('pause holds data back and resume gives it', async (world) => {
    const [client, peer] = await pair(world);
    client.pause();
    world.log('client', 'paused', client.isPaused(), client.readableFlowing);
    peer.write('while paused');
    await turns();
    world.log('client', 'resume', client.resume() === client, client.isPaused());
    await once(client, 'data');
    peer.end();
    await world.allClosed();
  });

  same('setEncoding cuts no character', async (world) => {
    const [client, peer] = await pair(world, {}, { data: false });
    client.setEncoding('utf8');
    let text = '';
    client.on('data', (part) => {
      text += part;
    });
    const bytes = Buffer.from('grün – 漢字 – 🎈');
    for (const byte of bytes) {
      peer.write(Buffer.from([byte]));
      await new Promise(setImmediate);
    }
    peer.end();
    peer.resume();
    await world.allClosed();
    world.log('client', 'text', text);
  });

  for (const encoding of ['utf8', 'latin1', 'ascii', 'hex', 'base64', 'base64url', 'utf16le', 'ucs2'] as const) {
    same(`strings as ${encoding}`, async (world) => {
      const [client, peer] = await pair(world);
      const text = encoding === 'hex' ? '00ff7f' : 'aGFsbG8td29ybGQ';
      world.log('client', 'write', client.write(text, encoding), client.bytesWritten);
      client.end(text, encoding, () => world.log('client', 'end callback'));
      await world.allClosed();
      world.log('peer', 'bytes', peer.bytesRead, client.bytesWritten);
    });
  }

  same('cork gathers writes', async (world) => {
    const [client] = await pair(world);
    client.cork();
    client.write('one ');
    client.write(Buffer.from('two '), () => world.log('writes', 'two'));
    client.write('three', 'latin1', () => world.log('writes', 'three'));
    world.log('client', 'corked', client.writableLength, client.writableCorked, client.bytesWritten);
    client.uncork();
    world.log('client', 'uncorked', client.writableLength, client.writableCorked, client.bytesWritten);
    client.end();
    await world.allClosed();
  });

  same('async iteration ends with the peer', async (world) => {
    const [client, peer] = await pair(world, {}, { data: false });
    peer.write('a');
    peer.end('b');
    peer.resume();
    let text = '';
    for await (const chunk of client) text += chunk;
    world.log('client', 'text', text);
    await world.allClosed();
  });

  same('pipeline with a transform', async (world) => {
    const [client, peer] = await pair(world, {}, { data: false });
    const upper = new Transform({ transform: (chunk, _, done) => done(null, String(chunk).toUpperCase()) });
    const echo = pipeline(peer, upper, peer).then(() => world.log('peer', 'pipeline over'));
    let text = '';
    client.on('data', (chunk) => {
      text += chunk;
    });
    await pipeline(Readable.from(['one ', 'two ', 'three']), client, { end: true });
    await echo;
    await world.allClosed();
    world.log('client', 'text', text);
  });

  same('writes before the connection is open', async (world) => {
    const { port } = await world.listen();
    const client = world.connect(port);
    world.log(
      'client',
      'write',
      client.write('early', () => world.log('writes', 'early')),
      client.bytesWritten,
    );
    world.log(
      'client',
      'write',
      client.write('later', 'latin1', () => world.log('writes', 'later')),
      client.bytesWritten,
    );
    world.log('client', 'state', client.writableLength, client.bufferSize, client.pending, client.readyState);
    client.end();
    await world.allClosed();
    world.log('client', 'bytes', client.bytesWritten);
  });

  same('destroyed before the connection is open', async (world) => {
    const { port } = await world.listen();
    const client = world.connect(port);
    client.write('never', (error) => world.log('writes', 'never', error));
    world.log('client', 'destroy', client.destroy() === client, client.destroyed, client.connecting, client.readyState);
    await world.allClosed();
    await turns();
  });

  same('destroy with an error', async (world) => {
    const [client, peer] = await pair(world);
    client.destroy(new Error('on purpose'));
    world.log('client', 'state', client.destroyed, client.readyState, client.errored);
    await world.allClosed();
    world.log('peer', 'state', peer.destroyed, peer.readyState);
  });

  same('destroy right after a write: what was written arrives', async (world) => {
    const [client] = await pair(world);
    client.write('last words', (error) => world.log('writes', 'last', error));
    client.destroy();
    await world.allClosed();
  });

  same('destroy twice, and after the end', async (world) => {
    const [client] = await pair(world);
    client.destroy();
    client.destroy(new Error('too late'));
    await world.allClosed();
    client.destroy(new Error('much too late'));
    await turns();
  });

  same('destroySoon sends first', async (world) => {
    const [client] = await pair(world);
    client.write('first');
    client.destroySoon();
    world.log('client', 'state', client.writableEnded, client.destroyed);
    await world.allClosed();
  });

  same('resetAndDestroy: the peer sees a reset', async (world) => {
    const [client, peer] = await pair(world);
    world.log('client', 'answer', client.resetAndDestroy() === client, client.destroyed);
    await world.allClosed();
    world.log('peer', 'state', peer.destroyed);
  });

  same('resetAndDestroy while connecting, and when closed', async (world) => {
    const { port } = await world.listen();
    const client = world.connect(port);
    world.log('client', 'answer', client.resetAndDestroy() === client, client.destroyed);
    await world.allClosed();
    world.log('client', 'answer', client.resetAndDestroy() === client);
    const never = world.watch('never', new world.net.Socket());
    never.resetAndDestroy();
    await world.allClosed();
  });

  same('write after end, and after destroy', async (world) => {
    const [client] = await pair(world);
    client.end('end');
    world.log(
      'client',
      'write',
      client.write('more', (error) => world.log('writes', 'more', error)),
    );
    await world.allClosed();
    world.log(
      'client',
      'write',
      client.write('late', (error) => world.log('writes', 'late', error)),
    );
    await turns();
  });

  same('write after the peer has ended', async (world) => {
    const [client, peer] = await pair(world);
    peer.end();
    await once(client, 'end');
    world.log('client', 'state', client.writable, client.writableEnded, client.readyState);
    world.log(
      'client',
      'write',
      client.write('more', (error) => world.log('writes', 'more', error)),
    );
    await world.allClosed();
  });

  same('end after end, end in the end listener', async (world) => {
    const [client, peer] = await pair(world, { allowHalfOpen: true });
    client.end(() => world.log('callbacks', 'first'));
    client.end((error?: Error) => world.log('callbacks', 'second', error));
    peer.on('end', () => peer.end('from the listener', () => world.log('callbacks', 'peer')));
    await world.allClosed();
    client.end((error?: Error) => world.log('callbacks', 'third', error));
    await turns();
  });

  same('a reset while reading', async (world) => {
    const [client, peer] = await pair(world);
    peer.write('before');
    await once(client, 'data');
    peer.resetAndDestroy();
    await world.allClosed();
    world.log('client', 'state', client.errored, client.readableEnded, client.writableFinished);
  });

  same('unread bytes at close reset the peer', async (world) => {
    const { port } = await world.listen({ pauseOnConnect: true }, (peer) => setTimeout(() => peer.destroy(), 50), {
      data: false,
    });
    const client = world.connect(port);
    client.write('nobody reads this');
    await world.allClosed();
  });

  same('a timeout comes once per silence', async (world) => {
    const [client, peer] = await pair(world);
    client.setTimeout(40, () => world.log('client', 'callback'));
    world.log('client', 'timeout', client.timeout);
    await once(client, 'timeout');
    peer.write('awake');
    await once(client, 'data');
    client.setTimeout(0);
    world.log('client', 'timeout', client.timeout, client.listenerCount('timeout'));
    client.end();
    await world.allClosed();
  });

  same('the timeout option, and one while connecting', async (world) => {
    const { port } = await world.listen();
    const client = world.connect(port, { timeout: 30 });
    world.log('client', 'timeout', client.timeout);
    await once(client, 'timeout');
    client.destroy();
    await world.allClosed();
  });

  same('an AbortSignal destroys it', async (world) => {
    const { port } = await world.listen();
    const controller = new AbortController();
    const client = world.connect(port, { signal: controller.signal });
    await once(client, 'connect');
    controller.abort();
    await world.allClosed();
    const late = world.watch('late', new world.net.Socket({ signal: controller.signal }));
    await world.allClosed();
    world.log('late', 'state', late.destroyed);
  });

  same('it connects again after it has closed', async (world) => {
    const { port } = await world.listen({}, (peer) => peer.end('hello'));
    const client = world.connect(port);
    await world.allClosed();
    world.log('client', 'state', client.destroyed, client.readyState);
    client.connect(port, '127.0.0.1', () => world.log('client', 'callback'));
    world.log('client', 'state', client.destroyed, client.readyState, client.pending);
    await once(client, 'close');
    await world.allClosed();
  });

  same('options and references answer the socket', async (world) => {
    const [client, peer] = await pair(world);
    const each: [string, () => unknown][] = [
      ['noDelay', () => client.setNoDelay() === client],
      ['noDelay off', () => client.setNoDelay(false) === client],
      ['keepAlive', () => client.setKeepAlive(true, 2_500) === client],
      ['keepAlive off', () => client.setKeepAlive() === client],
      ['unref', () => client.unref() === client],
      ['ref', () => client.ref() === client],
    ];
    for (const [name, call] of each) world.try('client', name, call);
    peer.end();
    await world.allClosed();
    for (const [name, call] of each) world.try('closed', name, call);
  });

  for (const kind of ['buffer', 'function'] as const) {
    same(`onread with a ${kind}`, async (world) => {
      const { port } = await world.listen({}, (peer) => peer.end('0123456789'), { data: false });
      let made = 0;
      const buffer = kind === 'buffer' ? Buffer.alloc(4) : () => Buffer.alloc(++made % 2 === 0 ? 3 : 16);
      let text = '';
      let reads = 0;
      const onread = {
        buffer,
        callback(bytes: number, read: Uint8Array) {
          text += Buffer.from(read.subarray(0, bytes)).toString();
          reads++;
          if (reads === 1) setTimeout(() => client.resume(), 20);
          return reads !== 1;
        },
      };
      const client = world.connect(port, { onread });
      await world.allClosed();
      world.log('client', 'read', text, client.bytesRead);
    });
  }

  same('a flood into a slow reader arrives whole', async (world) => {
    const { port } = await world.listen({}, (peer) => peer.end(Buffer.alloc(2_000_000, 'flood')), { data: false });
    const client = world.connect(port, {}, { data: false });
    let bytes = 0;
    client.on('data', (chunk) => {
      bytes += chunk.length;
      client.pause();
      setImmediate(() => client.resume());
    });
    await world.allClosed();
    world.log('client', 'bytes', bytes, client.bytesRead);
  });

  same('a reader that never reads stops the writer', async (world) => {
    const { port } = await world.listen({ pauseOnConnect: true }, () => {}, { data: false });
    const client = world.connect(port);
    client.setTimeout(100);
    const chunk = Buffer.alloc(1_000_000);
    let accepted = 0;
    while (client.write(chunk) && accepted < 100) accepted++;
    world.log('client', 'stopped', accepted < 100, client.writableNeedDrain);
    await once(client, 'timeout');
    world.log('client', 'waits', client.writableLength > 0);
    client.destroy();
  });

  own('several writes of a turn leave together, what arrived in a turn is one chunk', async (world) => {
    const [client, peer] = await pair(world, {}, { data: false });
    const chunks: number[] = [];
    client.on('data', (chunk) => chunks.push(chunk.length));
    for (let i = 0; i < 50; i++) peer.write(Buffer.alloc(100));
    peer.end();
    await once(client, 'end');
    if (chunks.length > 2) throw new Error(`5,000 bytes of one turn came as ${chunks.length} chunks`);
    peer.resume();
  });
});
