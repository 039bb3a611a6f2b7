// connectClient: against a backend of `serve`, and against a peer that speaks RMP by hand where it matters what comes when.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { serve } from '../../src/backend-sdk/serve.js';
import type { BackendHandler, BackendServer, ServeOptions } from '../../src/backend-sdk/types.js';
import { connectClient } from '../../src/client/connect-client.js';
import type { Client, ClientOptions } from '../../src/client/types.js';
import { createEngine } from '../../src/engine/select-engine.js';
import { Status } from '../../src/engine/tables.gen.js';
import { encodeHello, parseHello } from '../../src/protocol/hello.js';
import { encodeMeta } from '../../src/protocol/meta.js';
import { StatusError } from '../../src/protocol/status-error.js';
import { describeEngines } from '../support/engines.js';
import { NOT_BYTES } from '../support/not-bytes.js';
import { type RmpFrame, type RmpPeer, RmpPeerServer } from '../support/rmp-peer.js';

const [REQUEST, RESPONSE, CANCEL, HELLO, WINDOW] = [1, 2, 3, 9, 10];
const MORE = 1;
const NOT_EXECUTED = 8;

describeEngines('connectClient', (engine) => {
  const cleanUps: (() => unknown)[] = [];
  afterEach(async () => {
    for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
  });

  function connect(url: string, options: ClientOptions = {}): Client {
    const client = connectClient(url, { engine, reconnectMinMs: 1, reconnectMaxMs: 5, ...options });
    cleanUps.push(() => client.close());
    return client;
  }

  async function backend(handle: BackendHandler['handle'], options: object = { port: 0 }): Promise<BackendServer> {
    const server = await serve({ engine, ...options } as ServeOptions, { handle });
    cleanUps.push(() => server.close());
    return server;
  }

  /** A client and the peer it is connected to; the client's hello is read. */
  async function pair(
    options: ClientOptions = {},
  ): Promise<{ client: Client; peer: RmpPeer; listener: RmpPeerServer }> {
    const listener = await RmpPeerServer.listen();
    cleanUps.push(() => listener.close());
    const client = connect(`rmp://127.0.0.1:${listener.port}`, options);
    const peer = await listener.accept();
    cleanUps.push(() => peer.destroy());
    expect((await peer.next()).kind).toBe(HELLO);
    return { client, peer, listener };
  }

  test('requests are answered, many at once, over TCP by name and over a unix socket', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'ringway-'));
    cleanUps.push(() => rmSync(folder, { recursive: true }));
    const path = join(folder, 'sdk.sock');
    const upper = (task: { payload: Buffer }): string => task.payload.toString().toUpperCase();
    const tcp = await backend(upper);
    await backend(upper, { path });
    for (const url of [`rmp://localhost:${tcp.port}`, `unix:${path}`]) {
      const client = connect(url);
      const answers = await Promise.all(Array.from({ length: 100 }, (_, n) => client.request(`request ${n}`)));
      expect(answers.map(String)).toEqual(Array.from({ length: 100 }, (_, n) => `REQUEST ${n}`));
      expect(client.stats()).toMatchObject({ state: 'open', inFlight: 0, queued: 0, connects: 1, ignoredFrames: 0 });
    }
  });

  test('what a request says travels in its frame', async () => {
    const { client, peer } = await pair();
    void client
      .request('hi', { route: 700, deadlineMs: 5_000, idempotent: true, meta: { tenant: 'acme' } })
      .catch(() => {});
    const frame = await peer.next();
    expect(frame).toMatchObject({ kind: REQUEST, route: 700, flags: 4 | 128 });
    expect(frame.arg).toBeGreaterThan(0);
    expect(frame.arg).toBeLessThanOrEqual(5_000);
    expect(frame.payload.equals(Buffer.concat([encodeMeta({ tenant: 'acme' }), Buffer.from('hi')]))).toBe(true);
  });

  test('a failure carries status, sentence and whether it may be sent again', async () => {
    const { client, peer } = await pair();
    const outcomes = [client.request('a'), client.request('b'), client.request('c', { idempotent: true })];
    const ids = [await peer.next(), await peer.next(), await peer.next()].map(({ id }) => id);
    peer.send(
      { kind: RESPONSE, id: ids[0], arg: Status.NOT_FOUND, payload: 'no route' },
      { kind: RESPONSE, id: ids[1], arg: Status.UNAVAILABLE, flags: NOT_EXECUTED, payload: 'draining' },
      { kind: RESPONSE, id: ids[2], arg: Status.UNAVAILABLE, payload: 'broken' },
    );
    const errors = await Promise.all(outcomes.map((outcome) => outcome.catch((error: unknown) => error)));
    for (const error of errors) expect(error).toBeInstanceOf(StatusError);
    expect(errors).toMatchObject([
      { status: 5, code: 'NOT_FOUND', message: 'no route', notExecuted: false, retryable: false },
      { code: 'UNAVAILABLE', message: 'draining', notExecuted: true, retryable: true },
      { code: 'UNAVAILABLE', message: 'broken', notExecuted: false, retryable: true },
    ]);
  });

  test('a payload or an option that makes no sense is refused, and nothing stays in flight', async () => {
    const server = await backend((task) => task.payload);
    const client = connect(`rmp://127.0.0.1:${server.port}`);
    await client.ready();
    const invalid = { name: 'StatusError', code: 'INVALID_ARGUMENT', notExecuted: true };
    for (const [name, value] of NOT_BYTES) {
      const message = expect.stringContaining(`the payload is ${name}: a Uint8Array, such as a Buffer, or a string`);
      const cause = expect.objectContaining({ name: 'TypeError', code: 'ERR_INVALID_BYTES' });
      const error = { ...invalid, message, cause };
      await expect(client.request(value)).rejects.toMatchObject(error);
      await expect(client.request(value, { meta: { tenant: 'acme' } })).rejects.toMatchObject(error);
      await expect(client.notify(value)).rejects.toMatchObject(error);
      await expect(client.stream(value).next()).rejects.toMatchObject(error);
    }
    for (const options of [
      { meta: { priority: 300 } },
      { meta: { tenant: 'x'.repeat(70_000) } },
      { route: -1 },
      { deadlineMs: Number.NaN },
      { deadlineMs: '5' as never },
      { signal: {} as never },
      { signal: null as never },
    ]) {
      await expect(client.request('', options)).rejects.toMatchObject(invalid);
    }
    expect(client.stats()).toMatchObject({ inFlight: 0, queued: 0, connects: 1 });
    expect((await client.request('fine')).toString()).toBe('fine');
  });

  test('the widest and the narrowest options work', async () => {
    const server = await backend(async (task, { partial }) => {
      for (const word of ['a', 'b', 'c']) await partial(word);
      return task.payload;
    });
    const most = 2 ** 31 - 1;
    for (const options of [
      { streamWindow: 1, maxFrameLength: 14, maxQueued: 1, connectTimeoutMs: 0, reconnectMinMs: 1, pingIntervalMs: 0 },
      { streamWindow: most, maxFrameLength: most, maxQueued: most, connectTimeoutMs: most, pingIntervalMs: most },
      { maxStreamBufferedBytes: Number.MAX_SAFE_INTEGER, deadlineMs: 0xffff_ffff, queueTimeoutMs: most },
      { reconnectMinMs: most, reconnectMaxMs: most },
    ]) {
      const client = connect(`rmp://127.0.0.1:${server.port}`, options);
      expect((await client.request('d')).toString()).toBe('abcd');
    }
  });

  test('an engine that its owner closed ends the client: nobody waits for ever', async () => {
    const server = await backend((task) => task.payload);
    const shared = createEngine(engine);
    const client = connect(`rmp://127.0.0.1:${server.port}`, { engine: shared });
    await client.ready();
    await shared.close();
    const error = { code: 'UNAVAILABLE', message: 'the engine cannot run: the engine is closed' };
    await expect(client.ready()).rejects.toMatchObject(error);
    await expect(client.request('')).rejects.toMatchObject(error);
    const late = connect(`rmp://127.0.0.1:${server.port}`, { engine: shared });
    await expect(late.ready()).rejects.toMatchObject(error);
  });

  test('partial responses: one Buffer for request, one after another for stream', async () => {
    const server = await backend(async (_task, { partial }) => {
      for (const word of ['a', 'b', 'c']) await partial(word);
      return 'd';
    });
    const client = connect(`rmp://127.0.0.1:${server.port}`);
    expect((await client.request('')).toString()).toBe('abcd');
    const words: string[] = [];
    for await (const word of client.stream('')) words.push(word.toString());
    expect(words).toEqual(['a', 'b', 'c', 'd']);
  });

  test('a slow reader holds its stream back by the window, and nothing is lost', async () => {
    let sent = 0;
    const server = await backend(async (_task, { partial }) => {
      for (let n = 0; n < 100; n++) {
        await partial(String(n));
        sent++;
      }
    });
    const client = connect(`rmp://127.0.0.1:${server.port}`, { streamWindow: 8 });
    const words = client.stream('');
    const first = await words.next();
    expect(first.value?.toString()).toBe('0');
    await client.request('', { deadlineMs: 20_000 });
    expect(sent - 100).toBeLessThanOrEqual(9);
    let next = 1;
    for await (const word of words) expect(word.toString()).toBe(String(next++));
    expect(next).toBe(100);
  });

  /** A stream from a peer with stream windows; `granted` adds up what it may send. */
  async function granting(options: ClientOptions) {
    const { client, peer } = await pair(options);
    peer.send({ kind: HELLO, payload: encodeHello({ features: 1, maxFrameLength: 0, streamWindow: 0 }) });
    await peer.untilPong();
    const parts = client.stream('');
    const { id } = await peer.next();
    let granted = 1;
    const send = async (payload: string): Promise<number> => {
      peer.send({ kind: RESPONSE, flags: MORE, id, payload });
      for (const frame of await peer.untilPong()) {
        expect(frame).toMatchObject({ kind: WINDOW, id });
        granted += frame.arg;
      }
      return granted;
    };
    return { client, peer, parts, id, send };
  }

  test('grants come ahead of the reader as far as the window, and then as it takes, half a window at a time', async () => {
    const { peer, parts, id, send } = await granting({ streamWindow: 4 });
    expect(await send('a')).toBe(2);
    expect(await send('b')).toBe(4);
    for (const payload of ['c', 'd']) expect(await send(payload)).toBe(4);
    await parts.next();
    expect(await peer.untilPong()).toEqual([]);
    await parts.next();
    expect(await peer.next()).toMatchObject({ kind: WINDOW, id, arg: 2 });
  });

  test('fewer long parts are granted than short ones: what waits for the reader takes half of its bound', async () => {
    const { parts, send } = await granting({ maxStreamBufferedBytes: 1_000 });
    expect(await send('short')).toBe(2);
    expect(await send('x'.repeat(200))).toBe(2);
    for (let n = 0; n < 2; n++) await parts.next();
    expect(await send('x'.repeat(200))).toBeLessThanOrEqual(5);
  });

  test('without stream windows none is offered, and none granted', async () => {
    const { peer, parts, send } = await granting({ streamWindow: 0 });
    for (const payload of ['a', 'b', 'c']) expect(await send(payload)).toBe(1);
    for (let n = 0; n < 3; n++) await parts.next();
    expect(await peer.untilPong()).toEqual([]);
  });

  test('who stops reading for a slow reader reads on while something of its own waits to be sent', async () => {
    const { client, peer } = await pair({ streamWindow: 0 });
    const parts = client.stream('');
    const { id } = await peer.next();
    // The peer reads no further until all its parts are taken; the client has more to send than buffers hold.
    peer.socket.pause();
    const aborter = new AbortController();
    const stuck = client.request(Buffer.alloc(15_000_000), { signal: aborter.signal });
    peer.send(
      ...Array.from({ length: 30 }, () => ({ kind: RESPONSE, flags: MORE, id, payload: Buffer.alloc(500_000) })),
    );
    expect((await parts.next()).value).toHaveLength(500_000);
    aborter.abort();
    await expect(stuck).rejects.toMatchObject({ code: 'CANCELLED' });
    const waiting = client.request('waits');
    await new Promise<void>((resolve) => peer.socket.once('drain', resolve));
    peer.socket.resume();
    expect(await peer.next()).toMatchObject({ kind: REQUEST });
    for (let frame = await peer.next(); ; frame = await peer.next()) {
      if (frame.payload.toString() !== 'waits') continue;
      peer.send({ kind: RESPONSE, id: frame.id, payload: 'answered' });
      break;
    }
    expect((await waiting).toString()).toBe('answered');
    await parts.return?.();
  });

  test('leaving a stream early cancels it; its id is not used again before the final response', async () => {
    const { client, peer } = await pair();
    const words = client.stream('');
    const { id } = await peer.next();
    peer.send({ kind: RESPONSE, flags: MORE, id, payload: 'a' });
    for await (const _ of words) break;
    expect(await peer.next()).toMatchObject({ kind: CANCEL, id });
    expect(client.stats().inFlight).toBe(0);
    peer.send({ kind: RESPONSE, flags: MORE, id, payload: 'late' }, { kind: RESPONSE, id, arg: Status.CANCELLED });
    expect(await peer.untilPong()).toEqual([]);
    expect(client.stats().ignoredFrames).toBe(0);
    peer.send({ kind: RESPONSE, id });
    await peer.untilPong();
    expect(client.stats().ignoredFrames).toBe(1);
  });

  test('a stream whose reader is far behind ends with RESOURCE_EXHAUSTED, after what was taken', async () => {
    const { client, peer } = await pair({ maxStreamBufferedBytes: 10 });
    const words = client.stream('');
    const { id } = await peer.next();
    peer.send(
      { kind: RESPONSE, flags: MORE, id, payload: '0123456789' },
      { kind: RESPONSE, flags: MORE, id, payload: 'x' },
    );
    expect(await peer.next()).toMatchObject({ kind: CANCEL, id });
    expect((await words.next()).value?.toString()).toBe('0123456789');
    expect((await words.next()).value?.toString()).toBe('x');
    await expect(words.next()).rejects.toMatchObject({ code: 'RESOURCE_EXHAUSTED' });
    expect(await words.next()).toEqual({ done: true, value: undefined });
  });

  test('an AbortSignal cancels: before, while waiting, in flight', async () => {
    const { client, peer } = await pair();
    const gone = client.request('', { signal: AbortSignal.abort('why') });
    await expect(gone).rejects.toMatchObject({ code: 'CANCELLED', cause: 'why', notExecuted: true });
    const aborter = new AbortController();
    const inFlight = client.request('', { signal: aborter.signal });
    const { id } = await peer.next();
    aborter.abort('enough');
    await expect(inFlight).rejects.toMatchObject({ code: 'CANCELLED', cause: 'enough', notExecuted: false });
    expect(await peer.next()).toMatchObject({ kind: CANCEL, id });
    const unconnected = connect('rmp://127.0.0.1:1');
    const waiting = new AbortController();
    const queued = unconnected.request('', { signal: waiting.signal });
    waiting.abort();
    await expect(queued).rejects.toMatchObject({ code: 'CANCELLED', notExecuted: true });
    expect(unconnected.stats().queued).toBe(0);
  });

  test('the deadline ends a request and cancels it at the peer', async () => {
    const { client, peer } = await pair();
    const request = client.request('', { deadlineMs: 20 });
    const { id } = await peer.next();
    await expect(request).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    expect(await peer.next()).toMatchObject({ kind: CANCEL, id });
  });

  test('where nobody listens, requests wait until their deadline, then UNAVAILABLE and not executed', async () => {
    const listener = await RmpPeerServer.listen();
    await listener.close();
    const client = connect(`rmp://127.0.0.1:${listener.port}`);
    const error = await client.request('', { deadlineMs: 50 }).catch((reason: unknown) => reason);
    expect(error).toMatchObject({ code: 'UNAVAILABLE', notExecuted: true, retryable: true });
    expect((error as Error).message).toContain('no connection');
    const impatient = connect(`rmp://127.0.0.1:${listener.port}`, { waitForReady: false });
    await expect(impatient.request('')).rejects.toMatchObject({ code: 'UNAVAILABLE', notExecuted: true });
  });

  test('a link that breaks: in flight UNAVAILABLE and perhaps executed, then connected anew', async () => {
    const { client, peer, listener } = await pair();
    const lost = client.request('lost');
    await peer.next();
    peer.destroy();
    await expect(lost).rejects.toMatchObject({ code: 'UNAVAILABLE', notExecuted: false, retryable: false });
    const found = client.request('found');
    const again = await listener.accept();
    cleanUps.push(() => again.destroy());
    expect((await again.next()).kind).toBe(HELLO);
    const { id } = await again.next();
    again.send({ kind: RESPONSE, id, payload: 'here' });
    expect((await found).toString()).toBe('here');
    expect(client.stats().connects).toBe(2);
  });

  test('going-away: what is open is answered on the old link, what is new goes over another', async () => {
    const { client, peer, listener } = await pair();
    const old = client.request('old');
    const { id } = await peer.next();
    peer.send({ kind: 8, arg: 1_000 }, { kind: 6, id: 1 });
    expect((await peer.next()).kind).toBe(7);
    const fresh = client.request('fresh');
    const other = await listener.accept();
    cleanUps.push(() => other.destroy());
    await other.next();
    const request = await other.next();
    expect(request.payload.toString()).toBe('fresh');
    peer.send({ kind: RESPONSE, id, payload: 'old answer' });
    expect((await old).toString()).toBe('old answer');
    await peer.closed;
    other.send({ kind: RESPONSE, id: request.id, payload: 'fresh answer' });
    expect((await fresh).toString()).toBe('fresh answer');
  });

  test('more than maxQueued waiting requests are refused', async () => {
    const client = connect('rmp://127.0.0.1:1', { maxQueued: 2 });
    const waiting = Promise.allSettled([client.request('1'), client.request('2')]);
    await expect(client.request('3')).rejects.toMatchObject({ code: 'RESOURCE_EXHAUSTED', notExecuted: true });
    await client.close();
    const cancelled = { status: 'rejected', reason: { code: 'CANCELLED', notExecuted: true } };
    expect(await waiting).toMatchObject([cancelled, cancelled]);
    await expect(client.request('4')).rejects.toMatchObject({ code: 'CANCELLED' });
    await expect(client.ready()).rejects.toMatchObject({ code: 'CANCELLED' });
  });

  test('a request over the limit, the client’s or the peer’s, is refused before it is sent', async () => {
    const { client, peer } = await pair({ maxFrameLength: 100 });
    peer.send({ kind: HELLO, payload: encodeHello({ features: 0, maxFrameLength: 10, streamWindow: 0 }) });
    expect(await peer.untilPong()).toEqual([]);
    await expect(client.request('x'.repeat(101))).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      notExecuted: true,
    });
    await expect(client.request('x'.repeat(11))).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', notExecuted: true });
    expect(client.stats()).toMatchObject({ queued: 0, inFlight: 0 });
  });

  test.each([
    ['a priority', { priority: 256 }],
    ['a type of a field', { custom: new Map([[5, Buffer.from('x')]]) }],
    ['a value that is none', { tenant: 7 as unknown as string }],
    ['more than 65,535 bytes', { tenant: 'x'.repeat(65_536) }],
  ])('meta that cannot be sent rejects, and nothing is thrown: %s', async (_what, meta) => {
    const { client, peer } = await pair();
    const refused = { code: 'INVALID_ARGUMENT', notExecuted: true };
    await expect(client.request('', { meta })).rejects.toMatchObject(refused);
    await expect(client.notify('', { meta })).rejects.toMatchObject(refused);
    await expect(client.stream('', { meta }).next()).rejects.toMatchObject(refused);
    expect(await peer.untilPong()).toEqual([]);
    expect(client.stats()).toMatchObject({ queued: 0, inFlight: 0 });
  });

  test('many large requests at once go out in turn, without filling the connection’s buffer', async () => {
    const server = await backend((task) => String(task.payload.length));
    const client = connect(`rmp://127.0.0.1:${server.port}`);
    const payload = Buffer.alloc(4_000_000, 'x');
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => client.request(payload, { deadlineMs: 20_000 })),
    );
    expect(new Set(answers.map(String))).toEqual(new Set(['4000000']));
    expect(client.stats().connects).toBe(1);
  });

  test('notify is sent and not answered', async () => {
    const { client, peer } = await pair();
    await client.notify('event', { route: 2 });
    const frame: RmpFrame = await peer.next();
    expect([frame.kind, frame.flags, frame.route, frame.payload.toString()]).toEqual([REQUEST, 2, 2, 'event']);
    expect(client.stats().inFlight).toBe(0);
  });

  test('answers pings, refuses requests, passes over what it has no use for', async () => {
    const { client, peer } = await pair();
    peer.send(
      { kind: 6, id: 77, payload: 'echo' },
      { kind: REQUEST, id: 5 },
      { kind: 200 },
      { kind: RESPONSE, id: 12345 },
    );
    expect(await peer.next()).toMatchObject({ kind: 7, id: 77, payload: Buffer.from('echo') });
    expect(await peer.next()).toMatchObject({ kind: RESPONSE, id: 5, arg: Status.UNIMPLEMENTED, flags: NOT_EXECUTED });
    await peer.untilPong();
    expect(client.stats().ignoredFrames).toBe(3);
  });

  test('meta of a response is cut off', async () => {
    const { client, peer } = await pair();
    const request = client.request('');
    const { id } = await peer.next();
    const payload = Buffer.concat([encodeMeta({ tenant: 'acme' }), Buffer.from('answer')]);
    peer.send({ kind: RESPONSE, id, flags: 128, payload });
    expect((await request).toString()).toBe('answer');
  });

  test('a peer that breaks the protocol loses the link', async () => {
    const { client, peer } = await pair();
    const request = client.request('');
    await peer.next();
    peer.send({ kind: 99 });
    await expect(request).rejects.toMatchObject({ code: 'UNAVAILABLE', notExecuted: false });
    await peer.closed;
    expect(client.stats().lastError).toContain('unknown kind 99');
  });

  test('and so does one whose hello is not its first frame', async () => {
    const { client, peer } = await pair();
    peer.send({ kind: 6 }, { kind: HELLO, payload: encodeHello({ features: 0, maxFrameLength: 0, streamWindow: 0 }) });
    expect((await peer.next()).kind).toBe(7);
    await peer.closed;
    await expect.poll(() => client.stats().lastError).toContain('a hello that is not the first frame');
  });

  test('a silent peer is asked for life and given up', async () => {
    const { client, peer } = await pair({ pingIntervalMs: 20 });
    const request = client.request('');
    expect((await peer.next()).kind).toBe(REQUEST);
    expect((await peer.next()).kind).toBe(6);
    await expect(request).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  });

  test.each([
    ['one part of any length finds room', {}, 1, 1],
    ['ten do', { maxFrameLength: 1_000, maxStreamBufferedBytes: 10_000 }, 1, 10],
    ['no more than the window', { maxFrameLength: 1_000, streamWindow: 5 }, 1, 5],
    ['no windows', { streamWindow: 0 }, 0, 0],
  ])('the hello says what the client takes: %s', async (_what, options: ClientOptions, features, streamWindow) => {
    const listener = await RmpPeerServer.listen();
    cleanUps.push(() => listener.close());
    connect(`rmp://127.0.0.1:${listener.port}`, options);
    const peer = await listener.accept();
    cleanUps.push(() => peer.destroy());
    const { payload } = await peer.next();
    const { maxFrameLength = 16_777_216 } = options;
    expect(parseHello(payload, 0, payload.length)).toEqual({ version: 1, features, maxFrameLength, streamWindow });
  });
});

test.each(['http://x:1', 'rmp://x', 'rmp://x:0', 'rmp://x:70000', 'unix:', ''])('%s is no address', (url) => {
  expect(() => connectClient(url)).toThrow('rmp://host:port or unix:/path is needed');
});

test.each([
  ['maxFrameLength', [0, 13, 14.5, 2 ** 33, Number.NaN], 'a whole number from 14 to 2147483647'],
  ['streamWindow', [-1, 1.5, 2 ** 32], 'a whole number from 0 to 2147483647'],
  ['connectTimeoutMs', [-1, 1.5, 2 ** 31, Infinity], 'a whole number from 0 to 2147483647'],
  ['pingIntervalMs', [-1, 0.5], 'a whole number from 0'],
  ['maxQueued', [-1, 1.5], 'a whole number from 0'],
  ['maxStreamBufferedBytes', [0, Infinity], 'a whole number from 1'],
  ['reconnectMinMs', [0, 1e12], 'a whole number from 1'],
  ['reconnectMaxMs', [0, 1e12], 'a whole number from 1'],
  ['queueTimeoutMs', [-1, 1e12], 'a whole number from 0'],
  ['deadlineMs', [-1, 2 ** 32], 'a whole number from 0'],
] as const)('%s out of range is refused where the client is made', (name, values, right) => {
  for (const value of values) {
    const make = () => connectClient('rmp://127.0.0.1:1', { [name]: value });
    expect(make).toThrow(RangeError);
    expect(make).toThrow(`${name} is ${value}: ${right}`);
  }
  const make = () => connectClient('rmp://127.0.0.1:1', { [name]: '5' });
  expect(make).toThrow(new TypeError(`${name} is 5: a number is needed`));
});
