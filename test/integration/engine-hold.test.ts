// Frames that end with a hold: what stands behind them waits for the framing that goes on.
import { expect, test } from 'vitest';
import type { Connection } from '../../src/engine/engine.js';
import { turnUntil } from '../support/changes.js';
import { describeEngines, useEngine } from '../support/engines.js';
import { lengthFraming, Recorder } from '../support/recorder.js';
import { lengthPrefixed } from '../support/tcp-peer.js';

const greeting = { format: 'delimiter', delimiter: '\r\n', hold: true } as const;
const raw = { format: 'raw' } as const;

describeEngines(
  'engine: hold',
  (driver, run) => {
    const fixture = useEngine(run);

    async function open(handler: Recorder, options: object = {}) {
      const listener = await fixture.engine.listen({ port: 0, framing: greeting, ...options }, handler);
      const peer = await fixture.peer(listener);
      return { peer, connection: await handler.connection() };
    }
    const texts = (handler: Recorder) => handler.frames.map(String);

    test('runs on this driver', () => expect(fixture.engine.name).toBe(driver));

    test.each(['in the call', 'later'])('bytes behind the held frame are cut by the framing named %s', async (when) => {
      const go = (connection: Connection) => connection.setFraming(lengthFraming);
      const handler = new Recorder({
        frame(connection) {
          if (handler.frames.length > 1) return;
          if (when === 'in the call') go(connection);
          else setTimeout(go, 30, connection);
        },
      });
      const { peer } = await open(handler);
      // The first length prefix is CR LF twice over: the old framing would cut it.
      const first = Buffer.alloc(0x0d0a, 'x');
      const wide = Buffer.concat([Buffer.from([0, 0, 0x0d, 0x0a]), first]);
      peer.write(Buffer.concat([Buffer.from('UPGRADE\r\n'), wide, lengthPrefixed('two')]));
      peer.write(lengthPrefixed('three'));
      await handler.frameAt(3);
      expect(texts(handler)).toEqual(['UPGRADE', String(first), 'two', 'three']);
    });

    test('nothing is delivered while held, however the bytes come; then all of it is', async () => {
      const handler = new Recorder();
      const { peer, connection } = await open(handler, { idleTimeoutMs: 60, partialFrameTimeoutMs: 60 });
      await peer.written('HELLO\r\nwo');
      await handler.frameAt(0);
      await peer.written('rl');
      await peer.written('d\r\nmore\r\n');
      await turnUntil(() => connection.bytesReceived === 20);
      // Nor is the peer's time running.
      await new Promise((resolve) => setTimeout(resolve, 200));
      expect(texts(handler)).toEqual(['HELLO']);
      expect(handler.closed).toEqual([]);
      connection.setFraming({ format: 'delimiter', delimiter: '\r\n' });
      await handler.frameAt(2);
      expect(texts(handler)).toEqual(['HELLO', 'world', 'more']);
    });

    test('nor behind a frame whose end came together with what follows it', async () => {
      const handler = new Recorder();
      const { peer, connection } = await open(handler, { framing: { ...lengthFraming, hold: true } });
      const wide = Buffer.concat([lengthPrefixed('HELLO'), lengthPrefixed('world')]);
      await peer.written(wide.subarray(0, 6));
      await turnUntil(() => connection.bytesReceived === 6);
      await peer.written(wide.subarray(6));
      await handler.frameAt(0);
      await turnUntil(() => connection.bytesReceived === wide.length);
      expect(texts(handler)).toEqual(['HELLO']);
      connection.setFraming(lengthFraming);
      await handler.frameAt(1);
      expect(texts(handler)).toEqual(['HELLO', 'world']);
    });

    test('the same framing may go on, frame by frame', async () => {
      const handler = new Recorder({ frame: (connection) => connection.setFraming(greeting) });
      const { peer } = await open(handler);
      peer.write('one\r\ntwo\r\nthree\r\n');
      await handler.frameAt(2);
      expect(texts(handler)).toEqual(['one', 'two', 'three']);
    });

    test('a megabyte behind the held frame: the peer is held up, and nothing is lost', async () => {
      const handler = new Recorder();
      const { peer, connection } = await open(handler);
      const body = Buffer.alloc(8_000_000, 'body ');
      peer.write('CONNECT\r\n');
      peer.write(body);
      await handler.frameAt(0);
      await turnUntil(() => connection.bytesReceived > 200_000);
      connection.setFraming(raw);
      await handler.changes.until('the body', () => sizeOf(handler) === body.length + 7);
      expect(Buffer.concat(handler.frames.slice(1)).equals(body)).toBe(true);
    });

    test('FIN behind held bytes is told after them', async () => {
      const order: string[] = [];
      const handler = new Recorder({
        frame: (_connection, bytes, start, end) => void order.push(Buffer.from(bytes.slice(start, end)).toString()),
        end: () => void order.push('FIN'),
      });
      const { peer, connection } = await open(handler);
      peer.write('QUIT\r\nlast words');
      peer.fin();
      await handler.frameAt(0);
      await turnUntil(() => connection.bytesReceived === 16);
      expect(order).toEqual(['QUIT']);
      connection.setFraming(raw);
      await handler.changes.until('the end', () => handler.ends === 1);
      expect(order).toEqual(['QUIT', 'last words', 'FIN']);
      connection.close();
    });

    test('a frame that is broken for the new framing closes', async () => {
      const handler = new Recorder({
        frame: (connection) => connection.setFraming({ ...lengthFraming, maxFrameLength: 5 }),
      });
      const { peer } = await open(handler);
      peer.write(Buffer.concat([Buffer.from('UPGRADE\r\n'), lengthPrefixed('too long for it')]));
      await peer.end();
      peer.fin();
      const info = await handler.closeInfo();
      expect(info).toMatchObject({ reason: 'frame-too-long', message: 'a frame of 15 bytes is over maxFrameLength 5' });
    });

    test('a wrong framing is thrown', async () => {
      const { connection } = await open(new Recorder());
      expect(() => connection.setFraming({ format: 'xml' } as never)).toThrow(/framing.format/);
      expect(() => connection.setFraming({ format: 'raw', hold: true } as never)).toThrow(/framing.hold/);
    });
  },
  { reactors: [0, 1] },
);

function sizeOf(recorder: Recorder): number {
  return recorder.frames.reduce((sum, { length }) => sum + length, 0);
}
