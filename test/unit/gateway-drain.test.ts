// The end of a gateway: drained in order, cut at the end of the grace period, or closed at once. On the fake engine.
import { describe, expect, test } from 'vitest';
import { Status } from '../../src/engine/tables.gen.js';
import { limits } from '../../src/limits.js';
import { encodeHello } from '../../src/protocol/hello.js';
import { Flag, Kind } from '../../src/protocol/rmp.js';
import { BACKEND_PORT, GatewayWorld, PORT, takeFrames } from '../support/gateway-world.js';

const HELLO = encodeHello({ features: 1, maxFrameLength: 0, streamWindow: 4 });

describe('drain', () => {
  test('finishes what is in flight, refuses what is new, and ends without a cut', async () => {
    const world = await GatewayWorld.start();
    const client = world.client();
    world.send(client, { id: 1 });
    const requests = world.requests();
    const drained = world.gateway.drain(5_000);
    world.engine.settle();
    expect(takeFrames(client)).toEqual([expect.objectContaining({ kind: Kind.goingAway, arg: 5_000 })]);
    expect(world.received()).toEqual([]);
    world.send(client, { id: 2 });
    expect(takeFrames(client)).toEqual([
      expect.objectContaining({ id: 2, arg: Status.UNAVAILABLE, flags: Flag.notExecuted }),
    ]);
    world.engine.advance(1_000);
    expect(client.gone).toBe(false);
    world.echo(requests);
    expect(takeFrames(client)).toEqual([expect.objectContaining({ id: 1, arg: Status.OK })]);
    world.engine.advance(100);
    expect(world.received().map(({ frame }) => frame.kind)).toEqual([Kind.goingAway]);
    expect(await drained).toMatchObject({ cut: 0, finished: 1, unflushed: 0 });
    expect(client.sawFin).toBe(true);
    expect(world.server().peer.sawFin).toBe(true);
    expect([world.engine.connections, world.engine.timers]).toEqual([0, 0]);
    expect(world.stats.draining).toBe(true);
  });

  test('a backend is told that no requests follow when none can: not while one waits, or may be sent again', async () => {
    const world = await GatewayWorld.start({ pools: [{ maxInFlight: 1 }] });
    const client = world.client();
    world.send(client, { id: 1 }, { id: 2 });
    void world.gateway.drain(5_000);
    world.engine.settle();
    const seen: number[] = [];
    for (let round = 0; round < 3; round++) {
      const frames = world.received();
      seen.push(...frames.map(({ frame }) => frame.kind));
      world.echo(frames.filter(({ frame }) => frame.kind === Kind.request));
      world.engine.advance(limits.tickMs);
    }
    seen.push(...world.received().map(({ frame }) => frame.kind));
    expect(seen).toEqual([Kind.request, Kind.request, Kind.goingAway]);
  });

  test('a pool without tasks is told at once, and a link that opens then hears it too', async () => {
    const pools = [
      {},
      { name: 'other', servers: [{ address: 'b:1', host: '127.0.0.1', port: BACKEND_PORT + 9, weight: 1 }] },
    ];
    const world = await GatewayWorld.start({ pools });
    world.send(world.client(), { id: 1 });
    world.server(0).peer.rst();
    const late = world.server(9);
    late.peer.rst();
    world.engine.settle();
    // Connecting, and not open yet.
    while (late.peers.length < 2) world.engine.advance(limits.tickMs, false);
    const drained = world.gateway.drain(5_000);
    world.engine.settle();
    expect(takeFrames(late.peer)).toEqual([expect.objectContaining({ kind: Kind.goingAway, arg: 5_000 })]);
    world.engine.advance(limits.crossingMs + 50);
    expect(await drained).toMatchObject({ cut: 0 });
  });

  test('clients that stay connected do not hold it up', async () => {
    const world = await GatewayWorld.start({ listeners: [{}, { port: 8081, protocol: 'lines' }] });
    const [rmp, lines] = [world.client(), world.client(8081)];
    const drained = world.gateway.drain();
    world.engine.advance(limits.crossingMs + 50);
    expect(await drained).toMatchObject({ cut: 0 });
    expect([rmp.gone, lines.gone]).toEqual([true, true]);
  });

  test('a request that crossed the going-away is answered, not discarded', async () => {
    const world = await GatewayWorld.start();
    const client = world.client();
    world.send(client, { kind: Kind.ping });
    takeFrames(client);
    const drained = world.gateway.drain();
    world.engine.advance(limits.crossingMs / 2);
    expect(client.gone).toBe(false);
    expect(takeFrames(client).map(({ kind }) => kind)).toEqual([Kind.goingAway]);
    world.send(client, { id: 1 });
    expect(takeFrames(client)).toEqual([
      expect.objectContaining({ id: 1, arg: Status.UNAVAILABLE, flags: Flag.notExecuted }),
    ]);
    world.engine.advance(limits.crossingMs);
    expect(await drained).toMatchObject({ cut: 0 });
    expect(client.gone).toBe(true);
  });

  test('what the grace period cuts gets UNAVAILABLE and is counted', async () => {
    const world = await GatewayWorld.start({
      listeners: [{}, { port: 8081, protocol: 'lines' }],
      pools: [{ maxInFlight: 2 }],
    });
    const [client, lines] = [world.client(), world.client(8081)];
    world.send(client, { id: 1 }, { id: 2 }, { id: 3 });
    world.send(lines, Buffer.from('x\n'));
    const drained = world.gateway.drain(500);
    world.engine.advance(600);
    expect(await drained).toMatchObject({ cut: 4, finished: 0 });
    expect(
      takeFrames(client)
        .filter(({ kind }) => kind === Kind.response)
        .map(({ id, arg, flags }) => [id, arg, flags]),
    ).toEqual([
      [1, Status.UNAVAILABLE, 0],
      [2, Status.UNAVAILABLE, 0],
      // It waited, and was never sent.
      [3, Status.UNAVAILABLE, Flag.notExecuted],
    ]);
    expect(lines.received.toString()).toMatch(/^ERR UNAVAILABLE /);
    expect(world.stats).toMatchObject({ open: 0, queued: 0 });
  });

  test('what an earlier attempt may have begun is not called not-executed when it is cut', async () => {
    const world = await GatewayWorld.start();
    const client = world.client();
    world.send(client, { id: 1, flags: Flag.idempotent });
    world.server().down = true;
    world.server().peer.rst();
    world.engine.settle();
    expect(world.stats.queued).toBe(1);
    const drained = world.gateway.drain(500);
    world.engine.advance(600);
    expect(await drained).toMatchObject({ cut: 1 });
    expect(takeFrames(client)).toContainEqual(
      expect.objectContaining({ kind: Kind.response, id: 1, arg: Status.UNAVAILABLE, flags: 0 }),
    );
  });

  test('a client that does not take its answer holds it up only so long', async () => {
    const world = await GatewayWorld.start();
    const client = world.client();
    world.send(client, { id: 1 });
    client.stalled = true;
    world.echo(world.requests());
    const drained = world.gateway.drain();
    world.engine.advance(limits.flushGraceMs / 2);
    expect(client.gone).toBe(false);
    world.engine.advance(limits.flushGraceMs);
    expect(await drained).toMatchObject({ cut: 0, unflushed: 1 });
  });

  test('a connection the kernel had already accepted hears of it, with its first frame', async () => {
    const world = await GatewayWorld.start();
    const client = world.engine.client(PORT);
    void world.gateway.drain(1_000);
    world.send(client, { kind: Kind.ping, id: 1 });
    expect(takeFrames(client).map(({ kind }) => kind)).toEqual([Kind.goingAway, Kind.pong]);
  });

  test.each([
    ['it was connected before', true],
    ['it comes while the drain goes on', false],
  ])('who says hello gets its answer before the going-away: %s', async (_when, before) => {
    const world = await GatewayWorld.start();
    const busy = world.client();
    world.send(busy, { id: 1 });
    const early = before ? world.client() : world.engine.client(PORT);
    void world.gateway.drain(1_000);
    world.engine.settle();
    expect(takeFrames(early)).toEqual([]);
    world.send(early, { kind: Kind.hello, payload: HELLO }, { id: 1 });
    expect(takeFrames(early)).toMatchObject([
      { kind: Kind.hello },
      { kind: Kind.goingAway, arg: 1_000 },
      { kind: Kind.response, id: 1, arg: Status.UNAVAILABLE, flags: Flag.notExecuted },
    ]);
  });

  test('a second call answers with the same promise', async () => {
    const world = await GatewayWorld.start();
    expect(world.gateway.drain(1)).toBe(world.gateway.drain(2));
  });
});

describe('close', () => {
  test('settles everything and leaves no connection and no timer', async () => {
    const world = await GatewayWorld.start({ pools: [{ maxInFlight: 1 }] });
    const client = world.client();
    world.send(client, { id: 1 }, { id: 2 });
    await world.gateway.close();
    world.engine.settle();
    expect(takeFrames(client).map(({ arg }) => arg)).toEqual([Status.UNAVAILABLE, Status.UNAVAILABLE]);
    expect([world.engine.connections, world.engine.timers]).toEqual([0, 0]);
    expect(world.stats).toMatchObject({ open: 0, outcomes: { failed: 2 } });
    await world.gateway.close();
  });

  test('a connection the kernel had already accepted, and that comes after the end, is closed', async () => {
    for (const end of ['close', 'drain'] as const) {
      const world = await GatewayWorld.start();
      const late = world.engine.client(PORT);
      if (end === 'close') await world.gateway.close();
      else await Promise.all([world.gateway.drain(0), world.engine.advance(50, false)]);
      expect(late.gone).toBe(false);
      world.engine.settle();
      expect([late.gone, world.engine.connections]).toEqual([true, 0]);
    }
  });

  test('ends a drain', async () => {
    const world = await GatewayWorld.start();
    world.send(world.client(), { id: 1 });
    const drained = world.gateway.drain();
    await world.gateway.close();
    expect(await drained).toMatchObject({ cut: 1 });
  });

  test('an address in use: start throws and leaves nothing open', async () => {
    await expect(GatewayWorld.start({ listeners: [{}, { name: 'again' }] })).rejects.toMatchObject({
      code: 'EADDRINUSE',
    });
  });
});

describe('start', () => {
  test('says where it listens, and is ready when every pool can be reached', async () => {
    const world = await GatewayWorld.start({ down: true });
    expect(world.gateway.addresses).toEqual([{ name: 'public', address: { host: '127.0.0.1', port: PORT } }]);
    expect(world.gateway.ready).toBe(false);
    world.server().down = false;
    world.engine.advance(1_000);
    expect(world.gateway.ready).toBe(true);
    void world.gateway.drain();
    expect(world.gateway.ready).toBe(false);
  });
});
