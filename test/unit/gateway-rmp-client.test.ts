// What a client that speaks RMP may do, and what it gets when it does something else. On the fake engine.
import { describe, expect, test } from 'vitest';
import { Status } from '../../src/engine/tables.gen.js';
import { encodeHello, parseHello } from '../../src/protocol/hello.js';
import { encodeMeta, parseMeta } from '../../src/protocol/meta.js';
import { limits } from '../../src/limits.js';
import { Flag, Kind } from '../../src/protocol/rmp.js';
import { encodeFrame, GatewayWorld, PORT, takeFrames } from '../support/gateway-world.js';

const HELLO = encodeHello({ features: 1, maxFrameLength: 1_000, streamWindow: 4 });

describe('rmp client', () => {
  test.each([
    ['offered', 1, 4, 1],
    ['not offered', 0, 4, 0],
    ['offered with a window of 0, which is none', 1, 0, 0],
  ])('a hello as the first frame is answered by one; stream windows %s', async (_what, features, streamWindow, use) => {
    const world = await GatewayWorld.start();
    const client = world.client();
    world.send(client, { kind: Kind.hello, payload: encodeHello({ features, maxFrameLength: 0, streamWindow }) });
    const [{ kind, payload }] = takeFrames(client);
    expect(kind).toBe(Kind.hello);
    expect(parseHello(payload, 0, payload.length)).toMatchObject({
      version: 1,
      features: use,
      maxFrameLength: 16_777_216,
      streamWindow: 0,
    });
    world.send(client, { id: 1 });
    expect(world.requests()).toHaveLength(1);
  });

  test('a pong repeats id and payload of the ping', async () => {
    const world = await GatewayWorld.start();
    const client = world.client();
    world.send(client, { kind: Kind.ping, id: 77, payload: 'still there?' });
    expect(takeFrames(client)).toEqual([
      expect.objectContaining({ kind: Kind.pong, id: 77, payload: Buffer.from('still there?') }),
    ]);
  });

  test.each([
    ['an unknown kind below 128', encodeFrame({ kind: 11 })],
    ['kind 0', encodeFrame({ kind: 0 })],
    ['meta longer than the payload', encodeFrame({ id: 1, flags: Flag.meta, payload: Buffer.from([0, 9, 1]) })],
    ['an unknown meta field', encodeFrame({ id: 1, flags: Flag.meta, payload: Buffer.from([0, 3, 9, 0, 0]) })],
    ['a hello that is too short', encodeFrame({ kind: Kind.hello, payload: 'short' })],
    [
      'a hello as the second frame',
      Buffer.concat([encodeFrame({ kind: Kind.ping }), encodeFrame({ kind: Kind.hello, payload: HELLO })]),
    ],
  ])('%s closes the connection, and only this one', async (_what, bytes) => {
    const world = await GatewayWorld.start();
    const [bad, good] = [world.client(), world.client()];
    world.send(bad, bytes);
    expect(bad.gone).toBe(true);
    expect(world.stats).toMatchObject({ closeReasons: { 'protocol-error': 1 }, events: { protocol_errors: 1 } });
    expect(world.logs.some(({ event }) => event === 'client.protocol-error')).toBe(true);
    world.send(good, { id: 1 });
    world.echo(world.requests());
    expect(takeFrames(good)).toHaveLength(1);
  });

  test('unknown kinds from 128 on, and known ones that mean nothing here, are ignored and counted', async () => {
    const world = await GatewayWorld.start();
    const client = world.client();
    const kinds = [128, 255, Kind.response, Kind.push, Kind.ack, Kind.pong, Kind.goingAway, Kind.window];
    world.send(client, ...kinds.map((kind) => ({ kind })));
    expect(client.gone).toBe(false);
    expect(world.stats.events.ignored_frames).toBe(kinds.length);
  });

  test('an id still in flight closes the connection and cancels its tasks', async () => {
    const world = await GatewayWorld.start();
    const client = world.client();
    world.send(client, { id: 5 }, { id: 6 }, { id: 5 });
    expect(client.gone).toBe(true);
    expect(world.stats).toMatchObject({ received: 2, open: 0, outcomes: { cancelled: 2 } });
    expect(world.received().filter(({ frame }) => frame.kind === Kind.cancel)).toHaveLength(2);
  });

  test('an id may be used again once it is answered; two clients may use the same one', async () => {
    const world = await GatewayWorld.start();
    const [a, b] = [world.client(), world.client()];
    for (let round = 0; round < 3; round++) {
      world.send(a, { id: 9, payload: `a${round}` });
      world.send(b, { id: 9, payload: `b${round}` });
      world.echo(world.requests().reverse());
      expect(takeFrames(a).map(({ payload }) => payload.toString())).toEqual([`a${round}`]);
      expect(takeFrames(b).map(({ payload }) => payload.toString())).toEqual([`b${round}`]);
    }
  });

  test('ids of clients that left are forgotten: none stands in the way of a later client', async () => {
    const world = await GatewayWorld.start();
    for (let i = 0; i < 60; i++) {
      const gone = world.client();
      world.send(gone, { id: 1 }, { id: 2 }, { id: 3 }, { id: 4 });
      gone.rst();
      world.engine.settle();
    }
    world.requests();
    const client = world.client();
    for (let id = 1; id <= 200; id++) {
      for (let again = 0; again < 2; again++) {
        world.send(client, { id });
        world.echo(world.requests());
        expect(takeFrames(client).map((frame) => frame.id)).toEqual([id]);
      }
    }
    expect(client.gone).toBe(false);
  });

  test('an unknown route is NOT_FOUND, not executed', async () => {
    const world = await GatewayWorld.start();
    const client = world.client();
    world.send(client, { id: 1, route: 65_535 }, { id: 2, route: 1 });
    for (const answer of takeFrames(client)) {
      expect(answer).toMatchObject({ arg: Status.NOT_FOUND, flags: Flag.notExecuted });
    }
    expect(world.stats.outcomes.refused).toBe(2);
  });

  test('meta is passed on without the token, responses likewise', async () => {
    const world = await GatewayWorld.start();
    const client = world.client();
    const meta = { tenant: 't', token: 'secret', custom: new Map([[200, Uint8Array.of(1, 2)]]) };
    world.send(client, { id: 1, flags: Flag.meta, payload: Buffer.concat([encodeMeta(meta), Buffer.from('body')]) });
    const [{ frame, peer }] = world.requests();
    expect(frame.flags).toBe(Flag.meta);
    const parsed = parseMeta(frame.payload, 0, frame.payload.length)!;
    expect(parsed.meta.token).toBeUndefined();
    expect(parsed.meta.tenant).toBe('t');
    expect(frame.payload.subarray(parsed.payloadStart).toString()).toBe('body');
    world.send(peer, {
      kind: Kind.response,
      id: frame.id,
      flags: Flag.meta,
      payload: encodeMeta({ token: 'x', priority: 3 }),
    });
    const [answer] = takeFrames(client);
    expect(answer.flags).toBe(Flag.meta);
    expect(parseMeta(answer.payload, 0, answer.payload.length)!.meta).toEqual({ priority: 3 });
  });

  test('partial responses pass in order, the final one ends the request', async () => {
    const world = await GatewayWorld.start();
    const client = world.client();
    world.send(client, { id: 3 });
    const [{ frame, peer }] = world.requests();
    const part = (text: string, flags: number) => ({ kind: Kind.response, id: frame.id, flags, payload: text });
    world.send(peer, part('a', Flag.more), part('b', Flag.more), part('c', 0), part('late', Flag.more));
    expect(takeFrames(client).map(({ flags, payload }) => [flags, payload.toString()])).toEqual([
      [Flag.more, 'a'],
      [Flag.more, 'b'],
      [0, 'c'],
    ]);
    expect(world.stats.events.unknown_responses).toBe(1);
  });

  test('cancel is answered at once, told to the backend, and its late answer is dropped', async () => {
    const world = await GatewayWorld.start();
    const client = world.client();
    world.send(client, { id: 1 }, { id: 2 });
    const requests = world.requests();
    world.send(client, { kind: Kind.cancel, id: 1 }, { kind: Kind.cancel, id: 99 });
    expect(takeFrames(client)).toEqual([expect.objectContaining({ id: 1, arg: Status.CANCELLED })]);
    const cancels = world.received().filter(({ frame }) => frame.kind === Kind.cancel);
    expect(cancels.map(({ frame }) => frame.id)).toEqual([requests[0].frame.id]);
    world.echo(requests);
    expect(takeFrames(client)).toEqual([expect.objectContaining({ id: 2, arg: Status.OK })]);
    expect(world.stats).toMatchObject({ events: { late_responses: 1 }, outcomes: { cancelled: 1, answered: 1 } });
  });

  test('a cancelled task counts as in flight at its backend until that one answered', async () => {
    const world = await GatewayWorld.start({ pools: [{ maxInFlight: 4 }] });
    const client = world.client();
    world.send(client, { id: 1 });
    const requests = world.requests();
    world.send(client, { kind: Kind.cancel, id: 1 });
    expect(world.stats.backends[0].inFlight).toBe(1);
    world.echo(requests);
    expect(world.stats.backends[0].inFlight).toBe(0);
  });

  test.each(['fin', 'rst'] as const)('%s: the client left, its tasks are cancelled at the backend', async (how) => {
    const world = await GatewayWorld.start();
    const client = world.client();
    world.send(client, { id: 1 }, { id: 2 });
    world.requests();
    client[how]();
    world.engine.settle();
    expect(world.received().map(({ frame }) => frame.kind)).toEqual([Kind.cancel, Kind.cancel]);
    expect(world.stats).toMatchObject({ open: 0, outcomes: { cancelled: 2 }, clients: [{ connections: 0 }] });
  });

  test('no-reply is passed on, not answered, and done when it has left', async () => {
    const world = await GatewayWorld.start();
    const client = world.client();
    world.send(client, { id: 1, flags: Flag.noReply, payload: 'x' });
    const [{ frame, peer }] = world.requests();
    expect(frame.flags).toBe(Flag.noReply);
    world.engine.advance(20);
    expect(world.stats).toMatchObject({ open: 0, outcomes: { answered: 1 } });
    world.send(peer, { kind: Kind.response, id: frame.id });
    expect(takeFrames(client)).toEqual([]);
    expect(world.stats.events.unknown_responses).toBe(1);
  });

  test('no-reply requests of a client that leaves are still sent', async () => {
    const world = await GatewayWorld.start();
    const client = world.client();
    client.send(encodeFrame({ id: 1, flags: Flag.noReply }));
    client.fin();
    world.engine.settle();
    world.engine.advance(20);
    expect(world.requests()).toHaveLength(1);
    expect(world.stats).toMatchObject({ open: 0, outcomes: { answered: 1 } });
  });

  test('a connection with open tasks is not idle', async () => {
    const world = await GatewayWorld.start({ listeners: [{ idleTimeoutMs: 1_000 }] });
    const [busy, idle] = [world.client(), world.client()];
    world.send(busy, { id: 1, arg: 5_000 });
    world.engine.advance(1_500);
    expect([busy.gone, idle.gone]).toEqual([false, true]);
  });

  test('a frame over the maximum closes the connection, the others never notice', async () => {
    const world = await GatewayWorld.start({ listeners: [{ maxFrameLength: 100 }] });
    const [bad, good] = [world.client(), world.client()];
    world.send(bad, { id: 1, payload: Buffer.alloc(101) });
    world.send(good, { id: 1, payload: Buffer.alloc(100) });
    expect([bad.gone, good.gone]).toEqual([true, false]);
    expect(world.requests()).toHaveLength(1);
    expect(world.stats.closeReasons).toMatchObject({ 'frame-too-long': 1 });
  });

  test('a client that does not take its answers is not read until it does', async () => {
    const world = await GatewayWorld.start();
    const client = world.client();
    client.stalled = true;
    const payload = Buffer.alloc(40_000);
    world.send(client, { id: 1, payload }, { id: 2, payload });
    world.echo(world.requests());
    world.send(client, { id: 3 });
    expect(world.requests()).toHaveLength(0);
    client.stalled = false;
    world.engine.settle();
    expect(world.requests()).toHaveLength(1);
    expect(takeFrames(client).map(({ id }) => id)).toEqual([1, 2]);
  });

  test('a response longer than the client takes becomes RESOURCE_EXHAUSTED, and the others come through', async () => {
    const world = await GatewayWorld.start();
    const client = world.client();
    world.send(client, { kind: Kind.hello, payload: HELLO }, { id: 1 }, { id: 2 }, { id: 3 });
    takeFrames(client);
    const [first, second, third] = world.requests().map(({ frame }) => ({ kind: Kind.response, id: frame.id }));
    const { peer } = world.server();
    world.send(peer, { ...first, payload: Buffer.alloc(1_001) }, { ...second, payload: Buffer.alloc(1_000) });
    world.send(peer, { ...third, flags: Flag.more, payload: Buffer.alloc(1_001) });
    const tooLong = {
      arg: Status.RESOURCE_EXHAUSTED,
      payload: Buffer.from('the response is longer than the client takes'),
    };
    expect(takeFrames(client)).toMatchObject([
      { id: 1, flags: 0, ...tooLong },
      { id: 2, arg: Status.OK },
      { id: 3, flags: 0, ...tooLong },
    ]);
    expect(world.received().map(({ frame }) => [frame.kind, frame.id])).toEqual([[Kind.cancel, third.id]]);
    expect(world.stats).toMatchObject({ open: 0, outcomes: { answered: 1, failed: 2 } });
    expect(client.gone).toBe(false);
  });

  test('of an error longer than the client takes it is told what fits, in whole characters and without meta', async () => {
    const world = await GatewayWorld.start();
    const client = world.client();
    const payload = encodeHello({ features: 0, maxFrameLength: 20, streamWindow: 0 });
    world.send(client, { kind: Kind.hello, payload }, { id: 1 }, { id: 2, route: 9 });
    const [{ frame, peer }] = world.requests();
    const sentence = Buffer.concat([encodeMeta({ tenant: 't' }), Buffer.from(`${'x'.repeat(19)}ü and more`)]);
    const error = { kind: Kind.response, id: frame.id, flags: Flag.meta, arg: Status.NOT_FOUND, payload: sentence };
    world.send(peer, error);
    expect(takeFrames(client).slice(1)).toMatchObject([
      { id: 2, arg: Status.NOT_FOUND, flags: Flag.notExecuted, payload: Buffer.from('no such route') },
      { id: 1, arg: Status.NOT_FOUND, flags: 0, payload: Buffer.from('x'.repeat(19)) },
    ]);
  });

  test('a stream whose client is too far behind is cancelled, other clients go on', async () => {
    const world = await GatewayWorld.start({ listeners: [{ maxStreamBufferedBytes: 200_000 }] });
    const [slow, good] = [world.client(), world.client()];
    slow.stalled = true;
    world.send(slow, { id: 1 });
    world.send(good, { id: 1 });
    const [first, second] = world.requests();
    for (let i = 0; i < 10; i++) {
      const part = { kind: Kind.response, flags: Flag.more, payload: Buffer.alloc(50_000) };
      world.send(first.peer, { ...part, id: first.frame.id }, { ...part, id: second.frame.id });
    }
    expect(world.received().map(({ frame }) => [frame.kind, frame.id])).toEqual([[Kind.cancel, first.frame.id]]);
    expect(takeFrames(good)).toHaveLength(10);
    slow.stalled = false;
    world.engine.settle();
    const frames = takeFrames(slow);
    expect(frames.at(-1)).toMatchObject({ arg: Status.RESOURCE_EXHAUSTED, flags: 0 });
    expect(frames.length).toBeLessThan(10);
  });

  test('maxQueuedBytes: payloads that wait are bounded together', async () => {
    const world = await GatewayWorld.start({ down: true, listeners: [{ maxQueuedPerClient: 100 }] });
    const client = world.client();
    const payload = Buffer.alloc(limits.maxQueuedBytes / 16);
    for (let id = 1; id <= 17; id++) world.send(client, { id, payload });
    expect(world.stats).toMatchObject({ queued: 16, outcomes: { refused: 1 } });
    expect(takeFrames(client)).toEqual([expect.objectContaining({ id: 17, arg: Status.RESOURCE_EXHAUSTED })]);
  });

  test('maxKeptBytes: so is the memory that they hold, however small they are', async () => {
    const world = await GatewayWorld.start({ down: true, listeners: [{ maxQueuedPerClient: 100 }] });
    world.engine.keepReusable = () => ({ bytes: new Uint8Array(limits.maxKeptBytes / 8), start: 0 });
    const client = world.client();
    for (let id = 1; id <= 9; id++) world.send(client, { id, payload: 'x' });
    expect(world.stats).toMatchObject({ queued: 8, outcomes: { refused: 1 } });
    expect(takeFrames(client)).toEqual([expect.objectContaining({ id: 9, arg: Status.RESOURCE_EXHAUSTED })]);
  });

  test('a full queue refuses at once with RESOURCE_EXHAUSTED, not executed', async () => {
    const world = await GatewayWorld.start({
      down: true,
      listeners: [{ maxQueuedPerClient: 2 }],
      config: { maxQueuedTotal: 3 },
    });
    const [a, b] = [world.client(), world.client()];
    world.send(a, { id: 1 }, { id: 2 }, { id: 3 });
    world.send(b, { id: 1 }, { id: 2 });
    for (const [client, id] of [
      [a, 3],
      [b, 2],
    ] as const) {
      expect(takeFrames(client)).toEqual([
        expect.objectContaining({ id, arg: Status.RESOURCE_EXHAUSTED, flags: Flag.notExecuted }),
      ]);
    }
    expect(world.stats).toMatchObject({ queued: 3, outcomes: { refused: 2 } });
  });

  test('affinity keys stay with one backend; clients without one stay by address', async () => {
    const world = await GatewayWorld.start({ pools: [{ count: 4, strategy: 'consistent-hash', boundFactor: 100 }] });
    const client = world.client();
    const payload = Buffer.concat([encodeMeta({ affinityKey: 'user-7' }), Buffer.from('x')]);
    for (let id = 0; id < 12; id++) world.send(client, { id, flags: Flag.meta, payload });
    expect([0, 1, 2, 3].map((i) => world.requests(i).length).filter((count) => count > 0)).toEqual([12]);
    const used = new Set<number>();
    for (let n = 0; n < 30; n++) {
      world.send(world.client(PORT, `192.0.2.${n}`), { id: 1 }, { id: 2 });
      const counts = [0, 1, 2, 3].map((i) => world.requests(i).length);
      expect(counts.filter((count) => count > 0)).toEqual([2]);
      used.add(counts.indexOf(2));
    }
    expect(used.size).toBeGreaterThan(1);
  });
});
