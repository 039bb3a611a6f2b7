// Outgoing connections: established, refused, too slow, closed before they are there.
import { mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { expect, test } from 'vitest';
import { describeEngines, type EngineFixture, useEngine } from '../support/engines.js';
import { lengthFraming, Recorder } from '../support/recorder.js';
import { lengthPrefixed, TcpPeerServer } from '../support/tcp-peer.js';

describeEngines(
  'engine: connect',
  (driver, run) => {
    const fixture = useEngine(run);

    async function server(options: Parameters<typeof TcpPeerServer.listen>[0] = {}) {
      const listening = await TcpPeerServer.listen(options);
      fixture.cleanUp(() => listening.destroy());
      return listening;
    }

    test('runs on this driver', () => expect(fixture.engine.name).toBe(driver));

    test.each(['127.0.0.1', '::1'])('%s: sends at once what was sent before it was open', async (host) => {
      const listening = await server({ host });
      const { port } = listening.address as { port: number };
      const handler = new Recorder();
      const connection = fixture.engine.connect({ host, port, framing: lengthFraming }, handler);
      expect(connection.state).toBe('connecting');
      expect(connection.remoteAddress).toBe(host);
      expect(connection.remotePort).toBe(port);
      connection.send(lengthPrefixed('early'));
      const peer = await listening.peer();
      expect(await peer.bytes(9)).toEqual(lengthPrefixed('early'));
      expect(await handler.connection()).toBe(connection);
      expect(connection.state).toBe('open');
      peer.write(lengthPrefixed('answer'));
      expect(String(await handler.frameAt(0))).toBe('answer');
      await fixture.counted({ connects: 1 });
    });

    test('a unix socket', async () => {
      const folder = mkdtempSync(join(tmpdir(), 'ringway-'));
      fixture.cleanUp(() => rmSync(folder, { recursive: true }));
      const path = join(folder, 'socket');
      const listening = await server({ path });
      const handler = new Recorder();
      const connection = fixture.engine.connect({ path, framing: lengthFraming }, handler);
      connection.send(Buffer.from('hello'));
      expect((await (await listening.peer()).bytes(5)).toString()).toBe('hello');
      expect(connection.remoteAddress).toBe(path);
      expect(connection.remotePort).toBe(0);
    });

    test('refused: close with connect-failed, and open is never called', async () => {
      const listening = await server();
      const { port } = listening.address as { port: number };
      listening.destroy();
      const handler = new Recorder();
      const connection = fixture.engine.connect({ port, framing: lengthFraming }, handler);
      connection.send(Buffer.from('lost'));
      const info = await handler.closeInfo();
      expect(info).toMatchObject({
        reason: 'connect-failed',
        errorCode: 'ECONNREFUSED',
        errno: -constants.errno.ECONNREFUSED,
        syscall: 'connect',
        bytesHandedToKernel: 0,
      });
      expect(handler.opened).toEqual([]);
      expect(connection.state).toBe('closed');
      await fixture.counted({ connect_errors: 1 });
    });

    test('a unix socket that is not there: connect-failed with ENOENT', async () => {
      const handler = new Recorder();
      fixture.engine.connect({ path: '/nowhere/ringway.socket', framing: lengthFraming }, handler);
      expect(await handler.closeInfo()).toMatchObject({ reason: 'connect-failed', errorCode: 'ENOENT' });
    });

    test('a host that does not answer: connect-timeout', async () => {
      const port = await fullPort(fixture);
      const handler = new Recorder();
      fixture.engine.connect({ port, framing: lengthFraming, connectTimeoutMs: 100 }, handler);
      const info = await handler.closeInfo();
      expect(info.reason).toBe('connect-timeout');
      expect(handler.opened).toEqual([]);
      await fixture.counted({ connect_errors: 1 });
    });

    test('closed while connecting: close follows once, open never', async () => {
      const listening = await server();
      const { port } = listening.address as { port: number };
      const handler = new Recorder();
      const connection = fixture.engine.connect({ port, framing: lengthFraming }, handler);
      connection.close('going-away', 'not any more');
      expect(handler.closed).toEqual([]);
      const info = await handler.closeInfo();
      expect(info).toMatchObject({ reason: 'going-away', message: 'not any more', bytesHandedToKernel: 0 });
      expect(handler.opened).toEqual([]);
    });

    test('given up while the other end does not answer: the attempt ends with it', async () => {
      const port = await fullPort(fixture);
      const handler = new Recorder();
      fixture.engine.connect({ port, framing: lengthFraming, connectTimeoutMs: 0 }, handler).destroy();
      expect((await handler.closeInfo()).reason).toBe('closed');
      await fixture.counted({ connect_errors: 1, closed: 1 });
    });

    test('from an address and a port of its own', async () => {
      const listening = await server();
      const { port } = listening.address as { port: number };
      const localPort = await freePort();
      const handler = new Recorder();
      const local = { localAddress: '127.0.0.2', localPort };
      fixture.engine.connect({ port, framing: lengthFraming, ...local }, handler);
      const { socket } = await listening.peer();
      expect([socket.remoteAddress, socket.remotePort]).toEqual(['127.0.0.2', localPort]);
      const connection = await handler.connection();
      expect([connection.localAddress, connection.localPort]).toEqual(['127.0.0.2', localPort]);
    });

    test('an own address that is taken, or not of this machine, is told by close', async () => {
      const listening = await server();
      const { port } = listening.address as { port: number };
      const refused = async (local: object) => {
        const handler = new Recorder();
        fixture.engine.connect({ port, framing: lengthFraming, ...local }, handler);
        return handler.closeInfo();
      };
      const failed = { reason: 'connect-failed', syscall: 'bind' };
      expect(await refused({ localAddress: '192.0.2.1' })).toMatchObject({ ...failed, errorCode: 'EADDRNOTAVAIL' });
      expect(await refused({ localPort: port })).toMatchObject({ ...failed, errorCode: 'EADDRINUSE' });
    });

    test('wrong options are thrown', () => {
      const bad = (options: object) => () =>
        fixture.engine.connect({ port: 1, framing: lengthFraming, ...options } as never, new Recorder());
      expect(bad({ port: 0 })).toThrow('port is 0: it must be an integer from 1 to 65535');
      expect(bad({ host: 'example.org' })).toThrow(/IP address/);
      expect(bad({ connectTimeoutMs: -1 })).toThrow(/connectTimeoutMs/);
      expect(bad({ localAddress: 'localhost' })).toThrow("localAddress is 'localhost': it must be an IP address");
      expect(bad({ localPort: 65536 })).toThrow(/localPort/);
    });

    test('the other end closes: peer-closed on this one', async () => {
      const listening = await server();
      const { port } = listening.address as { port: number };
      const handler = new Recorder();
      fixture.engine.connect({ port, framing: lengthFraming }, handler);
      const peer = await listening.peer();
      peer.fin();
      await peer.close();
      expect((await handler.closeInfo()).reason).toBe('peer-closed');
    });
  },
  { reactors: [0, 1] },
);

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.2');
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** A port whose owner accepts nobody and whose backlog is full: the kernel drops further SYNs. */
async function fullPort(fixture: EngineFixture): Promise<number> {
  const worker = new Worker(
    `const { parentPort } = require('node:worker_threads');
     const server = require('node:net').createServer().listen({ host: '127.0.0.1', port: 0, backlog: 1 }, () => {
       parentPort.postMessage(server.address().port);
       Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
     });`,
    { eval: true },
  );
  fixture.cleanUp(() => worker.terminate());
  const port = await new Promise<number>((resolve) => worker.once('message', resolve));
  const fillers: Socket[] = [];
  fixture.cleanUp(() => {
    for (const socket of fillers) socket.destroy();
  });
  for (let established = true; established; ) established = await fills(port, fillers);
  return port;
}

/** @returns whether the kernel still took one. It answers those at once or, full, not at all. */
async function fills(port: number, fillers: Socket[]): Promise<boolean> {
  const socket = connect({ port, host: '127.0.0.1' });
  fillers.push(socket);
  socket.on('error', () => undefined);
  const connected = new Promise<boolean>((resolve) => socket.once('connect', () => resolve(true)));
  const silent = new Promise<boolean>((resolve) => setTimeout(resolve, 100, false));
  return Promise.race([connected, silent]);
}
