// The frame server: frames to a handler and back, in every framing, as Buffers that may be kept and changed.
import { expect, test } from 'vitest';
import { createServer, type FrameServer, type FrameServerOptions } from '../../src/server.js';
import type { FrameHandlers } from '../../src/frame-channel.js';
import type { FrameConnection } from '../../src/frame-connection.js';
import { Changes, turnUntil } from '../support/changes.js';
import { describeEngines, useEngine } from '../support/engines.js';
import { NOT_BYTES } from '../support/not-bytes.js';
import { lengthPrefixed } from '../support/tcp-peer.js';

describeEngines(
  'createServer: frames',
  (driver, run) => {
    const fixture = useEngine(run);

    async function start(options: Partial<FrameServerOptions>, handlers: FrameHandlers) {
      const server = createServer({ framing: 'length', port: 0, engine: fixture.engine, ...options }, handlers);
      fixture.cleanUp(() => server.close());
      const peer = await fixture.peer(await server.listen());
      return { server, peer };
    }

    test('runs on this driver', async () => {
      const { server } = await start({}, { frame: () => undefined });
      expect(server.engine.name).toBe(driver);
    });

    test.each([
      ['length', lengthPrefixed('hello'), lengthPrefixed('hello')],
      ['varint', Buffer.from('\x05hello'), Buffer.from('\x05hello')],
      ['line', Buffer.from('hello\r\n'), Buffer.from('hello\n')],
      ['raw', Buffer.from('hello'), Buffer.from('hello')],
    ] as const)('%s: a frame comes as a Buffer and goes back as one', async (framing, sent, echoed) => {
      const frames: Buffer[] = [];
      const { peer } = await start(
        { framing },
        {
          frame(connection, frame) {
            frames.push(frame);
            connection.send(frame);
          },
        },
      );
      peer.write(sent);
      expect(await peer.bytes(echoed.length)).toEqual(echoed);
      expect(frames[0]).toBeInstanceOf(Buffer);
      expect(frames[0].toString()).toBe('hello');
    });

    test('strings are sent as UTF-8', async () => {
      const { peer } = await start({}, { frame: (connection, frame) => connection.send(`«${frame}»`) });
      peer.write(lengthPrefixed('ß'));
      expect(await peer.bytes(4 + 6)).toEqual(lengthPrefixed('«ß»'));
    });

    test('what is neither bytes nor a string is refused, and the connection goes on', async () => {
      const errors: unknown[] = [];
      const { peer } = await start(
        {},
        {
          frame(connection) {
            for (const [, value] of NOT_BYTES) {
              try {
                connection.send(value);
              } catch (error) {
                errors.push(error);
              }
            }
            connection.send('fine');
          },
        },
      );
      peer.write(lengthPrefixed('?'));
      expect(await peer.bytes(8)).toEqual(lengthPrefixed('fine'));
      expect(errors).toHaveLength(NOT_BYTES.length);
      for (const error of errors) expect(error).toMatchObject({ name: 'TypeError', code: 'ERR_INVALID_BYTES' });
      expect((errors[0] as Error).message).toBe(
        'the payload is a DataView: a Uint8Array, such as a Buffer, or a string is needed ' +
          '(Buffer.from(it.buffer, it.byteOffset, it.byteLength) has its bytes)',
      );
    });

    test('a frame that the handler changes and sends goes out as changed', async () => {
      const { peer } = await start(
        {},
        {
          frame(connection, frame) {
            for (let i = 0; i < frame.length; i++) frame[i] = frame[i] ^ 0x20;
            connection.send(frame);
          },
        },
      );
      const texts = ['small', 'x'.repeat(5_000), 'y'.repeat(200_000)];
      for (const text of texts) peer.write(lengthPrefixed(text));
      const expected = Buffer.concat(texts.map((text) => lengthPrefixed(text.toUpperCase())));
      expect((await peer.bytes(expected.length)).equals(expected)).toBe(true);
    });

    test('a frame that is changed right after it was sent goes out as it was, whole or a part, also to who reads late', async () => {
      const sizes = [64, 5_000, 20_000, 70_000, 300_000, 3_000_000];
      const { peer } = await start(
        {},
        {
          frame(connection, frame) {
            const own = Buffer.from(frame);
            connection.send(frame);
            connection.send(frame.subarray(1));
            connection.send(own);
            frame.fill('z');
            own.fill('z');
          },
        },
      );
      peer.socket.pause();
      for (const size of sizes) peer.write(lengthPrefixed('x'.repeat(size)));
      const expected = Buffer.concat(
        sizes.flatMap((size) => [size, size - 1, size].map((n) => lengthPrefixed('x'.repeat(n)))),
      );
      await turnUntil(() => fixture.engine.counters().frames_received >= sizes.length);
      peer.socket.resume();
      expect((await peer.bytes(expected.length)).equals(expected)).toBe(true);
    });

    test('a frame sent twice, part of a frame, and a frame of before', async () => {
      let last: Buffer | undefined;
      const { peer } = await start(
        {},
        {
          frame(connection, frame) {
            connection.send(frame);
            connection.send(frame.subarray(1, 3));
            if (last !== undefined) connection.send(last);
            last = frame;
          },
        },
      );
      peer.write(Buffer.concat([lengthPrefixed('one'), lengthPrefixed('two')]));
      const expected = Buffer.concat(['one', 'ne', 'two', 'wo', 'one'].map(lengthPrefixed));
      expect(await peer.bytes(expected.length)).toEqual(expected);
    });

    test('kept frames stay as they were; 10,000 of 64 bytes hold under 20 MB', async () => {
      const kept: Buffer[] = [];
      const { peer } = await start({}, { frame: (_connection, frame) => kept.push(frame) && undefined });
      const changes = new Changes();
      const payload = (i: number) => Buffer.alloc(64, `${i} `);
      for (let from = 0; from < 10_000; from += 500) {
        peer.write(Buffer.concat(Array.from({ length: 500 }, (_, i) => lengthPrefixed(payload(from + i)))));
      }
      const timer = setInterval(() => changes.notify(), 1);
      fixture.cleanUp(() => clearInterval(timer));
      await changes.until('10,000 frames', () => kept.length === 10_000);
      for (const [i, frame] of kept.entries()) expect(frame.equals(payload(i))).toBe(true);
      const memory = new Map(kept.map(({ buffer }) => [buffer, buffer.byteLength]));
      const held = [...memory.values()].reduce((sum, bytes) => sum + bytes, 0);
      expect(held).toBeLessThan(20_000_000);
      expect(Math.max(...memory.values())).toBeLessThanOrEqual(65_536);
    });

    test('frames of 16 MiB', async () => {
      const { peer } = await start({}, { frame: (connection, frame) => connection.send(frame) && undefined });
      const frame = lengthPrefixed(Buffer.alloc(16_777_216, 'big '));
      peer.write(frame);
      expect((await peer.bytes(frame.length)).equals(frame)).toBe(true);
    });

    test('what a framing cannot carry is thrown at the sender; the connection goes on', async () => {
      const errors: string[] = [];
      const trySend = (connection: FrameConnection, payload: string) => {
        try {
          connection.send(payload);
        } catch (error) {
          errors.push((error as { code: string }).code);
        }
      };
      const { peer } = await start(
        { framing: 'line', maxFrameLength: 10 },
        {
          frame(connection) {
            trySend(connection, 'two\nlines');
            trySend(connection, 'x'.repeat(11));
            trySend(connection, 'fine');
          },
        },
      );
      peer.write('go\n');
      expect((await peer.bytes(5)).toString()).toBe('fine\n');
      expect(errors).toEqual(['ERR_INVALID_FRAME', 'ERR_FRAME_TOO_LONG']);
    });

    test('each connection has its context', async () => {
      const { server, peer } = await start(
        {},
        {
          open: (connection) => (connection.context = { count: 0 }) && undefined,
          frame(connection) {
            const context = connection.context as { count: number };
            connection.send(String(++context.count));
          },
        },
      );
      const other = await fixture.peer((server as FrameServer).address!);
      peer.write(Buffer.concat([lengthPrefixed(''), lengthPrefixed('')]));
      other.write(lengthPrefixed(''));
      expect(await peer.bytes(10)).toEqual(Buffer.concat([lengthPrefixed('1'), lengthPrefixed('2')]));
      expect(await other.bytes(5)).toEqual(lengthPrefixed('1'));
    });
  },
  { reactors: [0, 1] },
);
