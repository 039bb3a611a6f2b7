// Timeouts: idle, incomplete frames; and what does not count against a peer.
import { expect, test } from 'vitest';
import { describeEngines, useEngine } from '../support/engines.js';
import { echoFrame, lengthFraming, Recorder } from '../support/recorder.js';
import { lengthPrefixed } from '../support/tcp-peer.js';

describeEngines(
  'engine: timeouts',
  (driver, run) => {
    const fixture = useEngine(run);

    test('runs on this driver', () => expect(fixture.engine.name).toBe(driver));

    test('a silent peer is closed with idle-timeout, by FIN', async () => {
      const handler = new Recorder();
      const options = { port: 0, framing: lengthFraming, idleTimeoutMs: 80 };
      const peer = await fixture.peer(await fixture.engine.listen(options, handler));
      await peer.end();
      expect(peer.error).toBeUndefined();
      peer.fin();
      const info = await handler.closeInfo();
      expect(info.reason).toBe('idle-timeout');
      await fixture.counted({ idle_timeouts: 1 });
    });

    test('idle answers true: the connection is kept for another such time', async () => {
      let asked = 0;
      const handler = new Recorder({ idle: () => ++asked < 3 });
      const options = { port: 0, framing: lengthFraming, idleTimeoutMs: 50 };
      const peer = await fixture.peer(await fixture.engine.listen(options, handler));
      await peer.end();
      peer.fin();
      expect((await handler.closeInfo()).reason).toBe('idle-timeout');
      expect(asked).toBe(3);
    });

    test('traffic keeps a connection', async () => {
      const handler = new Recorder({ frame: echoFrame });
      const options = { port: 0, framing: lengthFraming, idleTimeoutMs: 400 };
      const peer = await fixture.peer(await fixture.engine.listen(options, handler));
      const started = performance.now();
      for (let i = 1; performance.now() - started < 1_000; i++) {
        peer.write(lengthPrefixed('x'));
        await peer.bytes(5 * i);
      }
      expect(handler.closed).toEqual([]);
    });

    test('a frame that stalls half-way closes with partial-frame-timeout; others never notice', async () => {
      const handler = new Recorder({ frame: echoFrame });
      const options = { port: 0, framing: lengthFraming, partialFrameTimeoutMs: 80 };
      const listener = await fixture.engine.listen(options, handler);
      const good = await fixture.peer(listener);
      const stalling = await fixture.peer(listener);
      stalling.write(lengthPrefixed('stalls').subarray(0, 7));
      await stalling.end();
      stalling.fin();
      expect((await handler.closeInfo()).reason).toBe('partial-frame-timeout');
      await fixture.counted({ partial_frame_timeouts: 1 });
      good.write(lengthPrefixed('fine'));
      await good.bytes(8);
    });

    test('a header that stalls counts as an incomplete frame too', async () => {
      const handler = new Recorder();
      const options = { port: 0, framing: lengthFraming, partialFrameTimeoutMs: 80 };
      const peer = await fixture.peer(await fixture.engine.listen(options, handler));
      peer.write(Buffer.from([0]));
      await peer.end();
      peer.fin();
      expect((await handler.closeInfo()).reason).toBe('partial-frame-timeout');
    });

    test('a drip of bytes does not buy time', async () => {
      const handler = new Recorder();
      const options = { port: 0, framing: lengthFraming, partialFrameTimeoutMs: 150, idleTimeoutMs: 0 };
      const peer = await fixture.peer(await fixture.engine.listen(options, handler));
      peer.write(Buffer.from([0, 0, 1, 0]));
      const dripping = setInterval(() => peer.write('.'), 10);
      fixture.cleanUp(() => clearInterval(dripping));
      await peer.end();
      clearInterval(dripping);
      peer.fin();
      expect((await handler.closeInfo()).reason).toBe('partial-frame-timeout');
      expect(handler.frames).toEqual([]);
    });

    test('time in which JavaScript was busy does not count against a peer', async () => {
      const handler = new Recorder({ frame: echoFrame });
      const options = { port: 0, framing: lengthFraming, idleTimeoutMs: 300, partialFrameTimeoutMs: 300 };
      const peer = await fixture.peer(await fixture.engine.listen(options, handler));
      const frame = lengthPrefixed('in two pieces');
      await peer.written(Buffer.concat([lengthPrefixed('first'), frame.subarray(0, 8)]));
      await peer.bytes(9);
      peer.write(frame.subarray(8));
      const until = performance.now() + 700;
      while (performance.now() < until);
      await peer.bytes(9 + frame.length);
      expect(handler.closed).toEqual([]);
      expect(handler.frames.length).toBe(2);
    });

    test('every calls back until it is stopped', async () => {
      let calls = 0;
      await new Promise<void>((resolve) => {
        const stop = fixture.engine.every(5, () => {
          if (++calls < 3) return;
          stop();
          resolve();
        });
      });
      expect(calls).toBe(3);
      expect(fixture.engine.now()).toBeGreaterThan(0);
    });
  },
  { reactors: [0, 1] },
);
