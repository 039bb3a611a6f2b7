// What goes wrong and nobody listens for: the process ends as with Node. And listeners that throw: others are still served.
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { describe, expect, test } from 'vitest';
import { builtNet as built, runNetProgram as run } from '../support/net-programs.js';

/** Without what depends on where the code lies; and the mark under the line stands at `new Error`, not at `throw`. */
function shape(stderr: string): string[] {
  return stderr
    .replace(/\b\d{4,5}\b/g, 'PORT')
    .split('\n')
    .filter((line) => !/^\s+at /.test(line) && !/^node:internal\/process|^\s*\^$/.test(line))
    .map((line) => line.replace(/ \{$/, '').replace(/^(node:\S+?):\d+$/, '$1'));
}

const PROGRAMS: Record<string, string> = {
  'connect: nobody listens, nobody hears': `
    const server = net.createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => net.connect(port, '127.0.0.1'));
    });`,
  'listen: the port is taken, nobody hears': `
    const server = net.createServer().listen(0, '127.0.0.1', () => net.createServer().listen(server.address().port, '127.0.0.1'));`,
  'destroy with an error, nobody hears': `
    const server = net.createServer((peer) => peer.resume()).listen(0, '127.0.0.1', () => {
      const client = net.connect(server.address().port, '127.0.0.1', () => client.destroy(new Error('on purpose')));
    });`,
  'a data listener throws, nobody catches': `
    const server = net.createServer((peer) => peer.on('data', () => { throw new Error('from the listener'); }));
    server.listen(0, '127.0.0.1', () => net.connect(server.address().port, '127.0.0.1').write('x'));`,
  'a data listener throws: the others are served': `
    process.on('uncaughtException', (error) => console.log('uncaught', error.message));
    let open = 3;
    const server = net.createServer((peer) => {
      peer.on('data', (chunk) => {
        if (String(chunk) === 'bad') { peer.end(); throw new Error('bad data'); }
        peer.end(String(chunk));
      });
    });
    const said = [];
    server.listen(0, '127.0.0.1', () => {
      for (const text of ['one', 'bad', 'two']) {
        const client = net.connect(server.address().port, '127.0.0.1', () => client.write(text));
        client.on('data', (chunk) => said.push(String(chunk)));
        client.on('close', () => { if (--open === 0) { console.log(said.sort().join()); server.close(); } });
      }
    });`,
  'a promise rejects in a listener, nobody catches': `
    const server = net.createServer(async () => { throw new Error('rejected'); });
    server.listen(0, '127.0.0.1', () => net.connect(server.address().port, '127.0.0.1'));`,
  'next ticks and microtasks run between two sockets': `
    const log = [];
    let open = 2;
    const server = net.createServer((peer) => {
      peer.on('data', () => {
        log.push('data');
        process.nextTick(() => log.push('tick'));
        Promise.resolve().then(() => log.push('micro'));
        peer.end();
        if (--open === 0) setImmediate(() => { console.log(log.join(' ')); server.close(); });
      });
    });
    server.listen(0, '127.0.0.1', () => {
      for (let i = 0; i < 2; i++) net.connect(server.address().port, '127.0.0.1').end('x');
    });`,
  'an unreferenced server and socket keep nobody': `
    const server = net.createServer((peer) => peer.unref()).unref();
    server.listen(0, '127.0.0.1', () => net.connect(server.address().port, '127.0.0.1', function () { this.unref(); console.log('open'); }));
    setTimeout(() => {}, 50);`,
  'a data listener throws over what was held back: the rest follows, and the end': `
    process.on('uncaughtException', (error) => console.log('uncaught', error.message));
    let bytes = 0;
    const server = net.createServer({ pauseOnConnect: true }, (peer) => {
      peer.on('data', (chunk) => {
        bytes += chunk.length;
        if (bytes === chunk.length) throw new Error('over the first');
      });
      peer.on('end', () => { console.log('end', bytes); server.close(); });
      setTimeout(() => peer.resume(), 100);
    });
    server.listen(0, '127.0.0.1', () => net.connect(server.address().port, '127.0.0.1').end(Buffer.alloc(200_000)));`,
  'an onread callback throws: the next bytes follow, and the end': `
    process.on('uncaughtException', (error) => console.log('uncaught', error.message));
    const server = net.createServer((peer) => peer.end('abcdefghij'));
    server.listen(0, '127.0.0.1', () => {
      const callback = (count, buffer) => { throw new Error('over ' + buffer.toString('utf8', 0, count)); };
      const client = net.connect({ port: server.address().port, onread: { buffer: Buffer.alloc(4), callback } });
      client.on('end', () => { console.log('end', client.bytesRead); server.close(); });
    });`,
  'AsyncLocalStorage: what a server accepts belongs to no store': `
    import { AsyncLocalStorage } from 'node:async_hooks';
    const storage = new AsyncLocalStorage();
    const server = net.createServer((peer) => {
      console.log('connection', storage.getStore());
      peer.on('data', () => console.log('data', storage.getStore()));
      peer.on('close', () => { console.log('close', storage.getStore()); server.close(); });
    });
    storage.run('of listen', () => server.listen(0, '127.0.0.1', () => {
      net.connect(server.address().port, '127.0.0.1').end('x').resume();
    }));`,
  'AsyncLocalStorage follows a socket': `
    import { AsyncLocalStorage } from 'node:async_hooks';
    const storage = new AsyncLocalStorage();
    const server = net.createServer((peer) => peer.end('x')).listen(0, '127.0.0.1', () => {
      storage.run('of the client', () => {
        const client = net.connect(server.address().port, '127.0.0.1', () => console.log('connect', storage.getStore()));
        client.on('data', () => console.log('data', storage.getStore()));
        client.on('close', () => { console.log('close', storage.getStore()); server.close(); });
      });
    });`,
};

/** Each writes 50,000 bytes, and ends the process with 3. */
const LAST_WRITES = [
  `client.write('x'.repeat(50_000), () => process.exit(3))`,
  `client.write('x'.repeat(50_000)); client.destroy(); process.exit(3)`,
  `for (let i = 0; i < 50; i++) client.write('x'.repeat(1_000)); client.destroy(); process.exit(3)`,
  `client.write('x'.repeat(10_000)); setImmediate(() => { client.write('x'.repeat(40_000)); client.destroy(); process.exit(3); })`,
  `client.write('x'.repeat(10_000)); setImmediate(() => { for (let i = 0; i < 40; i++) client.write('x'.repeat(1_000)); process.exit(3); })`,
  `client.write('x'.repeat(10_000)); setImmediate(() => client.end('x'.repeat(40_000), () => process.exit(3)))`,
];

for (const engine of ['io_uring', 'epoll']) {
  describe(`net: errors on ${engine}`, () => {
    test('the module is built', () => expect(existsSync(built)).toBe(true));

    test.each(LAST_WRITES)('what was written is sent: %s', async (program) => {
      const server = createServer();
      server.listen(0, '127.0.0.1');
      await once(server, 'listening');
      const { port } = server.address() as AddressInfo;
      let bytes = 0;
      server.on('connection', (peer) => {
        peer.on('error', () => {});
        peer.on('data', (chunk) => {
          bytes += chunk.length;
        });
      });
      const closed = once(server, 'connection').then(([peer]) => once(peer, 'close'));
      const source = `const client = net.connect(${port}, '127.0.0.1', () => { ${program} });`;
      expect((await run(built, engine, source)).code).toBe(3);
      await closed;
      server.close();
      expect(bytes).toBe(50_000);
    });

    test.each(Object.entries(PROGRAMS))('%s', async (_name, program) => {
      const expected = await run('node:net', engine, program);
      const got = await run(built, engine, program);
      expect(got.code).toBe(expected.code);
      expect(got.stdout).toBe(expected.stdout);
      expect(shape(got.stderr)).toEqual(shape(expected.stderr));
      expect(expected.code === 0 ? expected.stdout : expected.stderr, 'the program must tell something').not.toBe('');
    });
  });
}
