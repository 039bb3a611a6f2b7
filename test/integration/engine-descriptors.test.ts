// Descriptors that come from elsewhere, and that go elsewhere: listen({ fd }), adopt, detach.
import { randomBytes } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { turnUntil } from '../support/changes.js';
import { boundSocket, connectedSocket } from '../support/descriptors.js';
import { describeEngines, useEngine } from '../support/engines.js';
import { echoFrame, lengthFraming, Recorder } from '../support/recorder.js';
import { lengthPrefixed, TcpPeer } from '../support/tcp-peer.js';

const raw = { format: 'raw' } as const;

describeEngines(
  'engine: descriptors',
  (driver, run) => {
    const fixture = useEngine(run);

    test('runs on this driver', () => expect(fixture.engine.name).toBe(driver));

    test.each([
      ['TCP', '127.0.0.1'],
      ['IPv6', '::1'],
      ['unix', ''],
    ])('listens on a bound %s socket that it is given', async (kind, host) => {
      const folder = mkdtempSync(join(tmpdir(), 'ringway-'));
      fixture.cleanUp(() => rmSync(folder, { recursive: true }));
      const path = kind === 'unix' ? join(folder, 'socket') : undefined;
      const bound = await boundSocket(path === undefined ? { host } : { path });
      const handler = new Recorder({ frame: echoFrame });
      const listener = await fixture.engine.listen({ fd: bound.fd, framing: lengthFraming }, handler);
      const address = path === undefined ? { host, port: bound.port } : { path };
      // node:net does not tell where a unix socket that it was handed is bound.
      const isTold = path === undefined || driver !== 'portable';
      expect(listener.address).toEqual(isTold ? address : { path: '' });
      const peer = await fixture.peer(address);
      peer.write(lengthPrefixed('hello'));
      expect(await peer.bytes(9)).toEqual(lengthPrefixed('hello'));
      await listener.close();
      await expect(TcpPeer.connect(address)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    });

    test('what is no socket is refused, as node:net says it, and stays open', async () => {
      const fd = openSync('/dev/null', 'r');
      const listening = fixture.engine.listen({ fd, framing: lengthFraming }, new Recorder());
      await expect(listening).rejects.toMatchObject({ code: 'EINVAL', syscall: 'listen' });
      closeSync(fd);
      const both = fixture.engine.listen({ fd: 3, port: 1, framing: lengthFraming } as never, new Recorder());
      await expect(both).rejects.toThrow('fd is 3: give a descriptor, or an address');
    });

    test('adopts a connected socket, with what its peer has sent already', async () => {
      const { fd, peer } = await connectedSocket();
      fixture.cleanUp(() => peer.destroy());
      await peer.written(lengthPrefixed('early'));
      const handler = new Recorder({ frame: echoFrame });
      const connection = fixture.engine.adopt(fd, { framing: lengthFraming }, handler);
      expect(connection.state).toBe('connecting');
      connection.send(lengthPrefixed('mine first'));
      expect(await handler.connection()).toBe(connection);
      expect([connection.remoteAddress, connection.remotePort]).toEqual(['127.0.0.1', peer.socket.localPort]);
      expect(connection.localPort).toBe(peer.socket.remotePort);
      expect(await peer.bytes(23)).toEqual(Buffer.concat([lengthPrefixed('mine first'), lengthPrefixed('early')]));
      await fixture.counted({ adopted: 1, accepted: 0, connects: 0 });
      connection.close();
      await peer.end();
      peer.fin();
      expect((await handler.closeInfo()).reason).toBe('closed');
    });

    test('what is no socket cannot be adopted, and stays open', () => {
      const fd = openSync('/dev/null', 'r');
      expect(() => fixture.engine.adopt(fd, { framing: raw }, new Recorder())).toThrow(/adopt/);
      closeSync(fd);
      expect(() => fixture.engine.adopt(-1, { framing: raw }, new Recorder())).toThrow('fd is -1');
    });

    if (driver === 'portable') {
      test('a connection cannot be detached: Node gives no descriptor back', async () => {
        const handler = new Recorder();
        const listener = await fixture.engine.listen({ port: 0, framing: raw }, handler);
        await fixture.peer(listener);
        const detaching = (await handler.connection()).detach();
        await expect(detaching).rejects.toMatchObject({ code: 'ERR_UNSUPPORTED' });
      });
      return;
    }

    test('detached: what is queued leaves first, and whoever adopts the descriptor goes on', async () => {
      const handler = new Recorder();
      const listener = await fixture.engine.listen({ port: 0, framing: raw, maxBufferedBytes: 2 ** 30 }, handler);
      const peer = await fixture.peer(listener);
      const connection = await handler.connection();
      const bytes = randomBytes(5_000_000);
      connection.send(bytes);
      const detaching = connection.detach();
      expect(connection.send(Buffer.from('too late'))).toBe(false);
      const fd = await detaching;
      expect(await handler.closeInfo()).toMatchObject({ reason: 'detached', bytesHandedToKernel: bytes.length });
      expect(connection.state).toBe('closed');

      // What comes while nobody reads is for the next owner.
      await peer.written('for the next');
      const next = new Recorder();
      const adopted = fixture.engine.adopt(fd, { framing: raw }, next);
      expect(String(await next.frameAt(0))).toBe('for the next');
      adopted.send(Buffer.from('goes on'));
      const all = Buffer.concat([bytes, Buffer.from('goes on')]);
      expect((await peer.bytes(all.length)).equals(all)).toBe(true);
      expect(peer.ended).toBe(false);
      adopted.destroy();
    });

    test('detached while paused: what was read is delivered first', async () => {
      const handler = new Recorder();
      const listener = await fixture.engine.listen({ port: 0, framing: raw }, handler);
      const peer = await fixture.peer(listener);
      const connection = await handler.connection();
      const bytes = randomBytes(200_000);
      await peer.written(bytes.subarray(0, 100_000));
      connection.pause();
      peer.write(bytes.subarray(100_000));
      const fd = await connection.detach();
      await handler.closeInfo();
      const next = new Recorder();
      const adopted = fixture.engine.adopt(fd, { framing: raw }, next);
      const all = () => Buffer.concat([...handler.frames, ...next.frames]);
      await next.changes.until('all bytes', () => all().length === bytes.length);
      expect(all().equals(bytes)).toBe(true);
      adopted.destroy();
    });

    test('in the middle of a frame it is refused, and the connection goes on', async () => {
      const handler = new Recorder();
      const listener = await fixture.engine.listen({ port: 0, framing: lengthFraming }, handler);
      const peer = await fixture.peer(listener);
      const connection = await handler.connection();
      const frame = lengthPrefixed('in two pieces');
      peer.write(Buffer.concat([lengthPrefixed('whole'), frame.subarray(0, 7)]));
      await handler.frameAt(0);
      await expect(connection.detach()).rejects.toThrow('7 bytes of an incomplete frame were read');
      peer.write(frame.subarray(7));
      expect(String(await handler.frameAt(1))).toBe('in two pieces');
      connection.send(Buffer.from('as before'));
      expect(String(await peer.bytes(9))).toBe('as before');
      // Between two frames nothing stands in the way.
      const fd = await connection.detach();
      fixture.engine.adopt(fd, { framing: raw }, new Recorder()).destroy();
    });

    test('paused or resumed meanwhile: that holds when it is refused', async () => {
      const handler = new Recorder();
      const listener = await fixture.engine.listen({ port: 0, framing: lengthFraming }, handler);
      const peer = await fixture.peer(listener);
      const connection = await handler.connection();
      const frame = lengthPrefixed('in two pieces');
      await peer.written(frame.subarray(0, 7));
      await turnUntil(() => connection.bytesReceived === 7);
      connection.pause();
      const detaching = connection.detach();
      connection.resume();
      await expect(detaching).rejects.toThrow('7 bytes of an incomplete frame were read');
      peer.write(frame.subarray(7));
      expect(String(await handler.frameAt(0))).toBe('in two pieces');
    });

    test('bytes that cannot go: it is refused when the connection ends for it', async () => {
      const handler = new Recorder();
      const options = { port: 0, framing: raw, writeStallTimeoutMs: 100 } as const;
      const listener = await fixture.engine.listen(options, handler);
      const peer = await fixture.peer(listener, { paused: true });
      const connection = await handler.connection();
      connection.send(Buffer.alloc(20_000_000));
      await expect(connection.detach()).rejects.toThrow('it ended (write-stalled)');
      await expect(connection.detach()).rejects.toMatchObject({ code: 'ERR_CANNOT_DETACH' });
      peer.destroy();
    });
  },
  { reactors: [0, 1] },
);
