// Listening and accepting: addresses, limits at accept, the end of a listener and of an engine.
import { mkdtempSync, rmSync } from 'node:fs';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { turnUntil } from '../support/changes.js';
import { describeEngines, useEngine } from '../support/engines.js';
import { echoFrame, lengthFraming, Recorder } from '../support/recorder.js';
import { lengthPrefixed, TcpPeer } from '../support/tcp-peer.js';

describeEngines(
  'engine: listen',
  (driver, run) => {
    const fixture = useEngine(run);

    test('says which driver runs and why', () => {
      expect(fixture.engine.name).toBe(driver);
      expect(fixture.engine.reason).toMatch(/\w+ .*\w/);
    });

    test.each([
      ['IPv4', '127.0.0.1'],
      ['IPv6', '::1'],
    ])('%s: accepts and echoes', async (_family, host) => {
      const handler = new Recorder({ frame: echoFrame });
      const listener = await fixture.engine.listen({ host, port: 0, framing: lengthFraming }, handler);
      const { address } = listener;
      expect(address).toMatchObject({ host });
      expect('port' in address && address.port).toBeGreaterThan(0);
      const peer = await fixture.peer(listener);
      peer.write(lengthPrefixed('hello'));
      expect(await peer.bytes(9)).toEqual(lengthPrefixed('hello'));
      const connection = await handler.connection();
      expect(connection.state).toBe('open');
      expect(connection.remoteAddress).toBe(host);
      expect(connection.remotePort).toBe(peer.socket.localPort);
      expect(listener.connections).toBe(1);
    });

    test('a unix socket: accepts and echoes', async () => {
      const folder = mkdtempSync(join(tmpdir(), 'ringway-'));
      fixture.cleanUp(() => rmSync(folder, { recursive: true }));
      const path = join(folder, 'socket');
      const handler = new Recorder({ frame: echoFrame });
      const listener = await fixture.engine.listen({ path, framing: lengthFraming }, handler);
      expect(listener.address).toEqual({ path });
      const peer = await fixture.peer(listener);
      peer.write(lengthPrefixed('hello'));
      expect(await peer.bytes(9)).toEqual(lengthPrefixed('hello'));
      const connection = await handler.connection();
      expect(connection.remoteAddress).toBe('');
      expect(connection.remotePort).toBe(0);
    });

    test('an address in use is an error with the code and the address', async () => {
      const first = await fixture.engine.listen({ port: 0, framing: lengthFraming }, new Recorder());
      const { port } = first.address as { port: number };
      const second = fixture.engine.listen({ port, framing: lengthFraming }, new Recorder());
      await expect(second).rejects.toMatchObject({
        message: `listen EADDRINUSE: address already in use 127.0.0.1:${port}`,
        code: 'EADDRINUSE',
        errno: -constants.errno.EADDRINUSE,
        syscall: 'listen',
        address: '127.0.0.1',
        port,
      });
    });

    test('an address that is not of this machine is an error', async () => {
      const listening = fixture.engine.listen({ host: '192.0.2.1', port: 0, framing: lengthFraming }, new Recorder());
      await expect(listening).rejects.toMatchObject({
        message: 'listen EADDRNOTAVAIL: address not available 192.0.2.1',
        code: 'EADDRNOTAVAIL',
        syscall: 'listen',
        address: '192.0.2.1',
      });
    });

    test('impossible options are refused with the name, the value and what would be right', async () => {
      const refused = (options: object) =>
        fixture.engine.listen({ port: 0, framing: lengthFraming, ...options }, new Recorder());
      await expect(refused({ port: 65536 })).rejects.toThrow('port is 65536: it must be an integer from 0 to 65535');
      await expect(refused({ host: 'localhost' })).rejects.toThrow("host is 'localhost': it must be an IP address");
      await expect(refused({ maxConnections: -1 })).rejects.toMatchObject({ code: 'ERR_INVALID_OPTION' });
      await expect(refused({ lowWaterMark: 10, highWaterMark: 5 })).rejects.toThrow('at most highWaterMark, 5');
      await expect(refused({ framing: { format: 'xml' } })).rejects.toMatchObject({ code: 'ERR_INVALID_FRAMING' });
    });

    test('500 connections at once are all answered', async () => {
      const handler = new Recorder({ frame: echoFrame });
      const listener = await fixture.engine.listen({ port: 0, framing: lengthFraming }, handler);
      const peers = await Promise.all(Array.from({ length: 500 }, () => fixture.peer(listener)));
      for (const [index, peer] of peers.entries()) peer.write(lengthPrefixed(`from ${index}`));
      for (const [index, peer] of peers.entries()) {
        const frame = lengthPrefixed(`from ${index}`);
        expect(await peer.bytes(frame.length)).toEqual(frame);
      }
      expect(listener.connections).toBe(500);
      expect(new Set(handler.opened.map(({ id }) => id)).size).toBe(500);
      await fixture.counted({ accepted: 500, frames_received: 500 });
    });

    test('above maxConnections peers are closed at accept and counted; a place that comes free is taken', async () => {
      const handler = new Recorder({ frame: echoFrame });
      const listener = await fixture.engine.listen({ port: 0, framing: lengthFraming, maxConnections: 2 }, handler);
      const first = await fixture.peer(listener);
      const second = await fixture.peer(listener);
      await handler.connection(1);
      const third = await fixture.peer(listener);
      await third.end();
      expect(third.receivedBytes).toBe(0);
      await fixture.counted({ refused_max_connections: 1 });
      first.fin();
      await handler.closeInfo();
      await turnUntil(() => listener.connections === 1);
      const fourth = await fixture.peer(listener);
      for (const peer of [second, fourth]) {
        peer.write(lengthPrefixed('x'));
        await peer.bytes(5);
      }
    });

    test('above maxConnectionsPerIp an address is refused, also loopback where it is set', async () => {
      const handler = new Recorder({ frame: echoFrame });
      const options = { port: 0, framing: lengthFraming, maxConnectionsPerIp: 2 };
      const listener = await fixture.engine.listen(options, handler);
      await fixture.peer(listener);
      await fixture.peer(listener);
      await handler.connection(1);
      const third = await fixture.peer(listener);
      await third.end();
      await fixture.counted({ refused_max_connections_per_ip: 1 });
      const { port } = listener.address as { port: number };
      const other = await TcpPeer.connect({ host: '127.0.0.1', port }, { localAddress: '127.0.0.2' });
      fixture.cleanUp(() => other.destroy());
      other.write(lengthPrefixed('x'));
      await other.bytes(5);
      expect((await handler.connection(2)).remoteAddress).toBe('127.0.0.2');
    });

    test('a closed listener accepts nobody; its open connections go on', async () => {
      const handler = new Recorder({ frame: echoFrame });
      const listener = await fixture.engine.listen({ port: 0, framing: lengthFraming }, handler);
      const { address } = listener;
      const peer = await fixture.peer(listener);
      await handler.connection();
      await listener.close();
      await expect(TcpPeer.connect(address)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
      peer.write(lengthPrefixed('still here'));
      expect(await peer.bytes(14)).toEqual(lengthPrefixed('still here'));
    });

    test('what the kernel holds already when a listener closes is still accepted', async () => {
      const handler = new Recorder({ frame: echoFrame });
      const listener = await fixture.engine.listen({ port: 0, framing: lengthFraming }, handler);
      const peers = [await fixture.peer(listener), await fixture.peer(listener), await fixture.peer(listener)];
      await listener.close();
      for (const peer of peers) {
        peer.write(lengthPrefixed('x'));
        await peer.bytes(5);
      }
    });

    test('closing the engine closes every connection as engine-closed, after what is queued', async () => {
      const handler = new Recorder({ frame: echoFrame });
      const listener = await fixture.engine.listen({ port: 0, framing: lengthFraming }, handler);
      const peer = await fixture.peer(listener);
      const connection = await handler.connection();
      connection.send(lengthPrefixed('bye'));
      const closing = fixture.engine.close();
      expect(await peer.bytes(7)).toEqual(lengthPrefixed('bye'));
      await peer.end();
      peer.fin();
      await closing;
      expect(handler.closed).toMatchObject([{ info: { reason: 'engine-closed' } }]);
      expect(connection.state).toBe('closed');
      await expect(fixture.engine.listen({ port: 0, framing: lengthFraming }, handler)).rejects.toThrow('closed');
    });
  },
  { reactors: [0, 1, 2] },
);
