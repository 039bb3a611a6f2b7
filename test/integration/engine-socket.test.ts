// What a connection is asked of its socket: addresses, families, bytes read, options; and limits that are switched off.
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { ENGINE_LIMITS } from '../../src/engine/tables.gen.js';
import { turnUntil } from '../support/changes.js';
import { describeEngines, useEngine } from '../support/engines.js';
import { echoFrame, lengthFraming, Recorder } from '../support/recorder.js';
import { lengthPrefixed, TcpPeer } from '../support/tcp-peer.js';

/** The kernel's timers are the coarser the later they are. */
const TIMER_SLACK_MS = 10_000;
const TIMERS: Readonly<Record<string, string>> = { '00': 'none', '01': 'retransmission', '02': 'keep-alive' };

/** Of an IPv4 socket, from /proc/net/tcp, which counts in hundredths of a second. */
function kernelTimer(localPort: number, remotePort: number): { kind: string; ms: number } {
  const ends = [localPort, remotePort].map((port) => port.toString(16).toUpperCase().padStart(4, '0'));
  const pattern = new RegExp(`:${ends[0]} \\w+:${ends[1]} \\w+ \\w+:\\w+ (\\w+):(\\w+)`);
  const [, kind, ticks] = pattern.exec(readFileSync('/proc/net/tcp', 'utf8')) ?? [];
  return { kind: TIMERS[kind] ?? `${kind}`, ms: Number.parseInt(ticks, 16) * 10 };
}

describeEngines(
  'engine: socket',
  (driver, run) => {
    const fixture = useEngine(run);

    test('runs on this driver', () => expect(fixture.engine.name).toBe(driver));

    test.each([
      ['IPv4', '127.0.0.1'],
      ['IPv6', '::1'],
    ])('both ends of %s', async (family, host) => {
      const handler = new Recorder();
      const listener = await fixture.engine.listen({ host, port: 0, framing: lengthFraming }, handler);
      const peer = await fixture.peer(listener);
      const connection = await handler.connection();
      expect([connection.localAddress, connection.localPort]).toEqual([host, peer.socket.remotePort]);
      expect([connection.remoteAddress, connection.remotePort]).toEqual([host, peer.socket.localPort]);
      expect([connection.localFamily, connection.remoteFamily]).toEqual([family, family]);
      peer.fin();
      await handler.closeInfo();
      expect(connection.localPort).toBe(peer.socket.remotePort);
    });

    test('a connection that nobody asked in time has no local address', async () => {
      const handler = new Recorder();
      const listener = await fixture.engine.listen({ port: 0, framing: lengthFraming }, handler);
      const peer = await fixture.peer(listener);
      const connection = await handler.connection();
      peer.fin();
      await handler.closeInfo();
      expect([connection.localAddress, connection.localPort]).toEqual(['', 0]);
    });

    test.runIf(process.platform === 'linux')(
      'keepAliveMs: the kernel asks a peer that is silent for so long',
      async () => {
        const handler = new Recorder();
        const listener = await fixture.engine.listen({ port: 0, framing: lengthFraming }, handler);
        const { port } = listener.address as { port: number };
        const outgoing = fixture.engine.connect({ host: '127.0.0.1', port, framing: lengthFraming }, new Recorder());
        const accepted = await handler.connection();
        await turnUntil(() => outgoing.state === 'open');
        const ends = [accepted, outgoing].map(({ localPort, remotePort }) => kernelTimer(localPort, remotePort));
        for (const { kind, ms } of ends) {
          expect(kind).toBe('keep-alive');
          expect(ms).toBeGreaterThan(ENGINE_LIMITS.keepAliveMs - 10_000);
          expect(ms).toBeLessThanOrEqual(ENGINE_LIMITS.keepAliveMs + TIMER_SLACK_MS);
        }
      },
    );

    test('an abstract unix socket: listens, connects, echoes, and leaves no file', async () => {
      const path = `\0ringway-${process.pid}-${driver}-${run.reactors}`;
      const handler = new Recorder({ frame: echoFrame });
      const listener = await fixture.engine.listen({ path, framing: lengthFraming }, handler);
      expect(listener.address).toEqual({ path });
      const client = new Recorder();
      const outgoing = fixture.engine.connect({ path, framing: lengthFraming }, client);
      outgoing.send(lengthPrefixed('hello'));
      expect(String(await client.frameAt(0))).toBe('hello');
      expect(outgoing.remoteAddress).toBe(path);
      const accepted = await handler.connection();
      expect([accepted.remoteFamily, accepted.localFamily, accepted.localPort]).toEqual(['unix', 'unix', 0]);
      const again = fixture.engine.listen({ path, framing: lengthFraming }, handler);
      await expect(again).rejects.toMatchObject({ code: 'EADDRINUSE', syscall: 'listen', address: path });
      await listener.close();
      const second = await fixture.engine.listen({ path, framing: lengthFraming }, handler);
      await second.close();
    });

    test('bytes received are those of the wire, also when all is over', async () => {
      const handler = new Recorder({ frame: echoFrame });
      const listener = await fixture.engine.listen({ port: 0, framing: lengthFraming }, handler);
      const peer = await fixture.peer(listener);
      const connection = await handler.connection();
      expect(connection.bytesReceived).toBe(0);
      peer.write(lengthPrefixed('hello'));
      await handler.frameAt(0);
      expect(connection.bytesReceived).toBe(9);
      const large = lengthPrefixed(Buffer.alloc(3_000_000));
      peer.write(large);
      await handler.frameAt(1);
      expect(connection.bytesReceived).toBe(9 + large.length);
      peer.fin();
      await handler.closeInfo();
      expect(connection.bytesReceived).toBe(9 + large.length);
    });

    test('options may be set at any time: connecting, open, closed, on TCP and on unix sockets', async () => {
      const handler = new Recorder({ frame: echoFrame });
      for (const where of [{ port: 0 }, { path: `\0ringway-options-${process.pid}-${driver}-${run.reactors}` }]) {
        const listener = await fixture.engine.listen({ ...where, framing: lengthFraming, noDelay: false }, handler);
        const client = new Recorder();
        const connection = fixture.engine.connect({ ...listener.address, framing: lengthFraming } as never, client);
        const setAll = () => {
          connection.setNoDelay(true);
          connection.setNoDelay(false);
          connection.setKeepAlive(true, 5_000);
          connection.setKeepAlive(true);
          connection.setKeepAlive(false);
        };
        setAll();
        await client.connection();
        setAll();
        connection.send(lengthPrefixed('still here'));
        expect(String(await client.frameAt(0))).toBe('still here');
        connection.destroy();
        await client.closeInfo();
        setAll();
      }
    });

    test('every limit may be off', async () => {
      const handler = new Recorder({ frame: echoFrame });
      const off = {
        maxConnections: 0,
        maxConnectionsPerIp: 0,
        idleTimeoutMs: 0,
        partialFrameTimeoutMs: 0,
        writeStallTimeoutMs: 0,
        maxBufferedBytes: Number.MAX_SAFE_INTEGER,
        keepAliveMs: 0,
      };
      const listener = await fixture.engine.listen({ port: 0, framing: lengthFraming, ...off }, handler);
      const peers = await Promise.all(Array.from({ length: 20 }, () => fixture.peer(listener)));
      for (const peer of peers) peer.write(lengthPrefixed('x'));
      for (const peer of peers) await peer.bytes(5);
      expect(listener.connections).toBe(20);
      handler.opened[0].send(Buffer.alloc(100_000_000));
      expect(handler.opened[0].state).toBe('open');
      await turnUntil(() => handler.opened[0].bufferedAmount === 0);
    });

    test(':: takes IPv4 too, unless it is told not to', async () => {
      const handler = new Recorder();
      const both = await fixture.engine.listen({ host: '::', port: 0, framing: lengthFraming }, handler);
      const { port } = both.address as { port: number };
      const peer = await TcpPeer.connect({ host: '127.0.0.1', port });
      fixture.cleanUp(() => peer.destroy());
      const connection = await handler.connection();
      expect([connection.remoteAddress, connection.remoteFamily]).toEqual(['::ffff:127.0.0.1', 'IPv6']);
      const only = await fixture.engine.listen(
        { host: '::', port: 0, ipv6Only: true, framing: lengthFraming },
        handler,
      );
      const { port: second } = only.address as { port: number };
      await expect(TcpPeer.connect({ host: '127.0.0.1', port: second })).rejects.toMatchObject({
        code: 'ECONNREFUSED',
      });
      const six = await TcpPeer.connect({ host: '::1', port: second });
      fixture.cleanUp(() => six.destroy());
      expect((await handler.connection(1)).remoteAddress).toBe('::1');
    });
  },
  { reactors: [0, 1] },
);
