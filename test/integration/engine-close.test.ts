// How connections end: half closes, lingering, resets, and reading that is paused.
import { expect, test } from 'vitest';
import { turnUntil } from '../support/changes.js';
import { describeEngines, useEngine } from '../support/engines.js';
import { echoFrame, lengthFraming, Recorder } from '../support/recorder.js';
import { lengthPrefixed } from '../support/tcp-peer.js';

describeEngines(
  'engine: close',
  (driver, run) => {
    const fixture = useEngine(run);

    async function open(handler: Recorder, options: object = {}) {
      const listener = await fixture.engine.listen({ port: 0, framing: lengthFraming, ...options }, handler);
      const peer = await fixture.peer(listener);
      return { peer, connection: await handler.connection() };
    }

    test('runs on this driver', () => expect(fixture.engine.name).toBe(driver));

    test('FIN without an end handler: what came is answered, then peer-closed', async () => {
      const handler = new Recorder({ frame: echoFrame });
      const { peer } = await open(handler);
      peer.write(lengthPrefixed('last words'));
      peer.fin();
      expect(await peer.bytes(14)).toEqual(lengthPrefixed('last words'));
      await peer.close();
      expect(peer.error).toBeUndefined();
      expect(await handler.closeInfo()).toMatchObject({ reason: 'peer-closed', bytesHandedToKernel: 14 });
    });

    test('with an end handler the sending half still works until the owner closes', async () => {
      const handler = new Recorder({ end: () => undefined });
      const { peer, connection } = await open(handler);
      peer.fin();
      await handler.changes.until('end', () => handler.ends === 1);
      expect(connection.state).toBe('open');
      connection.send(Buffer.from('still '));
      await peer.bytes(6);
      connection.send(Buffer.from('talking'));
      connection.close();
      expect((await peer.bytes(13)).toString()).toBe('still talking');
      await peer.close();
      expect((await handler.closeInfo()).bytesHandedToKernel).toBe(13);
      expect(handler.ends).toBe(1);
    });

    test('shutdown sends what is queued and FIN; reading goes on until the peer ends', async () => {
      const handler = new Recorder();
      const { peer, connection } = await open(handler);
      connection.send(Buffer.from('bye'));
      connection.shutdown();
      await peer.end();
      expect(peer.received.toString()).toBe('bye');
      expect(connection.send(Buffer.from('more'))).toBe(false);
      peer.write(lengthPrefixed('after your FIN'));
      expect(String(await handler.frameAt(0))).toBe('after your FIN');
      peer.fin();
      expect((await handler.closeInfo()).bytesHandedToKernel).toBe(3);
    });

    test('close flushes megabytes before its FIN', async () => {
      const handler = new Recorder();
      const { peer, connection } = await open(handler);
      const bytes = Buffer.alloc(10_000_000, 'z');
      connection.send(bytes);
      connection.close();
      expect(connection.state).toBe('closing');
      expect(connection.send(Buffer.from('x'))).toBe(false);
      await peer.end();
      expect(peer.receivedBytes).toBe(bytes.length);
      peer.fin();
      expect(await handler.closeInfo()).toMatchObject({ reason: 'closed', bytesHandedToKernel: bytes.length });
      expect(connection.state).toBe('closed');
    });

    test('an error message is not destroyed by a reset while the peer still sends', async () => {
      const handler = new Recorder({
        frame(connection) {
          connection.send(Buffer.from('ERR no'));
          connection.close('protocol-error', 'as the test wants');
        },
      });
      const { peer } = await open(handler);
      peer.write(lengthPrefixed('one'));
      await peer.bytes(6);
      for (let i = 0; i < 10; i++) await peer.written(lengthPrefixed('unwanted'.repeat(100)));
      await peer.end();
      expect(peer.received.toString()).toBe('ERR no');
      expect(peer.error).toBeUndefined();
      peer.fin();
      expect(await handler.closeInfo()).toMatchObject({ reason: 'protocol-error', message: 'as the test wants' });
      expect(handler.frames.length).toBe(1);
      await turnUntil(() => fixture.engine.counters().dropped_bytes_after_close >= 1);
    });

    test('a peer that goes on sending after our close is cut after 64 KB', async () => {
      const handler = new Recorder();
      const { peer, connection } = await open(handler);
      connection.close();
      await peer.end();
      // It never ends: without the bound this connection would live as long as its linger.
      peer.write(Buffer.alloc(1_048_576));
      expect((await handler.closeInfo()).reason).toBe('closed');
      await turnUntil(() => fixture.engine.counters().dropped_bytes_after_close > 65_536);
    });

    test('abort resets: the peer sees ECONNRESET, and what was queued never leaves', async () => {
      const handler = new Recorder();
      const { peer, connection } = await open(handler);
      connection.send(Buffer.from('never seen'));
      connection.abort('unhealthy', 'as the test wants');
      await peer.close();
      expect(peer.error).toMatchObject({ code: 'ECONNRESET' });
      expect(peer.receivedBytes).toBe(0);
      const info = await handler.closeInfo();
      expect(info).toMatchObject({ reason: 'unhealthy', message: 'as the test wants', bytesHandedToKernel: 0 });
    });

    test('destroy: what is queued leaves, then FIN, and nobody is waited for', async () => {
      const handler = new Recorder();
      const { peer, connection } = await open(handler);
      connection.send(Buffer.from('first '));
      await new Promise((resolve) => setImmediate(resolve));
      connection.send(Buffer.from('second '), Buffer.alloc(40_000, 'z'));
      const before = performance.now();
      connection.destroy('unhealthy', 'as the test wants');
      expect(connection.state).toBe('closing');
      const sent = { reason: 'unhealthy', message: 'as the test wants', bytesHandedToKernel: 40_013 };
      expect(await handler.closeInfo()).toMatchObject(sent);
      // The peer has not ended: closing would have waited 2 s for it.
      expect(performance.now() - before).toBeLessThan(1_500);
      await peer.end();
      expect(peer.receivedBytes).toBe(40_013);
      expect(peer.error).toBeUndefined();
    });

    test('destroy: what the kernel does not take is dropped, and it is known how much it took', async () => {
      const handler = new Recorder();
      const listener = await fixture.engine.listen(
        { port: 0, framing: lengthFraming, maxBufferedBytes: 2 ** 33 },
        handler,
      );
      const peer = await fixture.peer(listener, { paused: true });
      const connection = await handler.connection();
      for (let i = 0; i < 40; i++) connection.send(Buffer.alloc(1_000_000, i));
      connection.destroy();
      const { bytesHandedToKernel } = await handler.closeInfo();
      expect(bytesHandedToKernel).toBeGreaterThan(0);
      expect(bytesHandedToKernel).toBeLessThan(40_000_000);
      peer.socket.resume();
      await peer.end();
      expect(peer.receivedBytes).toBe(bytesHandedToKernel);
    });

    test('destroy ends a connection that is closing, at once', async () => {
      const handler = new Recorder();
      const { peer, connection } = await open(handler);
      connection.close('going-away');
      await peer.end();
      const before = performance.now();
      connection.destroy();
      expect((await handler.closeInfo()).reason).toBe('going-away');
      expect(performance.now() - before).toBeLessThan(1_500);
    });

    test("a peer's reset is peer-reset with the system's code", async () => {
      const handler = new Recorder({ end: () => undefined });
      const { peer } = await open(handler);
      peer.reset();
      expect(await handler.closeInfo()).toMatchObject({
        reason: 'peer-reset',
        errorCode: 'ECONNRESET',
        syscall: 'read',
      });
      expect(handler.ends).toBe(0);
    });

    for (const hears of [false, true]) {
      test(`a reset while a send is pending is no end, ${hears ? 'with' : 'without'} an end handler`, async () => {
        const handler = new Recorder(hears ? { end: () => undefined } : {});
        const options = { port: 0, framing: lengthFraming, maxBufferedBytes: 2 ** 30 };
        const listener = await fixture.engine.listen(options, handler);
        const peer = await fixture.peer(listener, { paused: true });
        const connection = await handler.connection();
        connection.send(Buffer.alloc(20_000_000));
        await peer.written(lengthPrefixed('partial'));
        await handler.frameAt(0);
        peer.reset();
        expect(await handler.closeInfo()).toMatchObject({
          reason: 'peer-reset',
          errorCode: 'ECONNRESET',
          syscall: 'read',
        });
        expect(handler.ends).toBe(0);
      });
    }

    test('paused, nothing is read and the peer runs full; resumed, everything comes', async () => {
      const handler = new Recorder();
      const { peer, connection } = await open(handler, { idleTimeoutMs: 60, partialFrameTimeoutMs: 60 });
      connection.pause();
      // A frame in two pieces, so that both limits would strike were the time held against the peer.
      const frame = lengthPrefixed(Buffer.alloc(100_000, 'p'));
      await peer.written(frame.subarray(0, 50_000));
      let sent = 0;
      const piece = lengthPrefixed(Buffer.alloc(65_532));
      peer.write(frame.subarray(50_000));
      while (peer.socket.writableLength < 1_000_000) {
        peer.write(piece);
        sent++;
        await new Promise((resolve) => setImmediate(resolve));
      }
      const before = handler.frames.length;
      await new Promise<void>((resolve) => {
        const timer = setInterval(() => {
          clearInterval(timer);
          resolve();
        }, 200);
      });
      expect(handler.frames.length - before).toBe(0);
      expect(handler.closed).toEqual([]);
      connection.resume();
      await handler.changes.until('all frames', () => handler.frames.length === sent + 1);
      peer.fin();
      expect((await handler.closeInfo()).reason).toBe('peer-closed');
    });

    test('close is called exactly once, and outside of the calls that cause it', async () => {
      const order: string[] = [];
      const handler = new Recorder({ close: () => order.push('close') });
      const { connection } = await open(handler);
      connection.close();
      connection.close('going-away');
      connection.abort();
      connection.shutdown();
      order.push('returned');
      await handler.closeInfo();
      await fixture.counted({ closed: 1 });
      expect(order).toEqual(['returned', 'close']);
      expect(handler.closed[0].info.reason).toBe('closed');
    });
  },
  { reactors: [0, 1] },
);
