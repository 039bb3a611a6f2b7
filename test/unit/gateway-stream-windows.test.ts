// Stream windows between clients and the gateway: nobody sends what was not granted, and nothing is lost for it. On the fake engine.
import { describe, expect, test } from 'vitest';
import { Status } from '../../src/engine/tables.gen.js';
import { HeldStreams } from '../../src/gateway/held-streams.js';
import { limits } from '../../src/limits.js';
import { encodeHello } from '../../src/protocol/hello.js';
import { Flag, Kind } from '../../src/protocol/rmp.js';
import { streamWindow } from '../../src/protocol/stream-window.js';
import type { FakePeer } from '../support/fake-engine.js';
import { GatewayWorld, takeFrames, type WorldOptions } from '../support/gateway-world.js';

const WINDOW = 2;

interface Stream {
  readonly world: GatewayWorld;
  readonly client: FakePeer;
  readonly peer: FakePeer;
  /** Of the request, at the backend. */
  readonly id: number;
  /** The backend's next response. */
  part(payload: string | Uint8Array, flags?: number): void;
  /** The client's. */
  grant(count: number, id?: number): void;
  /** What the client got, and what the backend was granted, since the last look. */
  got(): string[];
  granted(): number;
}

/** A client that grants `WINDOW` with each request, and its request 1 at a backend with stream windows or without. */
async function startStream(windows: boolean, options: WorldOptions = {}): Promise<Stream> {
  const world = await GatewayWorld.start(options);
  const { peer } = world.server();
  if (windows) {
    world.send(peer, { kind: Kind.hello, payload: encodeHello({ features: 1, maxFrameLength: 0, streamWindow: 0 }) });
    takeFrames(peer);
  }
  const client = world.client();
  const payload = encodeHello({ features: 1, maxFrameLength: 0, streamWindow: WINDOW });
  world.send(client, { kind: Kind.hello, payload }, { id: 1 });
  takeFrames(client);
  const [{ frame }] = world.requests();
  return {
    world,
    client,
    peer,
    id: frame.id,
    part: (text, flags = Flag.more) => world.send(peer, { kind: Kind.response, id: frame.id, flags, payload: text }),
    grant: (arg, id = 1) => world.send(client, { kind: Kind.window, id, arg }),
    got: () => takeFrames(client).map(({ payload: bytes }) => bytes.toString()),
    granted: () =>
      world
        .received()
        .filter(({ frame: { kind } }) => kind === Kind.window)
        .reduce((sum, { frame: { arg } }) => sum + arg, 0),
  };
}

describe('a backend with stream windows', () => {
  test('is granted what the client grants, when it grants it', async () => {
    const stream = await startStream(true);
    stream.part('a');
    expect(stream.granted()).toBe(WINDOW - limits.firstStreamWindow);
    stream.part('b');
    expect([stream.got(), stream.granted()]).toEqual([['a', 'b'], 0]);
    stream.grant(3);
    expect(stream.granted()).toBe(3);
    // Not one by one, but before the backend has to wait.
    stream.grant(1);
    stream.grant(1);
    expect(stream.granted()).toBe(0);
    stream.part('c');
    expect(stream.granted()).toBe(2);
  });

  test('what the client grants before the first response counts', async () => {
    const stream = await startStream(true);
    stream.grant(10);
    expect(stream.granted()).toBe(0);
    for (const text of 'abcdefgh') stream.part(text);
    expect(stream.granted() + limits.firstStreamWindow).toBe(WINDOW + 10);
  });

  test('what the client grants while its request waits for a backend counts', async () => {
    const stream = await startStream(true, { pools: [{ maxInFlight: 1 }] });
    stream.world.send(stream.client, { id: 2 });
    stream.grant(5, 2);
    stream.part('over', 0);
    const [{ frame, peer }] = stream.world.requests();
    for (let i = 0; i < 6; i++) stream.world.send(peer, { kind: Kind.response, id: frame.id, flags: Flag.more });
    expect(stream.granted() + limits.firstStreamWindow).toBe(WINDOW + 5);
  });

  test('a stream that is not granted on holds up no other request of its client', async () => {
    const stream = await startStream(true);
    stream.part('a');
    stream.part('b');
    stream.got();
    for (let id = 2; id < 50; id++) stream.world.send(stream.client, { id, payload: `${id}` });
    stream.world.echo(stream.world.requests());
    expect(stream.got()).toHaveLength(48);
    stream.grant(1);
    stream.part('c');
    expect(stream.got()).toEqual(['c']);
  });

  test('that sends more than it was granted has it held back', async () => {
    const stream = await startStream(true);
    for (const text of 'abcd') stream.part(text);
    expect(stream.got()).toEqual(['a', 'b']);
    stream.grant(2);
    expect(stream.got()).toEqual(['c', 'd']);
  });
});

describe('a backend without stream windows', () => {
  test('its responses wait for the client, the final one behind them; then the id is free', async () => {
    const stream = await startStream(false);
    for (const text of 'abcd') stream.part(text);
    stream.part('end', 0);
    expect(stream.got()).toEqual(['a', 'b']);
    expect(stream.world.stats).toMatchObject({ open: 1, outcomes: { answered: 0 }, backends: [{ inFlight: 0 }] });
    stream.grant(1);
    expect(stream.got()).toEqual(['c']);
    stream.grant(1);
    expect(stream.got()).toEqual(['d', 'end']);
    expect(stream.world.stats).toMatchObject({ open: 0, outcomes: { answered: 1 } });
    stream.world.send(stream.client, { id: 1, payload: 'again' });
    stream.world.echo(stream.world.requests());
    expect(stream.got()).toEqual(['again']);
  });

  test('a request under an id whose answer waits closes the connection', async () => {
    const stream = await startStream(false);
    for (const text of 'abc') stream.part(text);
    stream.part('end', 0);
    stream.world.send(stream.client, { id: 1 });
    expect(stream.client.gone).toBe(true);
    expect(stream.world.stats).toMatchObject({ open: 0, outcomes: { cancelled: 1 } });
  });

  test.each([
    ['cancel', Status.CANCELLED, (stream: Stream) => stream.world.send(stream.client, { kind: Kind.cancel, id: 1 })],
    ['its deadline', Status.DEADLINE_EXCEEDED, (stream: Stream) => stream.world.engine.advance(limits.deadlineMs + 20)],
    ['a close', Status.UNAVAILABLE, (stream: Stream) => stream.world.gateway.close().then(() => {})],
  ])('an answer that waits for a grant: %s ends the request', async (_what, status, end) => {
    const stream = await startStream(false);
    for (const text of 'abc') stream.part(text);
    stream.part('end', 0);
    takeFrames(stream.client);
    await end(stream);
    stream.world.engine.settle();
    expect(takeFrames(stream.client)).toMatchObject([{ id: 1, arg: status, flags: 0 }]);
    expect(stream.world.stats.open).toBe(0);
    expect(stream.world.conserved()).toBe(true);
  });

  test('an answer that waits for a grant holds up nothing behind it on a route with an order', async () => {
    const stream = await startStream(false, { routes: [{ route: 0, pool: 'pool', orderBy: 'client' }] });
    stream.world.send(stream.client, { id: 2, payload: 'behind' });
    expect(stream.world.requests()).toEqual([]);
    for (const text of 'abc') stream.part(text);
    stream.part('end', 0);
    takeFrames(stream.client);
    stream.world.echo(stream.world.requests());
    expect(stream.got()).toEqual(['behind']);
    stream.grant(1);
    expect(stream.got()).toEqual(['c', 'end']);
    expect(stream.world.stats).toMatchObject({ open: 0, outcomes: { answered: 2 } });
  });

  test('a client that leaves meanwhile leaves nothing behind', async () => {
    const stream = await startStream(false);
    for (const text of 'abc') stream.part(text);
    stream.part('end', 0);
    stream.client.rst();
    stream.world.engine.settle();
    expect(stream.world.stats).toMatchObject({ open: 0, outcomes: { cancelled: 1 }, clients: [{ connections: 0 }] });
  });

  test.each([
    ['partial responses', Flag.more],
    ['a final response', 0],
  ])('%s beyond what may be buffered end the request, other requests go on', async (_what, flags) => {
    const stream = await startStream(false, { listeners: [{ maxStreamBufferedBytes: 10_000 }] });
    stream.world.send(stream.client, { id: 2, payload: 'other' });
    const others = stream.world.requests();
    for (const text of 'ab') stream.part(text);
    stream.part(Buffer.alloc(6_000));
    stream.part(Buffer.alloc(6_000), flags);
    const frames = takeFrames(stream.client);
    expect(frames.slice(0, 2).map(({ payload }) => payload.toString())).toEqual(['a', 'b']);
    expect(frames.slice(2)).toMatchObject([
      { id: 1, arg: Status.RESOURCE_EXHAUSTED, payload: Buffer.from('the client does not take its partial responses') },
    ]);
    stream.world.echo(others);
    expect(stream.got()).toEqual(['other']);
  });

  test('an error comes behind them too', async () => {
    const stream = await startStream(false);
    for (const text of 'abc') stream.part(text);
    const error = { kind: Kind.response, id: stream.id, arg: Status.NOT_FOUND, payload: 'gone' };
    stream.world.send(stream.peer, error);
    expect(stream.got()).toEqual(['a', 'b']);
    stream.grant(7);
    expect(takeFrames(stream.client)).toMatchObject([
      { flags: Flag.more, arg: 0, payload: Buffer.from('c') },
      { flags: 0, arg: Status.NOT_FOUND, payload: Buffer.from('gone') },
    ]);
    expect(stream.world.stats.outcomes).toMatchObject({ answered: 0, failed: 1 });
  });
});

describe('window frames', () => {
  test('of nothing, for an id not in flight, and after the final response are ignored', async () => {
    const stream = await startStream(true);
    stream.grant(0);
    stream.grant(5, 99);
    for (const text of 'ab') stream.part(text);
    expect(stream.granted()).toBe(WINDOW - limits.firstStreamWindow);
    stream.part('end', 0);
    stream.grant(5);
    expect(stream.granted()).toBe(0);
    expect(stream.client.gone).toBe(false);
    expect(stream.world.stats.events.ignored_frames).toBe(0);
  });

  test('that add up to more than can be counted count as much as can', async () => {
    const stream = await startStream(true);
    for (let i = 0; i < 4; i++) stream.grant(0xffff_ffff);
    for (let sent = 0; sent < 3 * limits.streamWindow; sent++) stream.part('x');
    expect(stream.got()).toHaveLength(3 * limits.streamWindow);
    expect(stream.granted()).toBeLessThanOrEqual(4 * limits.streamWindow);
  });

  test('of a client without stream windows are ignored and counted', async () => {
    const world = await GatewayWorld.start();
    const client = world.client();
    world.send(client, { id: 1 }, { kind: Kind.window, id: 1, arg: 3 });
    expect(client.gone).toBe(false);
    expect(world.stats.events.ignored_frames).toBe(1);
  });
});

test('a window doubles with what came, and shrinks with its length', () => {
  expect([1, 2, 3, 20].map((received) => streamWindow(32, received, 10, 1_000))).toEqual([2, 4, 6, 32]);
  expect([0, 31, 32, 500, 501, 5_000].map((longest) => streamWindow(32, 99, longest, 1_000))).toEqual([
    32, 32, 31, 2, 1, 1,
  ]);
  expect(streamWindow(1, 99, 1, 1_000)).toBe(1);
});

test('held responses: in their order, counted, copies', () => {
  const held = new HeldStreams();
  const bytes = Uint8Array.of(1);
  for (let i = 1; i <= 5; i++) {
    bytes[0] = i;
    held.add(16, Flag.more, bytes);
  }
  held.add(32, 0, bytes);
  const taken: number[] = [];
  while (held.waits(16)) taken.push(held.take(16).bytes[0]);
  expect(taken).toEqual([1, 2, 3, 4, 5]);
  expect([held.size, held.has(16), held.waits(16)]).toEqual([2, true, false]);
  held.end(16, 0, 0, bytes);
  expect(held.drop(16)).toMatchObject({ status: 0, bytes: Uint8Array.of(5) });
  expect(held.bytes).toBeGreaterThan(0);
  expect(held.drop(32)).toBeUndefined();
  expect([held.bytes, held.size, held.drop(48)]).toEqual([0, 0, undefined]);
});
