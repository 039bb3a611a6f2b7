// Links that break, deadlines, retries and waiting. On the fake engine.
import { describe, expect, test } from 'vitest';
import { Status } from '../../src/engine/tables.gen.js';
import { limits } from '../../src/limits.js';
import { encodeHello } from '../../src/protocol/hello.js';
import { encodeMeta } from '../../src/protocol/meta.js';
import { Flag, Kind } from '../../src/protocol/rmp.js';
import { encodeFrame, GatewayWorld, takeFrames } from '../support/gateway-world.js';

const TWO = [{ count: 2 }];

describe('a link that breaks', () => {
  test('tasks that provably did not leave are sent to another backend', async () => {
    const world = await GatewayWorld.start({ pools: TWO });
    world.server(0).peer.stalled = true;
    const client = world.client();
    world.send(client, { id: 1, payload: 'one' }, { id: 2, payload: 'two' });
    expect(world.requests(1)).toHaveLength(1);
    world.server(0).peer.rst();
    world.engine.settle();
    expect(world.requests(1).map(({ frame }) => frame.payload.toString())).toEqual(['one']);
    expect(world.stats.events.retries).toBe(1);
  });

  test('tasks of which a byte left fail UNAVAILABLE', async () => {
    const world = await GatewayWorld.start({ pools: TWO });
    const { peer } = world.server(0);
    peer.takesPerTurn = 1;
    peer.stalled = true;
    const client = world.client();
    world.send(client, { id: 1, payload: 'one' }, { id: 2 }, { id: 3, payload: 'three' });
    peer.stalled = false;
    world.engine.turn();
    peer.stalled = true;
    peer.rst();
    world.engine.settle();
    expect(takeFrames(client)).toEqual([expect.objectContaining({ id: 1, arg: Status.UNAVAILABLE, flags: 0 })]);
    expect(world.requests(1).map(({ frame }) => frame.payload.toString())).toContain('three');
  });

  test('unless they are idempotent', async () => {
    const world = await GatewayWorld.start({ pools: TWO });
    const client = world.client();
    world.send(client, { id: 1, flags: Flag.idempotent, payload: 'again' });
    expect(world.requests(0)).toHaveLength(1);
    world.server(0).peer.rst();
    world.engine.settle();
    const requests = world.requests(1);
    expect(requests.map(({ frame }) => [frame.flags, frame.payload.toString()])).toEqual([[Flag.idempotent, 'again']]);
    world.echo(requests);
    expect(takeFrames(client)).toEqual([expect.objectContaining({ id: 1, arg: Status.OK })]);
  });

  test('not once a partial response was passed on', async () => {
    const world = await GatewayWorld.start({ pools: TWO });
    const client = world.client();
    world.send(client, { id: 1, flags: Flag.idempotent });
    const [{ frame, peer }] = world.requests(0);
    world.send(peer, { kind: Kind.response, id: frame.id, flags: Flag.more, payload: 'x' });
    peer.rst();
    world.engine.settle();
    expect(world.requests(1)).toEqual([]);
    expect(takeFrames(client).map(({ flags, arg }) => [flags, arg])).toEqual([
      [Flag.more, 0],
      [0, Status.UNAVAILABLE],
    ]);
  });

  test('a FIN of the backend is no answer either', async () => {
    const world = await GatewayWorld.start();
    const client = world.client();
    world.send(client, { id: 1 });
    world.server().peer.fin();
    world.engine.settle();
    expect(takeFrames(client)).toEqual([expect.objectContaining({ arg: Status.UNAVAILABLE })]);
  });

  test('what was rewritten (a token cut out) can be sent again', async () => {
    const world = await GatewayWorld.start({ pools: TWO });
    const client = world.client();
    const payload = Buffer.concat([encodeMeta({ token: 'secret', tenant: 't' }), Buffer.from('body')]);
    world.send(client, { id: 1, flags: Flag.idempotent | Flag.meta, payload });
    world.server(0).peer.rst();
    world.engine.settle();
    const [{ frame }] = world.requests(1);
    expect(frame.payload).toEqual(Buffer.concat([encodeMeta({ tenant: 't' }), Buffer.from('body')]));
  });

  test('a client that is closed while its tasks are lost is not answered twice', async () => {
    const world = await GatewayWorld.start({ listeners: [{ protocol: 'lines', errorReply: 'close' }] });
    const client = world.client();
    world.send(client, Buffer.from('a\nb\nc\n'));
    world.server().peer.rst();
    world.engine.settle();
    expect(client.gone).toBe(true);
    expect(world.stats).toMatchObject({ received: 3, open: 0, outcomes: { failed: 1, cancelled: 2 } });
    expect(world.stats.backends[0].inFlight).toBe(0);
  });
});

describe('retries', () => {
  const refuse = (world: GatewayWorld, index: number, status: number = Status.UNAVAILABLE) => {
    const requests = world.requests(index);
    for (const { peer, frame } of requests) {
      world.send(peer, { kind: Kind.response, id: frame.id, arg: status, flags: Flag.notExecuted, payload: 'busy' });
    }
    return requests.length;
  };

  test('a refusal with not-executed goes to another backend', async () => {
    const world = await GatewayWorld.start({ pools: TWO });
    const client = world.client();
    world.send(client, { id: 1 });
    expect(refuse(world, 0)).toBe(1);
    world.echo(world.requests(1));
    expect(takeFrames(client)).toEqual([expect.objectContaining({ arg: Status.OK })]);
  });

  test('the last refusal is passed on when the attempts are used up', async () => {
    const world = await GatewayWorld.start({ pools: [{ count: 4, retries: { maxAttempts: 3 } }] });
    const client = world.client();
    world.send(client, { id: 1 });
    let refused = 0;
    for (let round = 0; round < 4; round++) for (let i = 0; i < 4; i++) refused += refuse(world, i, 42);
    expect(refused).toBe(3);
    expect(takeFrames(client)).toEqual([
      expect.objectContaining({ arg: 42, flags: Flag.notExecuted, payload: Buffer.from('busy') }),
    ]);
  });

  test('a refusal after an attempt that may have been executed is not passed on as not-executed', async () => {
    const world = await GatewayWorld.start({ pools: TWO });
    const client = world.client();
    world.send(client, { id: 1, flags: Flag.idempotent });
    world.server(0).peer.rst();
    world.engine.settle();
    expect(refuse(world, 1)).toBe(1);
    expect(takeFrames(client)).toEqual([expect.objectContaining({ id: 1, arg: Status.UNAVAILABLE, flags: 0 })]);
  });

  test('nor is one after a part of the answer', async () => {
    const world = await GatewayWorld.start({ pools: TWO });
    const client = world.client();
    world.send(client, { id: 1 });
    const [{ frame, peer }] = world.requests(0);
    world.send(peer, { kind: Kind.response, id: frame.id, flags: Flag.more });
    world.send(peer, { kind: Kind.response, id: frame.id, flags: Flag.notExecuted, arg: Status.UNAVAILABLE });
    expect(takeFrames(client).map(({ flags }) => flags)).toEqual([Flag.more, 0]);
  });

  test('a request too long for the backend it is sent to again may have been executed by the first', async () => {
    const world = await GatewayWorld.start({ pools: TWO });
    const hello = encodeHello({ features: 0, maxFrameLength: 3, streamWindow: 0 });
    world.send(world.server(1).peer, { kind: Kind.hello, payload: hello });
    const client = world.client();
    world.send(client, { id: 1, flags: Flag.idempotent, payload: 'long' });
    world.server(0).peer.rst();
    world.engine.settle();
    expect(takeFrames(client)).toEqual([expect.objectContaining({ id: 1, arg: Status.INVALID_ARGUMENT, flags: 0 })]);
  });

  test('with one backend the refusal is passed on', async () => {
    const world = await GatewayWorld.start();
    const client = world.client();
    world.send(client, { id: 1 });
    refuse(world, 0);
    expect(takeFrames(client)).toHaveLength(1);
  });

  test('an error without not-executed is an answer', async () => {
    const world = await GatewayWorld.start({ pools: TWO });
    const client = world.client();
    world.send(client, { id: 1, flags: Flag.idempotent });
    const [{ frame, peer }] = world.requests(0);
    world.send(peer, { kind: Kind.response, id: frame.id, arg: Status.INTERNAL });
    expect(takeFrames(client)).toEqual([expect.objectContaining({ arg: Status.INTERNAL })]);
  });

  test('UNAVAILABLE to an idempotent request is one of this backend only: another is asked', async () => {
    const world = await GatewayWorld.start({ pools: TWO });
    const client = world.client();
    world.send(client, { id: 1, flags: Flag.idempotent, payload: 'again' });
    const [{ frame, peer }] = world.requests(0);
    world.send(peer, { kind: Kind.response, id: frame.id, arg: Status.UNAVAILABLE });
    expect(takeFrames(client)).toEqual([]);
    world.echo(world.requests(1));
    expect(takeFrames(client)).toEqual([
      expect.objectContaining({ id: 1, arg: Status.OK, payload: Buffer.from('again') }),
    ]);
    expect(world.stats).toMatchObject({ events: { retries: 1 }, outcomes: { answered: 1 } });
  });

  test.each([
    ['the request is not idempotent', { flags: 0 }, {}],
    ['the answer is ABORTED, which the work itself met', {}, { arg: Status.ABORTED }],
    ['the answer is RESOURCE_EXHAUSTED, which a second try would make worse', {}, { arg: Status.RESOURCE_EXHAUSTED }],
  ])('it is not when %s', async (_when, request, answer) => {
    const world = await GatewayWorld.start({ pools: TWO });
    const client = world.client();
    world.send(client, { id: 1, flags: Flag.idempotent, ...request });
    const [{ frame, peer }] = world.requests(0);
    const { arg } = { arg: Status.UNAVAILABLE, ...answer };
    world.send(peer, { kind: Kind.response, id: frame.id, arg, payload: 'why' });
    expect(takeFrames(client)).toEqual([expect.objectContaining({ id: 1, arg, payload: Buffer.from('why') })]);
    expect(world.requests(1)).toEqual([]);
  });

  test('nor after a partial response, nor without another backend: then it is the answer', async () => {
    for (const count of [1, 2]) {
      const world = await GatewayWorld.start({ pools: [{ count }] });
      const client = world.client();
      world.send(client, { id: 1, flags: Flag.idempotent });
      const [{ frame, peer }] = world.requests(0);
      if (count === 2) world.send(peer, { kind: Kind.response, id: frame.id, flags: Flag.more });
      world.send(peer, { kind: Kind.response, id: frame.id, arg: Status.UNAVAILABLE, payload: 'why' });
      expect(takeFrames(client).at(-1)).toMatchObject({ arg: Status.UNAVAILABLE, payload: Buffer.from('why') });
      expect(world.stats.open).toBe(0);
    }
  });

  test('a refusal by the second backend is not passed on as not-executed: the first may have begun', async () => {
    const world = await GatewayWorld.start({ pools: [{ count: 2, retries: { maxAttempts: 2 } }] });
    const client = world.client();
    world.send(client, { id: 1, flags: Flag.idempotent });
    const [{ frame, peer }] = world.requests(0);
    world.send(peer, { kind: Kind.response, id: frame.id, arg: Status.UNAVAILABLE });
    expect(refuse(world, 1)).toBe(1);
    expect(takeFrames(client)).toEqual([expect.objectContaining({ id: 1, arg: Status.UNAVAILABLE, flags: 0 })]);
  });

  test('no more than the budget allows', async () => {
    const world = await GatewayWorld.start({ pools: [{ count: 2, retries: { ratio: 0.1, minPerSecond: 0 } }] });
    const client = world.client();
    world.send(client, ...Array.from({ length: 100 }, (_, id) => ({ id })));
    refuse(world, 0);
    expect(world.stats.events).toMatchObject({ retries: 10, retries_denied: 40 });
    expect(takeFrames(client)).toHaveLength(40);
  });

  test('maxAttempts 1: never', async () => {
    const world = await GatewayWorld.start({ pools: [{ count: 2, retries: { maxAttempts: 1 } }] });
    const client = world.client();
    world.send(client, { id: 1 });
    refuse(world, 0);
    expect(takeFrames(client)).toHaveLength(1);
  });

  test('within the original deadline', async () => {
    const world = await GatewayWorld.start({ pools: TWO });
    const client = world.client();
    world.send(client, { id: 1, arg: 1_000 });
    world.engine.advance(600);
    refuse(world, 0);
    const [{ frame }] = world.requests(1);
    expect(frame.arg).toBeLessThanOrEqual(400);
    world.engine.advance(500);
    expect(takeFrames(client)).toEqual([expect.objectContaining({ arg: Status.DEADLINE_EXCEEDED })]);
  });

  test('payloads over maxRetainedBytes are not kept for it', async () => {
    const world = await GatewayWorld.start({ pools: TWO });
    const client = world.client();
    world.send(client, { id: 1, payload: Buffer.alloc(70_000) });
    refuse(world, 0);
    expect(takeFrames(client)).toEqual([expect.objectContaining({ flags: Flag.notExecuted })]);
  });
});

describe('deadlines', () => {
  test('the client gets DEADLINE_EXCEEDED, the backend a cancel, the late answer nobody', async () => {
    const world = await GatewayWorld.start();
    const client = world.client();
    world.send(client, { id: 1, arg: 100 });
    const requests = world.requests();
    world.engine.advance(90);
    expect(takeFrames(client)).toEqual([]);
    world.engine.advance(40);
    expect(takeFrames(client)).toEqual([expect.objectContaining({ id: 1, arg: Status.DEADLINE_EXCEEDED, flags: 0 })]);
    expect(world.received().map(({ frame }) => [frame.kind, frame.id])).toEqual([[Kind.cancel, requests[0].frame.id]]);
    world.echo(requests);
    expect(takeFrames(client)).toEqual([]);
    expect(world.stats).toMatchObject({ events: { late_responses: 1 }, outcomes: { timedOut: 1 } });
  });

  test('partial responses do not extend it', async () => {
    const world = await GatewayWorld.start();
    const client = world.client();
    world.send(client, { id: 1, arg: 500 });
    const [{ frame, peer }] = world.requests();
    for (let i = 0; i < 6; i++) {
      world.send(peer, { kind: Kind.response, id: frame.id, flags: Flag.more });
      world.engine.advance(100);
    }
    expect(takeFrames(client).at(-1)).toMatchObject({ flags: 0, arg: Status.DEADLINE_EXCEEDED });
  });

  test('the longest budget is a budget too', async () => {
    const world = await GatewayWorld.start();
    world.send(world.client(), { id: 1, arg: 0xffffffff });
    expect(world.requests()[0].frame.arg).toBe(0xffffffff);
  });
});

describe('waiting', () => {
  test('while no backend can be reached; what was never sent ends UNAVAILABLE, not executed', async () => {
    const world = await GatewayWorld.start({ down: true });
    const client = world.client();
    world.send(client, { id: 1, arg: 200 }, { id: 2, arg: 60_000 });
    expect(world.stats.queued).toBe(2);
    world.engine.advance(300);
    expect(takeFrames(client)).toEqual([
      expect.objectContaining({ id: 1, arg: Status.UNAVAILABLE, flags: Flag.notExecuted }),
    ]);
    world.server().down = false;
    world.engine.advance(1_000);
    world.echo(world.requests());
    expect(takeFrames(client)).toEqual([expect.objectContaining({ id: 2, arg: Status.OK })]);
    expect(world.stats.queued).toBe(0);
  });

  test('for a place at a full backend, in order', async () => {
    const world = await GatewayWorld.start({ pools: [{ maxInFlight: 2 }] });
    const client = world.client();
    world.send(client, ...[1, 2, 3, 4, 5].map((id) => ({ id, payload: String(id) })));
    let requests = world.requests();
    const seen: string[] = [];
    while (requests.length > 0) {
      expect(requests.length).toBeLessThanOrEqual(2);
      seen.push(...requests.map(({ frame }) => frame.payload.toString()));
      world.echo(requests);
      requests = world.requests();
    }
    expect(seen).toEqual(['1', '2', '3', '4', '5']);
    expect(takeFrames(client)).toHaveLength(5);
  });

  test('a task that waits can be cancelled', async () => {
    const world = await GatewayWorld.start({ down: true });
    const client = world.client();
    world.send(client, { id: 1 }, { id: 2 }, { kind: Kind.cancel, id: 1 });
    expect(takeFrames(client)).toEqual([expect.objectContaining({ id: 1, arg: Status.CANCELLED })]);
    client.fin();
    world.engine.settle();
    expect(world.stats).toMatchObject({ queued: 0, open: 0, outcomes: { cancelled: 2 } });
  });

  test('an unsent task goes back to the queue while its only backend reconnects', async () => {
    const world = await GatewayWorld.start();
    world.server().peer.stalled = true;
    const client = world.client();
    world.send(client, { id: 1, payload: 'x' });
    world.server().peer.rst();
    world.engine.settle();
    expect(world.stats.queued).toBe(1);
    world.engine.advance(500);
    world.echo(world.requests());
    expect(takeFrames(client)).toEqual([expect.objectContaining({ id: 1, arg: Status.OK })]);
    expect(world.stats.events.retries).toBe(1);
  });
});

describe('orderBy', () => {
  const routes = [{ route: 0, pool: 'pool', orderBy: 'client' as const }];

  test('client: one in flight per client, the others wait their turn', async () => {
    const world = await GatewayWorld.start({ pools: TWO, routes });
    const [a, b] = [world.client(), world.client()];
    world.send(a, { id: 1, payload: 'a1' }, { id: 2, payload: 'a2' }, { id: 3, payload: 'a3' });
    world.send(b, { id: 1, payload: 'b1' });
    const seen: string[] = [];
    for (let round = 0; round < 5; round++) {
      const requests = [...world.requests(0), ...world.requests(1)];
      expect(requests.filter(({ frame }) => frame.payload[0] === 0x61).length).toBeLessThanOrEqual(1);
      seen.push(...requests.map(({ frame }) => frame.payload.toString()));
      world.echo(requests);
    }
    expect(seen.filter((text) => text.startsWith('a'))).toEqual(['a1', 'a2', 'a3']);
    expect(takeFrames(a).map(({ id }) => id)).toEqual([1, 2, 3]);
    expect(takeFrames(b)).toHaveLength(1);
  });

  test('cancelled and expired ones make way', async () => {
    const world = await GatewayWorld.start({ routes });
    const client = world.client();
    world.send(client, { id: 1, arg: 100 }, { id: 2 }, { id: 3 }, { id: 4 });
    world.send(client, { kind: Kind.cancel, id: 2 });
    expect(world.requests()).toHaveLength(1);
    world.engine.advance(200);
    expect(world.requests()).toHaveLength(1);
    world.send(client, { kind: Kind.cancel, id: 3 });
    world.echo(world.requests());
    expect(takeFrames(client).map(({ id, arg }) => [id, arg])).toEqual([
      [2, Status.CANCELLED],
      [1, Status.DEADLINE_EXCEEDED],
      [3, Status.CANCELLED],
      [4, Status.OK],
    ]);
  });

  test('key: one in flight per affinity key over all clients, by client without one', async () => {
    const world = await GatewayWorld.start({ routes: [{ route: 0, pool: 'pool', orderBy: 'key' }] });
    const [a, b] = [world.client(), world.client()];
    const keyed = (id: number, affinityKey: string) => ({ id, flags: Flag.meta, payload: encodeMeta({ affinityKey }) });
    world.send(a, keyed(1, 'x'), keyed(2, 'y'));
    world.send(b, keyed(1, 'x'), { id: 2 }, { id: 3 });
    const first = world.requests();
    expect(first).toHaveLength(3);
    world.echo(first);
    const second = world.requests();
    expect(second).toHaveLength(2);
    world.echo(second);
    expect([takeFrames(a).length, takeFrames(b).length]).toEqual([2, 3]);
  });

  test('a long request that is refused makes way for the next one at once', async () => {
    const world = await GatewayWorld.start({ routes });
    const long = Buffer.alloc(limits.bulkFrameBytes + 1);
    const client = world.client();
    world.send(client, { id: 1, payload: long });
    const [{ peer, frame }] = world.requests();
    world.send(peer, { kind: Kind.hello, payload: encodeHello({ features: 0, maxFrameLength: 9, streamWindow: 0 }) });
    world.send(peer, { kind: Kind.response, id: frame.id });
    world.send(client, { id: 2 }, { id: 3, payload: long }, { id: 4, payload: 'four' });
    world.echo(world.requests());
    expect(takeFrames(client).map(({ id, arg }) => [id, arg])).toEqual([
      [1, Status.OK],
      [2, Status.OK],
      [3, Status.INVALID_ARGUMENT],
    ]);
    expect(world.requests().map(({ frame }) => frame.payload.toString())).toEqual(['four']);
  });

  // The answer to the other client makes room for the one that the newest would wait for, which fails.
  test('a request does not wait for one that ended while it looked for a place', async () => {
    for (let seed = 1; seed <= 20; seed++) {
      const world = await GatewayWorld.start({
        seed,
        routes,
        pools: [{ maxInFlight: 1 }],
        config: { maxQueuedTotal: 1 },
      });
      const hello = encodeHello({ features: 0, maxFrameLength: 5, streamWindow: 0 });
      world.send(world.server().peer, { kind: Kind.hello, payload: hello });
      const [client, other] = [world.client(), world.client()];
      world.send(other, { id: 1 });
      world.send(client, { id: 1, payload: 'too long' });
      const [{ peer, frame }] = world.requests();
      peer.send(encodeFrame({ kind: Kind.response, id: frame.id }));
      client.send(encodeFrame({ id: 2 }));
      world.engine.settle();
      world.echo(world.requests());
      const answers = takeFrames(client).map(({ id, arg }) => `${id}: ${arg}`);
      expect(answers).toContain(`1: ${Status.INVALID_ARGUMENT}`);
      // Where its turn came before the answer there was no room for it.
      expect(answers.includes(`2: ${Status.OK}`) || answers.includes(`2: ${Status.RESOURCE_EXHAUSTED}`)).toBe(true);
    }
  });

  test('waiting for the turn counts against the queue', async () => {
    const world = await GatewayWorld.start({ routes, listeners: [{ maxQueuedPerClient: 3 }] });
    const client = world.client();
    world.send(client, ...Array.from({ length: 6 }, (_, id) => ({ id })));
    expect(takeFrames(client).map(({ id, arg }) => [id, arg])).toEqual([
      [4, Status.RESOURCE_EXHAUSTED],
      [5, Status.RESOURCE_EXHAUSTED],
    ]);
    expect(world.stats.queued).toBe(3);
  });
});
