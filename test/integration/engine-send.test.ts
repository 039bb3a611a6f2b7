// Sending: watermarks, bounds, peers that do not read, and how much left.
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { turnUntil } from '../support/changes.js';
import { NOT_BYTES } from '../support/not-bytes.js';
import { describeEngines, useEngine } from '../support/engines.js';
import { lengthFraming, Recorder } from '../support/recorder.js';
import { lengthPrefixed } from '../support/tcp-peer.js';

const MEGABYTE = Buffer.alloc(1_048_576, 'm');

describeEngines(
  'engine: send',
  (driver, run) => {
    const fixture = useEngine(run);

    async function open(options: object = {}, handler = new Recorder(), peerOptions: { paused?: boolean } = {}) {
      const listener = await fixture.engine.listen({ port: 0, framing: lengthFraming, ...options }, handler);
      const peer = await fixture.peer(listener, peerOptions);
      return { handler, peer, connection: await handler.connection() };
    }

    test('runs on this driver', () => expect(fixture.engine.name).toBe(driver));

    test('the parts leave in order; the caller may use its buffer again at once', async () => {
      const { peer, connection } = await open({ highWaterMark: 1_048_576 });
      const part = Buffer.alloc(10);
      const long = Buffer.alloc(100_000);
      let expected = '';
      for (const letter of 'abc') {
        part.fill(letter);
        long.fill(letter.toUpperCase());
        expect(connection.send(part, part.subarray(0, 3))).toBe(true);
        connection.send(long);
        expected += letter.repeat(13) + letter.toUpperCase().repeat(100_000);
      }
      part.fill('?');
      long.fill('?');
      expect((await peer.bytes(expected.length)).toString()).toBe(expected);
      expect(connection.bytesQueued).toBe(expected.length);
      await turnUntil(() => connection.bufferedAmount === 0);
    });

    test('sendFrame takes only what it is told of header and payload', async () => {
      const { peer, connection } = await open();
      connection.sendFrame(Buffer.from('HEADER'), 4, Buffer.from('0123456789'), 3, 7);
      connection.sendFrame(Buffer.from('HEADER'), 6, Buffer.alloc(0), 0, 0);
      connection.sendFrame(Buffer.alloc(0), 0, Buffer.from('end'), 0, 3);
      expect((await peer.bytes(17)).toString()).toBe('HEAD3456HEADERend');
    });

    test.each(NOT_BYTES)('%s is refused before a byte of it leaves', async (name, value) => {
      const { peer, connection } = await open();
      const message = expect.stringContaining(` is ${name}: a Uint8Array, such as a Buffer, is needed`);
      const error = { name: 'TypeError', code: 'ERR_INVALID_BYTES', message };
      const header = Buffer.from('head');
      const calls = [
        () => connection.send(header, value),
        () => connection.sendPinned(value),
        () => connection.sendFrame(value, 0, header, 0, 4),
        () => connection.sendFrame(header, 4, value, 0, 0),
      ];
      for (const call of calls) expect(call).toThrow(expect.objectContaining(error));
      expect(connection.bytesQueued).toBe(0);
      connection.send(Buffer.from('still whole'));
      expect((await peer.bytes(11)).toString()).toBe('still whole');
    });

    test('sendFrame refuses what reaches beyond header or bytes', async () => {
      const { connection } = await open();
      const bytes = Buffer.alloc(20_000).subarray(1_000, 11_000);
      const error = { name: 'RangeError', code: 'ERR_OUT_OF_RANGE' };
      for (const [start, end] of [
        [0, 10_001],
        [-1, 5],
        [0, 100_000],
        [10_001, 10_001],
        [5, 4],
        [0, Number.NaN],
        [0, undefined as never],
      ]) {
        const send = () => connection.sendFrame(bytes, 4, bytes, start, end);
        expect(send).toThrow(expect.objectContaining(error));
      }
      expect(() => connection.sendFrame(bytes, 10_001, bytes, 0, 1)).toThrow('header[0, 10001) is out of range');
      expect(connection.bytesQueued).toBe(0);
    });

    test('bytes of another realm are bytes', async () => {
      const { peer, connection } = await open();
      const foreign = runInNewContext('new Uint8Array(20000).fill(120)') as Uint8Array;
      connection.send(foreign);
      connection.sendPinned(foreign);
      connection.sendFrame(foreign, 2, foreign, 0, 20_000);
      expect((await peer.bytes(60_002)).toString()).toBe('x'.repeat(60_002));
    });

    test('above highWaterMark send answers false, and drain follows once at lowWaterMark', async () => {
      const buffered: number[] = [];
      const handler = new Recorder({ drain: (connection) => buffered.push(connection.bufferedAmount) });
      const options = { highWaterMark: 100_000, lowWaterMark: 50_000 };
      const { peer, connection } = await open(options, handler, { paused: true });
      let sent = 0;
      while (connection.send(MEGABYTE.subarray(0, 65_536)) || connection.bufferedAmount < 4 * MEGABYTE.length) {
        sent += 65_536;
        await new Promise((resolve) => setImmediate(resolve));
      }
      sent += 65_536;
      expect(connection.bufferedAmount).toBeGreaterThan(100_000);
      const drainsBefore = handler.drains;
      peer.socket.resume();
      await peer.bytes(sent);
      await handler.changes.until('drain', () => handler.drains > drainsBefore);
      expect(handler.drains).toBe(drainsBefore + 1);
      expect(buffered.filter((bytes) => bytes > 50_000)).toEqual([]);
      expect(connection.bytesQueued).toBe(sent);
    });

    test('more than maxBufferedBytes closes with send-buffer-full; what is sent then goes nowhere', async () => {
      const options = { maxBufferedBytes: 8 * MEGABYTE.length };
      const { handler, connection } = await open(options, new Recorder(), { paused: true });
      for (let i = 0; i < 64 && connection.state === 'open'; i++) {
        connection.send(MEGABYTE);
        await new Promise((resolve) => setImmediate(resolve));
      }
      const info = await handler.closeInfo();
      expect(info.reason).toBe('send-buffer-full');
      expect(info.message).toMatch(/maxBufferedBytes/);
      expect(connection.send(MEGABYTE)).toBe(false);
      expect(info.bytesHandedToKernel).toBeLessThan(connection.bytesQueued);
      await fixture.counted({ send_buffer_full: 1 });
    });

    test('a peer that takes nothing for writeStallTimeoutMs is closed with write-stalled', async () => {
      const options = { writeStallTimeoutMs: 100 };
      const { handler, peer, connection } = await open(options, new Recorder(), { paused: true });
      const sent = 16 * MEGABYTE.length;
      for (let i = 0; i < 16; i++) connection.send(MEGABYTE);
      const info = await handler.closeInfo();
      expect(info.reason).toBe('write-stalled');
      expect(info.bytesHandedToKernel).toBeGreaterThan(0);
      expect(info.bytesHandedToKernel).toBeLessThan(sent);
      expect(connection.bytesQueued).toBe(sent);
      await fixture.counted({ write_stalls: 1 });
      // What the peer finds can only be less: nothing that the kernel never got.
      peer.socket.resume();
      await peer.end();
      expect(peer.receivedBytes).toBeLessThanOrEqual(info.bytesHandedToKernel);
    });

    test('a slow peer is not a stalled one', async () => {
      const writeStallTimeoutMs = 1_000;
      const { handler, peer, connection } = await open({ writeStallTimeoutMs }, new Recorder(), { paused: true });
      const sent = 24 * MEGABYTE.length;
      for (let i = 0; i < 24; i++) connection.send(MEGABYTE);
      const started = performance.now();
      // 1 MB every 60 ms: the whole takes longer than the limit, no single byte does.
      const reading = setInterval(() => peer.socket.resume(), 60);
      peer.socket.on('data', () => {
        if (peer.receivedBytes % MEGABYTE.length < 65_536) peer.socket.pause();
      });
      fixture.cleanUp(() => clearInterval(reading));
      await Promise.race([peer.bytes(sent), handler.closeInfo()]);
      expect(handler.closed).toEqual([]);
      expect(performance.now() - started).toBeGreaterThan(writeStallTimeoutMs);
    });

    test('bytesHandedToKernel is everything where everything left', async () => {
      const { handler, peer, connection } = await open();
      connection.send(MEGABYTE);
      connection.close();
      await peer.bytes(MEGABYTE.length);
      await peer.end();
      peer.fin();
      expect(await handler.closeInfo()).toMatchObject({ reason: 'closed', bytesHandedToKernel: MEGABYTE.length });
    });

    test('a frame sent in the same turn as abort never left', async () => {
      const { handler, connection } = await open();
      connection.send(lengthPrefixed('one'));
      await turnUntil(() => connection.bufferedAmount === 0);
      connection.send(lengthPrefixed('two'));
      connection.abort();
      expect(await handler.closeInfo()).toMatchObject({ reason: 'aborted', bytesHandedToKernel: 7 });
    });

    test('counts sends of which the kernel takes only a part', async () => {
      const { peer, connection } = await open({}, new Recorder(), { paused: true });
      for (let i = 0; i < 24; i++) connection.send(MEGABYTE);
      // io_uring goes on with a send by itself, until all of it was taken; but for one that is made at once, in Node's loop.
      if (driver !== 'io_uring') await turnUntil(() => fixture.engine.counters().short_sends > 0);
      peer.socket.resume();
      await peer.bytes(24 * MEGABYTE.length);
      if (driver === 'io_uring' && fixture.engine.reactors > 0) {
        expect(fixture.engine.counters().short_sends).toBe(0);
      }
    });

    test('counts sends and bytes', async () => {
      const { peer, connection } = await open();
      connection.send(Buffer.from('abc'));
      await peer.bytes(3);
      peer.write(lengthPrefixed('x'));
      await fixture.counted({ frames_received: 1 });
      await fixture.counted({ bytes_sent: 3, sends: 1, bytes_received: 5 });
    });
  },
  { reactors: [0, 1] },
);

describeEngines('engine: its own bounds', (_driver, run) => {
  const fixture = useEngine(run, { maxEngineBytes: 8_388_608, maxPartialBytes: 1_048_576 });

  test('maxEngineBytes closes with memory-full', async () => {
    const handler = new Recorder();
    const listener = await fixture.engine.listen({ port: 0, framing: lengthFraming }, handler);
    for (let i = 0; i < 8; i++) await fixture.peer(listener, { paused: true });
    await handler.connection(7);
    for (let round = 0; round < 12; round++) {
      for (const connection of handler.opened) connection.send(MEGABYTE);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect((await handler.closeInfo()).reason).toBe('memory-full');
    await turnUntil(() => fixture.engine.counters().memory_full > 0);
  });

  test('maxEngineBytes: who holds no more than highWaterMark does not pay for those who filled it', async () => {
    const handler = new Recorder();
    const listener = await fixture.engine.listen({ port: 0, framing: lengthFraming }, handler);
    for (let i = 0; i < 4; i++) await fixture.peer(listener, { paused: true });
    await handler.connection(3);
    const wide = { port: 0, framing: lengthFraming, highWaterMark: 1_048_576 };
    const modest = await fixture.peer(await fixture.engine.listen(wide, handler));
    const spared = await handler.connection(4);
    const greedy = handler.opened.slice(0, 4);
    const part = MEGABYTE.subarray(0, 65_536);
    const waiting = () => greedy.reduce((sum, { bufferedAmount }) => sum + bufferedAmount, 0);
    for (let turn = 0; turn < 1_000 && waiting() < 8_388_608 - 100_000; turn++) {
      const [least] = [...greedy].sort((one, other) => one.bufferedAmount - other.bufferedAmount);
      least.send(part);
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(handler.closed).toEqual([]);
    // In one turn, before the kernel takes any of it.
    for (let i = 0; i < 10; i++) spared.send(part);
    expect((await modest.bytes(655_360)).length).toBe(655_360);
    expect(handler.closed.filter(({ connection }) => connection === spared)).toEqual([]);
  });

  test('isAccounted off: nothing that it holds counts, and it is not closed for what others hold', async () => {
    const handler = new Recorder();
    const options = { port: 0, framing: { format: 'raw' }, isAccounted: false } as const;
    const listener = await fixture.engine.listen(options, handler);
    for (let i = 0; i < 4; i++) await fixture.peer(listener, { paused: true });
    await handler.connection(3);
    for (let round = 0; round < 12; round++) {
      for (const connection of handler.opened) connection.send(MEGABYTE);
      await new Promise((resolve) => setImmediate(resolve));
    }
    const others = new Recorder();
    const accounted = await fixture.peer(await fixture.engine.listen({ port: 0, framing: lengthFraming }, others), {
      paused: true,
    });
    const other = await others.connection();
    other.send(MEGABYTE);
    await turnUntil(() => other.bufferedAmount < MEGABYTE.length);
    accounted.destroy();
    await others.closeInfo();
    expect(handler.closed).toEqual([]);
    expect(others.closed[0].info.reason).not.toBe('memory-full');
    expect(fixture.engine.counters().memory_full).toBe(0);
  });

  test('maxPartialBytes closes with memory-full; what a peer declares costs nothing', async () => {
    const handler = new Recorder();
    const listener = await fixture.engine.listen({ port: 0, framing: lengthFraming }, handler);
    const head = lengthPrefixed(Buffer.alloc(1)).fill(0, 4);
    head.writeUInt32BE(16_000_000, 0);
    for (let i = 0; i < 50; i++) (await fixture.peer(listener)).write(head);
    const greedy = await fixture.peer(listener);
    greedy.write(head);
    for (let i = 0; i < 3; i++) greedy.write(MEGABYTE);
    expect((await handler.closeInfo()).reason).toBe('memory-full');
    expect(handler.closed.length).toBe(1);
  });

  test('maxPartialBytes: who holds less than a share does not pay for those who filled it', async () => {
    const handler = new Recorder();
    const listener = await fixture.engine.listen({ port: 0, framing: lengthFraming }, handler);
    const head = lengthPrefixed(Buffer.alloc(1)).fill(0, 4);
    head.writeUInt32BE(16_000_000, 0);
    // Each ends within its block of 128 KB: seven fill 896 KB of the megabyte.
    for (let i = 0; i < 7; i++) (await fixture.peer(listener)).write(Buffer.concat([head, Buffer.alloc(100_000)]));
    await handler.connection(6);
    await turnUntil(() => handler.opened.every(({ bytesReceived }) => bytesReceived > 100_000));
    const modest = await Promise.all(Array.from({ length: 150 }, () => fixture.peer(listener)));
    const whole = lengthPrefixed(Buffer.alloc(100));
    for (const peer of modest) peer.write(whole.subarray(0, 50));
    await handler.connection(156);
    await turnUntil(() => handler.opened.slice(7).every(({ bytesReceived }) => bytesReceived >= 50));
    for (const peer of modest) peer.write(whole.subarray(50));
    await turnUntil(() => handler.frames.length + handler.closed.length >= 150);
    expect(handler.closed.map(({ info }) => info.reason)).toEqual([]);
  });
});
