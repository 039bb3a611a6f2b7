// serve: what a backend answers, frame by frame, to a peer that speaks RMP by hand.
import { runInNewContext } from 'node:vm';
import { afterEach, expect, test, vi } from 'vitest';
import { Status } from '../../src/engine/tables.gen.js';
import type { BackendHandler, BackendServer, InPlaceHandler, ServeOptions } from '../../src/backend-sdk/types.js';
import { serve } from '../../src/backend-sdk/serve.js';
import { encodeHello, parseHello } from '../../src/protocol/hello.js';
import { encodeMeta } from '../../src/protocol/meta.js';
import { StatusError } from '../../src/protocol/status-error.js';
import { describeEngines } from '../support/engines.js';
import { NOT_BYTES } from '../support/not-bytes.js';
import { RmpPeer } from '../support/rmp-peer.js';

const REQUEST = 1;
const RESPONSE = 2;
const CANCEL = 3;
const HELLO = 9;
const WINDOW = 10;
const MORE = 1;
const NO_REPLY = 2;
const NOT_EXECUTED = 8;
const META = 128;

describeEngines('serve', (engine) => {
  const cleanUps: (() => unknown)[] = [];
  afterEach(async () => {
    for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
  });

  async function start(
    handler: BackendHandler | InPlaceHandler | BackendHandler['handle'],
    options: Partial<ServeOptions> = {},
  ): Promise<{ server: BackendServer; peer: RmpPeer }> {
    const given = typeof handler === 'function' ? { handle: handler } : handler;
    const server = await serve({ port: 0, engine, ...options } as ServeOptions, given);
    expect(server.engine.name).toBe(engine);
    const peer = await RmpPeer.connect(server.port);
    cleanUps.push(
      () => server.close(),
      () => peer.destroy(),
    );
    return { server, peer };
  }

  test('answers with what the handler returns: a value, a promise, nothing', async () => {
    const { peer } = await start((task) => {
      const text = task.payload.toString();
      if (text === 'value') return 'plain';
      if (text === 'promise') return Promise.resolve(Buffer.from('later'));
      return undefined;
    });
    peer.send({ kind: REQUEST, id: 7, route: 3, payload: 'value' });
    expect(await peer.next()).toMatchObject({ kind: RESPONSE, flags: 0, id: 7, route: 3, arg: Status.OK });
    peer.send({ kind: REQUEST, id: 8, payload: 'promise' });
    expect((await peer.next()).payload.toString()).toBe('later');
    peer.send({ kind: REQUEST, id: 9 });
    expect((await peer.next()).payload.length).toBe(0);
  });

  test('a task says what it was sent with', async () => {
    const { peer } = await start(({ route, id, deadlineMs, meta, idempotent, noReply, payload }) => {
      expect(deadlineMs).toBeGreaterThan(0);
      expect(deadlineMs).toBeLessThanOrEqual(5_000);
      return JSON.stringify({ route, id, idempotent, noReply, tenant: meta?.tenant, payload: payload.toString() });
    });
    const payload = Buffer.concat([encodeMeta({ tenant: 'acme' }), Buffer.from('hi')]);
    peer.send({ kind: REQUEST, id: 1, route: 513, flags: META | 4, arg: 5_000, payload });
    expect(JSON.parse((await peer.next()).payload.toString())).toEqual({
      route: 513,
      id: 1,
      idempotent: true,
      noReply: false,
      tenant: 'acme',
      payload: 'hi',
    });
  });

  test('a StatusError passes through, anything else thrown is INTERNAL with its sentence', async () => {
    const seen: unknown[] = [];
    const { peer, server } = await start(
      (task) => {
        const text = task.payload.toString();
        if (text === 'status') throw new StatusError('NOT_FOUND', 'no such model', { notExecuted: true });
        if (text === 'object') return { not: 'bytes' } as never;
        if (text === 'sync') throw new Error('out of memory\n  at somewhere');
        return Promise.reject(new TypeError('wrong shape'));
      },
      { onError: (error) => seen.push(error) },
    );
    peer.send({ kind: REQUEST, id: 1, payload: 'status' });
    expect(await peer.next()).toMatchObject({ flags: NOT_EXECUTED, arg: Status.NOT_FOUND });
    peer.send({ kind: REQUEST, id: 2, payload: 'sync' });
    const sync = await peer.next();
    expect([sync.arg, sync.payload.toString()]).toEqual([Status.INTERNAL, 'out of memory']);
    peer.send({ kind: REQUEST, id: 3, payload: 'async' });
    const rejected = await peer.next();
    expect([rejected.arg, rejected.payload.toString()]).toEqual([Status.INTERNAL, 'wrong shape']);
    expect(seen).toHaveLength(2);
    peer.send({ kind: REQUEST, id: 4, payload: 'object' });
    const sentence = 'the handler returned an object: bytes, a string or nothing is needed';
    expect((await peer.next()).payload.toString()).toBe(sentence);
    expect(server.stats()).toMatchObject({ requests: 4, failed: 4, answered: 0 });
  });

  test('a partial response that is no bytes ends its task, and no other', async () => {
    const seen: unknown[] = [];
    const { peer, server } = await start(
      async ({ payload }, { partial }) => {
        if (payload.length === 0) return 'fine';
        const [, value] = NOT_BYTES[Number(payload.toString())];
        // Not awaited: the stream must not go on without it.
        void partial(value);
        await partial('behind it').catch(() => {});
        return 'end';
      },
      { onError: (error) => seen.push(error) },
    );
    for (const [index, [name]] of NOT_BYTES.entries()) {
      peer.send({ kind: REQUEST, id: index, payload: String(index) });
      const answer = await peer.next();
      expect(answer).toMatchObject({ kind: RESPONSE, flags: 0, id: index, arg: Status.INTERNAL });
      expect(answer.payload.toString()).toContain(`the partial response is ${name}: a Uint8Array`);
    }
    peer.send({ kind: REQUEST, id: 100 });
    expect((await peer.next()).payload.toString()).toBe('fine');
    expect(seen).toHaveLength(NOT_BYTES.length);
    expect(server.stats()).toMatchObject({ running: 0, failed: NOT_BYTES.length, answered: 1 });
  });

  test('in place: an answer that is no bytes, or more than there are, is INTERNAL', async () => {
    const { peer } = await start({
      handleInPlace(request) {
        const [first] = request.bytes.subarray(request.start, request.end);
        if (first < NOT_BYTES.length) request.respond(NOT_BYTES[first][1], 0, 4);
        else request.respond(Buffer.alloc(8), 0, 100_000);
      },
    });
    for (let id = 0; id <= NOT_BYTES.length; id++) {
      peer.send({ kind: REQUEST, id, payload: Uint8Array.of(id) });
      const answer = await peer.next();
      expect(answer).toMatchObject({ id, arg: Status.INTERNAL });
      expect(answer.payload.toString()).toMatch(/^bytes is |^bytes\[0, 100000\) is out of range: it has 8 bytes/);
    }
  });

  test('bytes of another realm are an answer', async () => {
    const { peer } = await start(async (_task, { partial }) => {
      await partial(runInNewContext('Uint8Array.of(97)'));
      return runInNewContext('Uint8Array.of(98)');
    });
    peer.send({ kind: REQUEST, id: 1 });
    expect([(await peer.next()).payload.toString(), (await peer.next()).payload.toString()]).toEqual(['a', 'b']);
  });

  test('partial responses come in order, before the final one', async () => {
    const { peer } = await start(async (_task, { partial }) => {
      for (const word of ['a', 'b', 'c']) await partial(word);
      return 'end';
    });
    peer.send({ kind: REQUEST, id: 1 });
    const frames = [await peer.next(), await peer.next(), await peer.next(), await peer.next()];
    expect(frames.map(({ flags, payload }) => [flags, payload.toString()])).toEqual([
      [MORE, 'a'],
      [MORE, 'b'],
      [MORE, 'c'],
      [0, 'end'],
    ]);
  });

  test('with stream windows no more partial responses than granted are sent, and the final one waits behind them', async () => {
    const { peer } = await start((_task, { partial }) => {
      for (const word of ['a', 'b', 'c', 'd']) void partial(word);
      return 'end';
    });
    peer.send(
      { kind: HELLO, payload: encodeHello({ features: 1, maxFrameLength: 0, streamWindow: 1 }) },
      { kind: REQUEST, id: 1 },
    );
    const hello = await peer.next();
    expect(hello.kind).toBe(HELLO);
    expect(parseHello(hello.payload, 0, hello.payload.length)).toMatchObject({ version: 1, features: 1 });
    expect((await peer.untilPong()).map(({ payload }) => payload.toString())).toEqual(['a']);
    peer.send({ kind: WINDOW, id: 1, arg: 2 });
    expect((await peer.untilPong()).map(({ payload }) => payload.toString())).toEqual(['b', 'c']);
    peer.send({ kind: WINDOW, id: 1, arg: 9 });
    expect((await peer.untilPong()).map(({ flags, payload }) => [flags, payload.toString()])).toEqual([
      [MORE, 'd'],
      [0, 'end'],
    ]);
  });

  test('partial responses that nobody takes are bounded, and the link goes on with what was accepted', async () => {
    const given = Buffer.alloc(100_000, 'x');
    const bound = 1_000_000;
    const partials: Promise<void>[] = [];
    const ended = deferred<unknown>();
    const { peer, server } = await start(
      async ({ payload }, { partial, signal }) => {
        if (payload.length > 0) return 'another';
        signal.addEventListener('abort', () => ended.resolve(signal.reason));
        // 500 MB, unless somebody stops it; what waits is not awaited.
        while (partials.length < 5_000 && !signal.aborted) {
          partials.push(partial(given));
          if (partials.length % 10 === 0) await new Promise((resolve) => setImmediate(resolve));
        }
        return 'end';
      },
      { maxPendingPartialBytes: bound },
    );
    peer.socket.pause();
    peer.send({ kind: REQUEST, id: 1 });
    expect(await ended.promise).toMatchObject({ code: 'RESOURCE_EXHAUSTED' });
    // Beside the bound: what the kernel takes.
    expect(partials.length).toBeLessThan(1_000);
    peer.socket.resume();
    let received = 0;
    for (let frame = await peer.next(); ; frame = await peer.next()) {
      if (frame.flags !== MORE) {
        expect(frame).toMatchObject({ id: 1, arg: Status.RESOURCE_EXHAUSTED });
        break;
      }
      received += frame.payload.length;
    }
    const sent = (await Promise.allSettled(partials)).filter(({ status }) => status === 'fulfilled');
    expect(received).toBe(sent.length * given.length);
    peer.send({ kind: REQUEST, id: 2, payload: 'next' });
    expect((await peer.next()).payload.toString()).toBe('another');
    expect(server.stats()).toMatchObject({ failed: 1, answered: 1, running: 0 });
  });

  test('tasks of one link take turns while its peer reads slowly; each stream is whole and in order', async () => {
    const parts = 600;
    const { peer, server } = await start(
      async (task, { partial }) => {
        for (let n = 0; n < parts; n++) {
          const part = Buffer.alloc(40_000);
          part.writeUInt32BE(n);
          // Two wait for each, two for every other: these may be twice as fast.
          if (task.id % 2 === 0 || n % 2 === 1) await partial(part);
          else void partial(part);
        }
        return Buffer.from([0, 0, parts >> 8, parts & 255]);
      },
      { maxPendingPartialBytes: 200_000 },
    );
    peer.socket.pause();
    const ids = [0, 1, 2, 3];
    for (const id of ids) peer.send({ kind: REQUEST, id });
    await vi.waitFor(() => expect(server.stats().running).toBe(ids.length));
    peer.socket.resume();
    const next = new Map(ids.map((id) => [id, 0]));
    while (next.size > 0) {
      const { id, flags, arg, payload } = await peer.next();
      expect([payload.readUInt32BE(), arg]).toEqual([next.get(id), Status.OK]);
      if (flags === MORE) next.set(id, next.get(id)! + 1);
      else next.delete(id);
      const places = [...next.values()];
      // Nobody is through while another one has hardly begun (the first one fills the kernel's buffers).
      expect(Math.max(0, ...places) - Math.min(parts, ...places)).toBeLessThan(0.75 * parts);
    }
    expect(server.stats()).toMatchObject({ answered: ids.length, failed: 0, running: 0 });
  });

  test('cancel aborts the signal and is answered once, whatever the handler does then', async () => {
    const aborted: unknown[] = [];
    let finish = (_text: string): void => {};
    const { peer, server } = await start((_task, { signal }) => {
      signal.addEventListener('abort', () => aborted.push(signal.reason));
      return new Promise((resolve) => {
        finish = resolve;
      });
    });
    peer.send({ kind: REQUEST, id: 5 });
    await peer.untilPong();
    expect(server.stats().running).toBe(1);
    peer.send({ kind: CANCEL, id: 5 }, { kind: CANCEL, id: 5 }, { kind: CANCEL, id: 99 });
    expect(await peer.next()).toMatchObject({ kind: RESPONSE, id: 5, arg: Status.CANCELLED, flags: 0 });
    expect(aborted).toHaveLength(1);
    expect(aborted[0]).toBeInstanceOf(StatusError);
    finish('late');
    expect(await peer.untilPong()).toEqual([]);
    expect(server.stats()).toMatchObject({ running: 0, cancelled: 1, answered: 0 });
  });

  test('the deadline aborts the signal and is answered DEADLINE_EXCEEDED', async () => {
    const { peer, server } = await start(
      (_task, { signal }) =>
        new Promise((_, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason));
        }),
    );
    peer.send({ kind: REQUEST, id: 5, arg: 20 });
    expect(await peer.next()).toMatchObject({ id: 5, arg: Status.DEADLINE_EXCEEDED });
    expect(server.stats().timedOut).toBe(1);
  });

  test('the end of the link aborts its tasks', async () => {
    const aborted = deferred<unknown>();
    const { peer, server } = await start((_task, { signal }) => {
      signal.addEventListener('abort', () => aborted.resolve(signal.reason));
      return aborted.promise.then(() => 'nobody reads this');
    });
    peer.send({ kind: REQUEST, id: 5 });
    await peer.untilPong();
    peer.socket.end();
    expect(await aborted.promise).toMatchObject({ status: Status.CANCELLED });
    await peer.closed;
    expect(server.stats().cancelled).toBe(1);
  });

  test('no-reply requests are executed and never answered', async () => {
    const { peer, server } = await start((task) => {
      if (task.payload.toString() === 'throw') throw new Error('unheard');
      return 'unread';
    });
    peer.send(
      { kind: REQUEST, id: 1, flags: NO_REPLY },
      { kind: REQUEST, id: 1, flags: NO_REPLY, payload: 'throw' },
      { kind: REQUEST, id: 1, flags: NO_REPLY },
    );
    expect(await peer.untilPong()).toEqual([]);
    expect(server.stats().requests).toBe(3);
  });

  test('beyond what runs and waits, requests are refused as not executed; a waiting one can be cancelled', async () => {
    const gates: ((text: string) => void)[] = [];
    const { peer, server } = await start(() => new Promise((resolve) => gates.push(resolve)), {
      maxConcurrent: 1,
      maxQueued: 2,
    });
    peer.send(...[1, 2, 3, 4].map((id) => ({ kind: REQUEST, id })));
    expect(await peer.next()).toMatchObject({ id: 4, arg: Status.RESOURCE_EXHAUSTED, flags: NOT_EXECUTED });
    expect(server.stats()).toMatchObject({ running: 1, queued: 2, refused: 1 });
    peer.send({ kind: CANCEL, id: 2 });
    expect(await peer.next()).toMatchObject({ id: 2, arg: Status.CANCELLED, flags: NOT_EXECUTED });
    gates[0]('one');
    expect(await peer.next()).toMatchObject({ id: 1, arg: Status.OK });
    expect(gates).toHaveLength(2);
    gates[1]('three');
    expect(await peer.next()).toMatchObject({ id: 3, arg: Status.OK });
  });

  test('in place: echo from the bytes of the frame', async () => {
    const { peer, server } = await start({
      handleInPlace: (request) => {
        if (request.end === request.start) request.fail(Status.INVALID_ARGUMENT, 'empty');
        else if (request.bytes[request.start] !== 0x21) request.respond(request.bytes, request.start, request.end);
      },
    });
    peer.send(...[1, 2, 3].map((id) => ({ kind: REQUEST, id, route: id, payload: 'x'.repeat(id) })));
    for (const id of [1, 2, 3]) {
      const frame = await peer.next();
      expect([frame.id, frame.route, frame.payload.toString()]).toEqual([id, id, 'x'.repeat(id)]);
    }
    peer.send({ kind: REQUEST, id: 4 }, { kind: REQUEST, id: 5, payload: '!' });
    expect(await peer.next()).toMatchObject({ id: 4, arg: Status.INVALID_ARGUMENT });
    expect(await peer.next()).toMatchObject({ id: 5, arg: Status.INTERNAL });
    expect(server.stats()).toMatchObject({ answered: 3, failed: 2 });
  });

  test('a large response arrives whole, one over the peer’s limit is replaced', async () => {
    const { peer } = await start((task) => Buffer.alloc(Number(task.payload.toString()), 'z'));
    peer.send(
      { kind: HELLO, payload: encodeHello({ features: 0, maxFrameLength: 2_000_000, streamWindow: 0 }) },
      { kind: REQUEST, id: 1, payload: '2000000' },
      { kind: REQUEST, id: 2, payload: '2000001' },
    );
    await peer.next();
    expect((await peer.next()).payload.equals(Buffer.alloc(2_000_000, 'z'))).toBe(true);
    expect(await peer.next()).toMatchObject({ id: 2, arg: Status.RESOURCE_EXHAUSTED });
  });

  test('a peer that reads late gets every response', async () => {
    const size = 100_000;
    const { peer } = await start(() => Buffer.alloc(size, 'q'));
    peer.socket.pause();
    for (let id = 0; id < 200; id++) peer.send({ kind: REQUEST, id });
    peer.socket.resume();
    for (let id = 0; id < 200; id++) {
      const frame = await peer.next();
      expect([frame.id, frame.payload.length]).toEqual([id, size]);
    }
  });

  test.each([
    ['an unknown kind', [{ kind: 77 }]],
    ['kind 0', [{ kind: 0 }]],
    ['meta that does not add up', [{ kind: REQUEST, id: 1, flags: META, payload: Buffer.from([0, 9, 1]) }]],
    [
      'an id in flight',
      [
        { kind: REQUEST, id: 1 },
        { kind: REQUEST, id: 1 },
      ],
    ],
    ['a short hello', [{ kind: HELLO, payload: 'short' }]],
    [
      'a late hello',
      [{ kind: 6 }, { kind: HELLO, payload: encodeHello({ features: 0, maxFrameLength: 0, streamWindow: 0 }) }],
    ],
  ])('%s closes the link, and no other', async (_what, frames) => {
    const { peer, server } = await start(() => new Promise(() => {}));
    const other = await RmpPeer.connect(server.port);
    cleanUps.push(() => other.destroy());
    peer.send(...frames);
    await peer.closed;
    expect(await other.untilPong()).toEqual([]);
    expect(server.stats().protocolErrors).toBe(1);
  });

  test('what has no meaning here is passed over and counted', async () => {
    const { peer, server } = await start(() => 'ok');
    peer.send({ kind: 200 }, { kind: RESPONSE, id: 4 }, { kind: 4, id: 1 }, { kind: 5 }, { kind: 8 });
    peer.send({ kind: REQUEST, id: 1, flags: 64 });
    expect((await peer.untilPong()).map(({ id, arg }) => [id, arg])).toEqual([[1, Status.OK]]);
    expect(server.stats().ignoredFrames).toBe(4);
  });

  test('drain: going-away, new requests refused, those in flight finished', async () => {
    let finish = (_text: string): void => {};
    const { peer, server } = await start(
      () =>
        new Promise((resolve) => {
          finish = resolve;
        }),
    );
    peer.send({ kind: REQUEST, id: 1 });
    await peer.untilPong();
    const drained = server.drain(20_000);
    expect(await peer.next()).toMatchObject({ kind: 8, arg: 20_000 });
    const ping = await peer.next();
    expect(ping.kind).toBe(6);
    peer.send({ kind: REQUEST, id: 2 }, { kind: 7, id: ping.id });
    expect(await peer.next()).toMatchObject({ id: 2, arg: Status.UNAVAILABLE, flags: NOT_EXECUTED });
    finish('done');
    expect((await peer.next()).payload.toString()).toBe('done');
    await peer.closed;
    expect(await drained).toEqual({ cut: 0 });
  });

  test('drain: what the grace cuts gets UNAVAILABLE and is counted', async () => {
    const { peer, server } = await start(() => new Promise(() => {}));
    peer.send({ kind: REQUEST, id: 1 }, { kind: 6, id: 3 });
    expect(await peer.next()).toMatchObject({ kind: 7 });
    const drained = server.drain(0);
    const frames = [await peer.next(), await peer.next(), await peer.next()];
    peer.send({ kind: 7 });
    expect(frames.at(-1)).toMatchObject({ kind: RESPONSE, id: 1, arg: Status.UNAVAILABLE });
    expect(await drained).toEqual({ cut: 1 });
  });

  test('drain: what it cuts before its turn came is said to be not executed', async () => {
    const begun: number[] = [];
    const { peer, server } = await start(
      ({ id }) => {
        begun.push(id);
        return new Promise(() => {});
      },
      { maxConcurrent: 1 },
    );
    peer.send({ kind: REQUEST, id: 1 }, { kind: REQUEST, id: 2 });
    await peer.untilPong();
    const drained = server.drain(0);
    const frames = [await peer.next(), await peer.next(), await peer.next(), await peer.next()];
    const answers = frames.filter(({ kind }) => kind === RESPONSE);
    peer.send({ kind: 7 });
    expect(answers.map(({ id, arg, flags }) => [id, arg, flags])).toEqual([
      [1, Status.UNAVAILABLE, 0],
      [2, Status.UNAVAILABLE, NOT_EXECUTED],
    ]);
    expect(begun).toEqual([1]);
    expect(await drained).toEqual({ cut: 2 });
  });

  test('an address in use is an error with the system’s code', async () => {
    const { server } = await start(() => '');
    await expect(serve({ port: server.port, engine }, { handle: () => '' })).rejects.toMatchObject({
      code: 'EADDRINUSE',
    });
  });
});

test('options that make no sense are refused with name, value and range', async () => {
  const handler = { handle: () => '' };
  await expect(serve({ port: 70_000 }, handler)).rejects.toThrow('port is 70000: a whole number from 0 to 65535');
  await expect(serve({ port: 0, maxConcurrent: 0 }, handler)).rejects.toThrow('maxConcurrent is 0');
  await expect(serve({ port: 0, maxFrameLength: 13 }, handler)).rejects.toThrow(
    'maxFrameLength is 13: a whole number from 14',
  );
  await expect(serve({ port: 0 }, {} as BackendHandler)).rejects.toThrow('a function `handle`');
});

function deferred<T>(): { promise: Promise<T>; resolve: (value: T) => void } {
  let resolve = (_value: T): void => {};
  const promise = new Promise<T>((take) => {
    resolve = take;
  });
  return { promise, resolve };
}
