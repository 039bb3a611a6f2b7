// Frames: cut in every way, large, kept, broken; and handlers that throw.
import { expect, test } from 'vitest';
import type { Handler, Kept } from '../../src/engine/engine.js';
import { NativeEngine } from '../../src/engine/native-engine.js';
import { turnUntil } from '../support/changes.js';
import { describeEngines, useEngine } from '../support/engines.js';
import { echoFrame, lengthFraming, Recorder } from '../support/recorder.js';
import { lengthPrefixed } from '../support/tcp-peer.js';

const LARGE = 16 * 1024 * 1024;

/** Bytes that differ everywhere, so that a shifted or repeated piece is seen. */
function pattern(length: number, seed = 1): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  let value = seed;
  for (let i = 0; i < length; i++) {
    value = (Math.imul(value, 1_103_515_245) + 12_345) >>> 0;
    bytes[i] = value >>> 16;
  }
  return bytes;
}

describeEngines(
  'engine: frames',
  (driver, run) => {
    const fixture = useEngine(run);

    test('runs on this driver', () => expect(fixture.engine.name).toBe(driver));

    test('memory for records is empty, and begins at a line of the cache', () => {
      const { engine } = fixture;
      for (const length of [1, 100, 300_000]) {
        const bytes = engine.allocate(length);
        expect([bytes.length, bytes.every((byte) => byte === 0)]).toEqual([length, true]);
        if (engine instanceof NativeEngine) {
          const address = new Uint32Array(2);
          engine.addon.addressOf(bytes, 0, address);
          expect(address[0] % 64).toBe(0);
        }
      }
    });

    test('a stream cut at every offset gives the same frames', async () => {
      const handler = new Recorder({ frame: echoFrame });
      const listener = await fixture.engine.listen({ port: 0, framing: lengthFraming }, handler);
      const peer = await fixture.peer(listener);
      const payloads = ['', 'a', 'bc', 'a longer one'];
      const stream = Buffer.concat(payloads.map(lengthPrefixed));
      for (let cut = 1; cut < stream.length; cut++) {
        await peer.written(stream.subarray(0, cut));
        // What came whole is answered before the rest is sent, so that the cut is a real one.
        const whole = wholeBytes(payloads, cut);
        await peer.bytes(stream.length * (cut - 1) + whole);
        await peer.written(stream.subarray(cut));
        await peer.bytes(stream.length * cut);
      }
      const expected = Buffer.concat(Array.from({ length: stream.length - 1 }, () => stream));
      expect(peer.received.equals(expected)).toBe(true);
    });

    test('10,000 small frames in one go come in order', async () => {
      const handler = new Recorder({ frame: echoFrame });
      const listener = await fixture.engine.listen({ port: 0, framing: lengthFraming }, handler);
      const peer = await fixture.peer(listener);
      const stream = Buffer.concat(Array.from({ length: 10_000 }, (_, i) => lengthPrefixed(`frame ${i}`)));
      peer.write(stream);
      const echoed = await peer.bytes(stream.length);
      expect(echoed.equals(stream)).toBe(true);
      expect(handler.batches).toBeGreaterThan(0);
      expect(handler.batches).toBeLessThan(10_000);
    });

    test('16 MiB both ways', async () => {
      const handler = new Recorder({ frame: echoFrame });
      const listener = await fixture.engine.listen({ port: 0, framing: lengthFraming }, handler);
      const peer = await fixture.peer(listener);
      const frame = lengthPrefixed(pattern(LARGE));
      peer.write(frame);
      const echoed = await peer.bytes(frame.length);
      expect(echoed.equals(frame)).toBe(true);
    });

    test.each([100, 5_000, 9_000, 16_384, 40_000, 65_536, 70_000, 300_000])(
      'frames of %i bytes, many behind one another',
      async (length) => {
        const handler = new Recorder({ frame: echoFrame });
        const listener = await fixture.engine.listen({ port: 0, framing: lengthFraming }, handler);
        const peer = await fixture.peer(listener);
        const stream = Buffer.concat(Array.from({ length: 24 }, (_, i) => lengthPrefixed(pattern(length, i + 1))));
        peer.write(stream);
        const echoed = await peer.bytes(stream.length);
        expect(echoed.equals(stream)).toBe(true);
      },
    );

    test('a long frame lasts for its turn, or for as long as it is kept', async () => {
      const { engine } = fixture;
      const frames: Kept[] = [];
      const handler = new Recorder({
        frame(_connection, bytes, start, end) {
          const ways = [
            () => ({ bytes, start }),
            () => engine.keep(bytes, start, end),
            () => engine.keepReusable(bytes, start, end),
          ];
          frames.push(ways[frames.length % ways.length]());
        },
      });
      const listener = await engine.listen({ port: 0, framing: lengthFraming }, handler);
      const peer = await fixture.peer(listener);
      const sent = [1, 2, 3].map((seed) => pattern(300_000, seed));
      const holds = (i: number) =>
        Buffer.compare(frames[i].bytes.subarray(frames[i].start, frames[i].start + 300_000), sent[i]) === 0;
      for (const frame of sent) peer.write(lengthPrefixed(frame));
      await turnUntil(() => frames.length === 3);
      await new Promise(setImmediate);
      // The portable engine's memory is the garbage collector's.
      if (driver !== 'portable') expect(frames[0].bytes.length).toBe(0);
      expect([holds(1), holds(2)]).toEqual([true, true]);
      if (frames[2].isReusable) engine.reuse(frames[2].bytes);
      peer.write(lengthPrefixed('next'));
      await turnUntil(() => frames.length === 4);
      await new Promise(setImmediate);
      if (driver !== 'portable') expect(frames[2].bytes.length).toBe(0);
      expect(holds(1)).toBe(true);
    });

    test('a frame over maxFrameLength closes with the limit and the declared length; nobody else notices', async () => {
      const handler = new Recorder({ frame: echoFrame });
      const framing = { ...lengthFraming, maxFrameLength: 1_000 };
      const listener = await fixture.engine.listen({ port: 0, framing }, handler);
      const good = await fixture.peer(listener);
      const bad = await fixture.peer(listener);
      bad.write(Buffer.concat([lengthPrefixed('first'), Buffer.from([0xff, 0xff, 0xff, 0xff, 1, 2, 3])]));
      expect(await bad.bytes(9)).toEqual(lengthPrefixed('first'));
      await bad.end();
      bad.fin();
      const info = await handler.closeInfo();
      expect(info.reason).toBe('frame-too-long');
      expect(info.message).toMatch(/4294967295.*1000/);
      good.write(lengthPrefixed('x'.repeat(1_000)));
      await good.bytes(1_004);
      await fixture.counted({ frames_too_long: 1, frames_received: 2 });
    });

    test.each([
      ['negative after its adjustment', { lengthFieldLength: 4, lengthAdjustment: -8 }, [0, 0, 0, 4], '4'],
      ['negative as 64 bits', { lengthFieldLength: 8 }, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], '-1'],
      ['shorter than its header', { lengthFieldLength: 4, headerLength: 12 }, [0, 0, 0, 11], '11'],
    ] as const)('a length %s is a bad frame', async (_what, options, bytes, declared) => {
      const handler = new Recorder();
      const framing = { format: 'length-field', ...options } as const;
      const listener = await fixture.engine.listen({ port: 0, framing }, handler);
      const peer = await fixture.peer(listener);
      peer.write(Buffer.from(bytes));
      await peer.end();
      peer.fin();
      const info = await handler.closeInfo();
      expect(info.reason).toBe('bad-frame');
      expect(info.message).toContain(declared);
      await fixture.counted({ bad_frames: 1 });
      expect(handler.frames).toEqual([]);
    });

    test('FIN in the middle of a frame: truncated-frame', async () => {
      const handler = new Recorder({ end: () => undefined });
      const listener = await fixture.engine.listen({ port: 0, framing: lengthFraming }, handler);
      const peer = await fixture.peer(listener);
      peer.write(lengthPrefixed('whole'));
      peer.write(lengthPrefixed('half').subarray(0, 6));
      peer.fin();
      expect((await handler.closeInfo()).reason).toBe('truncated-frame');
      expect(handler.frames.map(String)).toEqual(['whole']);
      expect(handler.ends).toBe(0);
    });

    test('lines: LF and CR LF, and a last one without an end where that is accepted', async () => {
      const handler = new Recorder();
      const framing = { format: 'delimiter', stripCarriageReturn: true, acceptUnterminated: true } as const;
      const listener = await fixture.engine.listen({ port: 0, framing }, handler);
      const peer = await fixture.peer(listener);
      peer.write('one\r\n\ntwo\nlast');
      peer.fin();
      expect((await handler.closeInfo()).reason).toBe('peer-closed');
      expect(handler.frames.map(String)).toEqual(['one', '', 'two', 'last']);
    });

    test('varint and raw', async () => {
      const handler = new Recorder();
      const listener = await fixture.engine.listen({ port: 0, framing: { format: 'varint' } }, handler);
      const peer = await fixture.peer(listener);
      peer.write(Buffer.concat([Buffer.from([0]), Buffer.from([0xac, 0x02]), pattern(300)]));
      expect((await handler.frameAt(0)).length).toBe(0);
      expect((await handler.frameAt(1)).equals(pattern(300))).toBe(true);
      const raw = new Recorder();
      const rawPeer = await fixture.peer(await fixture.engine.listen({ port: 0, framing: { format: 'raw' } }, raw));
      rawPeer.write('whatever');
      expect(String(await raw.frameAt(0))).toBe('whatever');
    });

    test('an empty end of a frame, kept, takes no memory of its own', async () => {
      const kept: Kept[] = [];
      const frame: Handler['frame'] = (connection, bytes, start, end) => {
        kept.push(fixture.engine.keep(bytes, end, end));
        echoFrame(connection, bytes, start, end);
      };
      const handler = new Recorder({ frame });
      const peer = await fixture.peer(await fixture.engine.listen({ port: 0, framing: lengthFraming }, handler));
      for (let i = 0; i < 3; i++) {
        peer.write(lengthPrefixed('a header'));
        await peer.bytes(12 * (i + 1));
      }
      expect(kept.length).toBe(3);
      // A slab that all share, or no more than came.
      for (const { bytes } of kept) expect(bytes === kept[0].bytes || bytes.length <= 12).toBe(true);
    });

    test('kept frames stay intact while much traffic follows', async () => {
      const kept: { bytes: Uint8Array; start: number; length: number }[] = [];
      const handler = new Recorder({
        frame(connection, bytes, start, end) {
          kept.push({ ...fixture.engine.keep(bytes, start, end), length: end - start });
          echoFrame(connection, bytes, start, end);
        },
      });
      const listener = await fixture.engine.listen({ port: 0, framing: lengthFraming }, handler);
      const peer = await fixture.peer(listener);
      const payloads = Array.from({ length: 2_000 }, (_, i) => pattern([64, 700, 4_096, 4_097, 20_000][i % 5], i + 1));
      const stream = Buffer.concat(payloads.map(lengthPrefixed));
      peer.write(stream);
      await peer.bytes(stream.length);
      expect(kept.length).toBe(payloads.length);
      for (const [index, { bytes, start, length }] of kept.entries()) {
        expect(payloads[index].equals(bytes.subarray(start, start + length))).toBe(true);
        if (length <= 4_096) expect(bytes.buffer.byteLength).toBeLessThanOrEqual(16_384);
        else expect(bytes.buffer.byteLength).toBeLessThanOrEqual(length + 4_096);
      }
    });

    test('a handler that throws is an uncaught exception; the frames behind are still delivered', async () => {
      const uncaught: unknown[] = [];
      const restore = catchUncaught((error) => uncaught.push(error));
      fixture.cleanUp(restore);
      const handler = new Recorder({
        frame(_connection, bytes, start) {
          if (bytes[start] === 'x'.charCodeAt(0)) throw new Error('the handler broke');
        },
      });
      const listener = await fixture.engine.listen({ port: 0, framing: lengthFraming }, handler);
      const peer = await fixture.peer(listener);
      peer.write(Buffer.concat(['a', 'x', 'b', 'x', 'c'].map(lengthPrefixed)));
      await handler.frameAt(4);
      expect(handler.frames.map(String)).toEqual(['a', 'x', 'b', 'x', 'c']);
      peer.write(lengthPrefixed('d'));
      await handler.frameAt(5);
      expect(uncaught.map(String)).toEqual(['Error: the handler broke', 'Error: the handler broke']);
    });

    test('a frame handed to another connection arrives there', async () => {
      const others: Recorder = new Recorder();
      const listener = await fixture.engine.listen({ port: 0, framing: lengthFraming }, others);
      const sink = await fixture.peer(listener);
      const target = await others.connection();
      const handler = new Recorder({ frame: (_connection, ...frame) => echoFrame(target, ...frame) });
      const source = await fixture.peer(await fixture.engine.listen({ port: 0, framing: lengthFraming }, handler));
      const stream = Buffer.concat([64, 5_000, 200_000, 3].map((length) => lengthPrefixed(pattern(length))));
      source.write(stream);
      expect((await sink.bytes(stream.length)).equals(stream)).toBe(true);
    });
  },
  { reactors: [0, 1, 2] },
);

/** Bytes of the frames that are whole within the first `cut` bytes of the stream. */
function wholeBytes(payloads: readonly string[], cut: number): number {
  let whole = 0;
  for (const payload of payloads) {
    if (whole + 4 + payload.length > cut) break;
    whole += 4 + payload.length;
  }
  return whole;
}

/** Instead of the test runner's own listeners, which would fail the run. */
function catchUncaught(listener: (error: unknown) => void): () => void {
  const others = process.listeners('uncaughtException');
  process.removeAllListeners('uncaughtException');
  process.on('uncaughtException', listener);
  return () => {
    process.removeAllListeners('uncaughtException');
    for (const other of others) process.on('uncaughtException', other);
  };
}
