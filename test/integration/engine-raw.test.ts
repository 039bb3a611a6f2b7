// Raw framing, as sockets use it: streams in both directions, memory that is handed over and memory that is pinned.
import { randomBytes } from 'node:crypto';
import type { Socket } from 'node:net';
import { expect, test } from 'vitest';
import type { Connection } from '../../src/engine/engine.js';
import { turnUntil } from '../support/changes.js';
import { describeEngines, useEngine } from '../support/engines.js';
import { Recorder } from '../support/recorder.js';

const raw = { format: 'raw' } as const;
const MEGABYTE = 1_048_576;

describeEngines(
  'engine: raw',
  (driver, run) => {
    const fixture = useEngine(run);

    async function open(handler: Recorder, options: object = {}) {
      const listener = await fixture.engine.listen({ port: 0, framing: raw, ...options }, handler);
      const peer = await fixture.peer(listener);
      return { peer, connection: await handler.connection() };
    }

    test('runs on this driver', () => expect(fixture.engine.name).toBe(driver));

    test('a long stream arrives whole, in order, and its end after it', async () => {
      const order: string[] = [];
      const handler = new Recorder({ frame: () => void order.push('frame'), end: () => void order.push('end') });
      const { peer, connection } = await open(handler);
      const bytes = randomBytes(20 * MEGABYTE);
      peer.write(bytes);
      peer.fin();
      await handler.changes.until('the end', () => handler.ends === 1);
      expect(Buffer.concat(handler.frames).equals(bytes)).toBe(true);
      expect(order.indexOf('end')).toBe(order.length - 1);
      expect(connection.bytesReceived).toBe(bytes.length);
      connection.close();
      peer.destroy();
    });

    test('long chunks own their memory: kept without a copy, and not written to again', async () => {
      const kept: Buffer[] = [];
      const shared = new Set<ArrayBufferLike>();
      let copies = 0;
      const handler = new Recorder({
        frame(_connection, bytes, start, end) {
          const one = fixture.engine.keep(bytes, start, end);
          if (end - start > 16_384 && one.bytes !== bytes) copies++;
          if (end - start > 16_384) shared.add(one.bytes.buffer);
          kept.push(Buffer.from(one.bytes.buffer, one.bytes.byteOffset + one.start, end - start));
        },
      });
      const { peer } = await open(handler);
      const bytes = randomBytes(8 * MEGABYTE);
      peer.write(bytes);
      await handler.changes.until('all', () => kept.reduce((sum, { length }) => sum + length, 0) === bytes.length);
      expect(Buffer.concat(kept).equals(bytes)).toBe(true);
      // node:net hands over a Buffer of its own per read, the native engines the block the kernel wrote to.
      expect(shared.size).toBeGreaterThan(20);
      expect(copies).toBe(0);
    });

    test('what was received is sent on, also after its turn, byte by byte as it came', async () => {
      const later: Buffer[] = [];
      const handler = new Recorder({
        frame(connection, bytes, start, end) {
          const one = fixture.engine.keep(bytes, start, end);
          later.push(Buffer.from(one.bytes.buffer, one.bytes.byteOffset + one.start, end - start));
          setImmediate(() => connection.send(later.shift()!));
        },
      });
      const { peer } = await open(handler, { maxBufferedBytes: 2 ** 31 });
      const bytes = randomBytes(8 * MEGABYTE);
      peer.write(bytes);
      expect((await peer.bytes(bytes.length)).equals(bytes)).toBe(true);
    });

    test('short chunks of one turn are few frames', async () => {
      const handler = new Recorder();
      const { peer, connection } = await open(handler);
      connection.pause();
      for (let i = 0; i < 500; i++) await peer.written(Buffer.alloc(100, i));
      connection.resume();
      await handler.changes.until('all', () => connection.bytesReceived === 50_000 && sizeOf(handler) === 50_000);
      expect(handler.frames.length).toBeLessThan(10);
    });

    test('pinned bytes are sent from where they lie, in their place among others', async () => {
      const handler = new Recorder();
      const { peer, connection } = await open(handler, { maxBufferedBytes: 2 ** 31 });
      const parts: Buffer[] = [];
      const give = (pinned: boolean, bytes: Buffer) => {
        parts.push(bytes);
        if (pinned) connection.sendPinned(bytes);
        else connection.send(bytes);
      };
      for (let i = 0; i < 20; i++) {
        give(false, Buffer.from(`before ${i}`));
        give(true, randomBytes(300_000));
        give(true, Buffer.from('short ones are copied'));
        // A view in the middle of its memory.
        give(true, randomBytes(100_000).subarray(10_000, 90_000));
      }
      const expected = Buffer.concat(parts);
      expect((await peer.bytes(expected.length)).equals(expected)).toBe(true);
      await turnUntil(() => connection.bufferedAmount === 0);
      expect(connection.bytesQueued).toBe(expected.length);
    });

    test('pinned bytes on a connection that ends are let go, with drain and watermarks as ever', async () => {
      const handler = new Recorder();
      const { peer, connection } = await open(handler, { maxBufferedBytes: 2 ** 31 });
      peer.socket.pause();
      let answers = true;
      for (let i = 0; i < 40; i++) answers = connection.sendPinned(Buffer.alloc(MEGABYTE, i));
      expect(answers).toBe(false);
      peer.socket.resume();
      await handler.changes.until('drain', () => handler.drains === 1);
      peer.socket.pause();
      for (let i = 0; i < 40; i++) connection.sendPinned(Buffer.alloc(MEGABYTE, i));
      connection.abort();
      expect((await handler.closeInfo()).bytesHandedToKernel).toBeGreaterThanOrEqual(39 * MEGABYTE);
      expect(connection.sendPinned(Buffer.alloc(MEGABYTE))).toBe(false);
    });

    test('sent before the connection is open, pinned bytes leave first', async () => {
      const handler = new Recorder();
      const listener = await fixture.engine.listen({ port: 0, framing: raw }, handler);
      const client = new Recorder();
      const connection: Connection = fixture.engine.connect({ ...listener.address, framing: raw } as never, client);
      const bytes = randomBytes(200_000);
      connection.sendPinned(bytes);
      await handler.changes.until('all', () => sizeOf(handler) === bytes.length);
      expect(Buffer.concat(handler.frames).equals(bytes)).toBe(true);
    });

    test.each([1, 20])('of %d that stream each leaves the others their turn', async (streams) => {
      const handler = new Recorder({
        frame(connection, bytes, start, end) {
          if (end - start < 100) connection.send(bytes.slice(start, end));
        },
      });
      const listener = await fixture.engine.listen({ port: 0, framing: raw }, handler);
      const block = Buffer.alloc(MEGABYTE, 'x');
      let streaming = true;
      const pump = (socket: Socket) => {
        while (streaming && socket.writableLength < 4 * MEGABYTE) socket.write(block);
        if (streaming) socket.once('drain', () => pump(socket));
      };
      for (let i = 0; i < streams; i++) pump((await fixture.peer(listener)).socket);
      const quiet = await fixture.peer(listener);
      for (let i = 1; i <= 10; i++) {
        quiet.write('ping');
        await quiet.bytes(4 * i);
      }
      streaming = false;
    });
  },
  { reactors: [0, 1] },
);

function sizeOf(recorder: Recorder): number {
  return recorder.frames.reduce((sum, { length }) => sum + length, 0);
}
