// Links to backends: connecting, losing, pinging, replacing them, and what backends do wrong. On the fake engine.
import { describe, expect, test } from 'vitest';
import { Status } from '../../src/engine/tables.gen.js';
import { limits } from '../../src/limits.js';
import { encodeHello, parseHello } from '../../src/protocol/hello.js';
import { Flag, Kind } from '../../src/protocol/rmp.js';
import { BACKEND_PORT, encodeFrame, GatewayWorld, poolConfig, takeFrames } from '../support/gateway-world.js';

const BULK = Buffer.alloc(limits.bulkFrameBytes + 1);

function stateOf(world: GatewayWorld, index = 0): string {
  return world.stats.backends[index].state;
}

describe('links', () => {
  test('the minimum is connected ahead; a further one only when the others are full', async () => {
    const world = await GatewayWorld.start({ pools: [{ maxInFlight: 20_000, links: { min: 2, max: 3 } }] });
    expect(world.server().peers).toHaveLength(2);
    const client = world.client();
    world.send(client, ...Array.from({ length: 2 * limits.tasksPerLink }, (_, id) => ({ id })));
    expect(world.server().peers).toHaveLength(2);
    world.send(client, { id: 99_999 });
    expect(world.server().peers).toHaveLength(3);
    expect(world.stats.backends[0].links).toBe(3);
    expect(world.requests()).toHaveLength(2 * limits.tasksPerLink + 1);
  });

  test('links that are not needed any more are closed', async () => {
    const world = await GatewayWorld.start({ pools: [{ maxInFlight: 20_000 }] });
    const client = world.client();
    world.send(client, ...Array.from({ length: limits.tasksPerLink + 2 }, (_, id) => ({ id })));
    expect(world.stats.backends[0].links).toBe(2);
    world.echo(world.requests());
    world.engine.advance(61_000);
    expect(world.stats.backends[0].links).toBe(1);
  });

  test('an absent backend is tried again after pauses that grow up to the longest', async () => {
    const world = await GatewayWorld.start({ down: true });
    world.engine.advance(120_000);
    const pauses = world.logs
      .filter(({ event }) => event === 'link.connect-failed')
      .map(({ fields }) => fields.retryInMs as number);
    expect(pauses[0]).toBeGreaterThanOrEqual(limits.reconnectMinMs / 2);
    expect(pauses[0]).toBeLessThanOrEqual(limits.reconnectMinMs);
    expect(Math.max(...pauses)).toBeLessThanOrEqual(limits.reconnectMaxMs);
    expect(pauses.at(-1)).toBeGreaterThanOrEqual(limits.reconnectMaxMs / 2);
    expect(pauses.length).toBeLessThan(40);
    expect(stateOf(world)).toBe('down');
    world.server().down = false;
    world.engine.advance(limits.reconnectMaxMs);
    expect(stateOf(world)).toBe('up');
  });

  test('settledLinkMs: only a link that lived so long starts the pauses afresh', async () => {
    const world = await GatewayWorld.start();
    const lose = (afterMs: number): number => {
      world.engine.advance(afterMs);
      world.server().peers.at(-1)!.rst();
      world.engine.settle();
      const pauseMs = world.logs.findLast(({ event }) => event === 'link.lost')!.fields.retryInMs as number;
      world.engine.advance(pauseMs + limits.tickMs);
      return pauseMs;
    };
    lose(10);
    lose(10);
    expect(lose(10)).toBeGreaterThanOrEqual(limits.reconnectMinMs * 2);
    expect(lose(limits.settledLinkMs)).toBeLessThanOrEqual(limits.reconnectMinMs);
  });

  test('maxAbandonedIds: a link with more requests that were given up and never answered is replaced', async () => {
    const world = await GatewayWorld.start({ pools: [{ maxInFlight: 20_000, deadlineMs: 100 }] });
    const client = world.client();
    world.send(client, ...Array.from({ length: limits.maxAbandonedIds }, (_, id) => ({ id })));
    world.engine.advance(1_000);
    expect(world.server().peers).toHaveLength(1);
    world.send(client, { id: 99_999 });
    world.engine.advance(1_000);
    expect(world.server().peers).toHaveLength(2);
    expect(world.server().peers[0].gone).toBe(true);
  });

  test('long frames travel on a link of their own, and small ones do not wait for it', async () => {
    const world = await GatewayWorld.start();
    const client = world.client();
    client.send(encodeFrame({ id: 1, payload: BULK }), encodeFrame({ id: 2 }));
    world.engine.settle();
    expect(world.server().peers).toHaveLength(2);
    const requests = world.requests();
    expect(requests.find(({ frame }) => frame.payload.length === 0)!.peer).toBe(world.server().peers[0]);
    expect(requests.find(({ frame }) => frame.payload.length > 0)!.peer).toBe(world.server().peers[1]);
    expect(world.stats.backends[0].links).toBe(1);
    world.echo(requests);
    expect(takeFrames(client)).toHaveLength(2);
  });

  test('small frames pass long ones that wait', async () => {
    const world = await GatewayWorld.start();
    world.server().down = true;
    const client = world.client();
    world.send(client, ...Array.from({ length: 8 }, (_, id) => ({ id, payload: BULK })));
    world.send(client, { id: 100 });
    expect(world.requests().map(({ frame }) => frame.payload.length)).toEqual([0]);
  });

  test('a link with too many ids that were never answered is replaced', async () => {
    const world = await GatewayWorld.start({ pools: [{ maxInFlight: 40, deadlineMs: 100 }] });
    const client = world.client();
    world.send(client, ...Array.from({ length: 20 }, (_, id) => ({ id })));
    expect(world.stats.backends[0].inFlight).toBe(20);
    world.engine.advance(1_000);
    expect(world.server().peers).toHaveLength(2);
    expect(world.server().peers[0].gone).toBe(true);
    expect(world.stats.backends[0]).toMatchObject({ inFlight: 0, links: 1 });
    expect(takeFrames(client).every(({ arg }) => arg === Status.DEADLINE_EXCEEDED)).toBe(true);
  });

  test('a backend that does not read gets no more, the others do', async () => {
    const world = await GatewayWorld.start({ pools: [{ count: 2, links: { max: 1 }, strategy: 'least-outstanding' }] });
    world.server(0).peer.stalled = true;
    const client = world.client();
    const payload = Buffer.alloc(200_000);
    for (let id = 0; id < 100; id++) world.send(client, { id, payload });
    const sent = world.server(0).peer.connection.bytesQueued;
    expect(sent).toBeLessThan(limits.linkHighWaterMark + 2 * 200_016);
    expect(world.requests(1).length).toBe(100 - Math.round(sent / 200_016));
  });

  describe('a request longer than the backend takes', () => {
    const takes = (maxFrameLength: number) => ({
      kind: Kind.hello,
      payload: encodeHello({ features: 0, maxFrameLength, streamWindow: 0 }),
    });
    const refused = (id: number) =>
      expect.objectContaining({ id, arg: Status.INVALID_ARGUMENT, flags: Flag.notExecuted });

    test('is refused on a link that has not said so, because another one has', async () => {
      const world = await GatewayWorld.start();
      world.send(world.server().peer, takes(10_000));
      const client = world.client();
      world.send(client, { id: 1, payload: BULK }, { id: 2, payload: 'short' });
      expect(takeFrames(client)).toEqual([refused(1)]);
      expect(world.requests()).toHaveLength(1);
    });

    test('is refused although it waited for its link when that became known, and its client may leave for it', async () => {
      for (const protocol of ['rmp', 'plain'] as const) {
        const world = await GatewayWorld.start({ listeners: [{ protocol }] });
        const client = world.client();
        const { peer } = world.server();
        const length = Buffer.alloc(4);
        length.writeUInt32BE(BULK.length);
        const frames = [1, 2].map((id) =>
          protocol === 'rmp' ? encodeFrame({ id, payload: BULK }) : Buffer.concat([length, BULK]),
        );
        client.send(...frames);
        while (world.stats.backends[0].inFlight < 2) client.connection.turn();
        peer.send(encodeFrame(takes(10_000)));
        while (peer.connection.turn());
        // Only now the link for long frames opens.
        world.engine.settle();
        expect(world.requests()).toHaveLength(0);
        if (protocol === 'rmp') expect(takeFrames(client)).toEqual([refused(1), refused(2)]);
        else expect(client.gone).toBe(true);
        expect(world.stats).toMatchObject({ open: 0, backends: [{ inFlight: 0 }] });
      }
    });

    test('does not count against the backend when it breaks the link before that was known', async () => {
      const world = await GatewayWorld.start({ pools: [{ health: { consecutiveFailures: 1, ejectMs: 60_000 } }] });
      const client = world.client();
      world.send(client, { id: 1, payload: 'more than ten bytes' });
      world.send(world.server().peer, takes(10));
      world.server().peer.fin();
      world.engine.settle();
      expect(takeFrames(client)).toEqual([expect.objectContaining({ id: 1, arg: Status.UNAVAILABLE })]);
      expect(world.stats.backends[0]).toMatchObject({ failures: 0, ejections: 0 });
      world.engine.advance(500);
      world.send(client, { id: 2, payload: 'more than ten bytes' });
      expect(takeFrames(client)).toEqual([refused(2)]);
    });

    test('is a matter of the newest link: a backend that came back without a hello takes any', async () => {
      const world = await GatewayWorld.start();
      world.send(world.server().peer, takes(10));
      world.server().peer.rst();
      world.engine.advance(500);
      world.send(world.server().peers.at(-1)!, { kind: Kind.ping });
      world.send(world.client(), { id: 1, payload: 'more than ten bytes' });
      expect(world.requests()).toHaveLength(1);
    });
  });

  test('a request longer than the backend takes is refused, its link stays', async () => {
    const world = await GatewayWorld.start();
    world.send(world.server().peer, {
      kind: Kind.hello,
      payload: encodeHello({ features: 0, maxFrameLength: 10, streamWindow: 0 }),
    });
    const client = world.client();
    world.send(client, { id: 1, payload: 'more than ten bytes' }, { id: 2, payload: 'short' });
    expect(takeFrames(client)).toEqual([
      expect.objectContaining({ arg: Status.INVALID_ARGUMENT, flags: Flag.notExecuted }),
    ]);
    expect(world.requests()).toHaveLength(1);
  });
});

describe('hello and streams', () => {
  test('hello is said on connecting where configured, and answered either way', async () => {
    const world = await GatewayWorld.start({ pools: [{ links: { hello: true } }] });
    const [hello] = takeFrames(world.server().peer);
    expect(hello.kind).toBe(Kind.hello);
    expect(parseHello(hello.payload, 0, hello.payload.length)).toMatchObject({
      features: 1,
      streamWindow: limits.firstStreamWindow,
    });
    const quiet = await GatewayWorld.start();
    expect(takeFrames(quiet.server().peer)).toEqual([]);
    quiet.send(quiet.server().peer, { kind: Kind.hello, payload: hello.payload });
    expect(takeFrames(quiet.server().peer).map(({ kind }) => kind)).toEqual([Kind.hello]);
  });

  test('a hello that crosses what was sent is heard and not answered: it would not be the first frame', async () => {
    const world = await GatewayWorld.start();
    const client = world.client();
    world.send(client, { id: 1 });
    const [{ peer, frame }] = world.requests();
    world.send(peer, { kind: Kind.hello, payload: encodeHello({ features: 1, maxFrameLength: 9, streamWindow: 0 }) });
    const part = { kind: Kind.response, id: frame.id, flags: Flag.more };
    for (let i = 0; i < limits.streamWindow; i++) world.send(peer, part);
    // No hello, and without it no features: nothing is granted.
    expect(takeFrames(peer)).toEqual([]);
    expect(takeFrames(client)).toHaveLength(limits.streamWindow);
    world.send(client, { id: 2, payload: 'ten bytes!' });
    expect(takeFrames(client)).toEqual([expect.objectContaining({ id: 2, arg: Status.INVALID_ARGUMENT })]);
  });

  /** A client without stream windows, a backend with them, and the request between them. */
  async function startStream(partBytes: number, maxStreamBufferedBytes = limits.maxStreamBufferedBytes) {
    const world = await GatewayWorld.start({ listeners: [{ maxStreamBufferedBytes }] });
    const { peer } = world.server();
    world.send(peer, { kind: Kind.hello, payload: encodeHello({ features: 1, maxFrameLength: 0, streamWindow: 0 }) });
    takeFrames(peer);
    const client = world.client();
    world.send(client, { id: 1 });
    const [{ frame }] = world.requests();
    let granted = limits.firstStreamWindow;
    const grants = (): number => {
      const windows = takeFrames(peer);
      for (const { kind, id, arg } of windows) {
        expect([kind, id]).toEqual([Kind.window, frame.id]);
        granted += arg;
      }
      return granted;
    };
    const send = (): void =>
      world.send(peer, { kind: Kind.response, id: frame.id, flags: Flag.more, payload: Buffer.alloc(partBytes) });
    return { world, client, grants, send };
  }

  test('with stream windows the gateway grants as the client takes', async () => {
    const { world, client, grants, send } = await startStream(10_000);
    let sent = 0;
    for (; sent < limits.streamWindow; sent++) {
      expect(grants()).toBeGreaterThan(sent);
      send();
    }
    expect(grants() - sent).toBeLessThanOrEqual(limits.streamWindow);
    expect(takeFrames(client)).toHaveLength(sent);
    client.stalled = true;
    while (sent < grants()) {
      send();
      sent++;
    }
    expect(takeFrames(client)).toEqual([]);
    client.stalled = false;
    world.engine.settle();
    expect(grants()).toBe(sent + limits.streamWindow);
  });

  test('and fewer of long ones: what is granted takes at most half of what may be buffered', async () => {
    for (const [bytes, most] of [
      [1_000, 5],
      [12_000, 1],
      [0, limits.streamWindow],
    ]) {
      const { grants, send } = await startStream(bytes, 10_000);
      for (let sent = 1; sent <= limits.streamWindow; sent++) {
        send();
        expect(grants() - sent).toBeGreaterThan(0);
        expect(grants() - sent).toBeLessThanOrEqual(most);
      }
    }
  });

  test('several streams of one client share that', async () => {
    const { world, client, grants, send } = await startStream(1_250, 10_000);
    for (let id = 2; id <= 4; id++) world.send(client, { id });
    for (const { peer, frame } of world.requests()) {
      world.send(peer, { kind: Kind.response, id: frame.id, flags: Flag.more });
      takeFrames(peer);
    }
    for (let sent = 1; sent <= 8; sent++) {
      send();
      expect(grants() - sent).toBe(1);
    }
  });

  test('and where it is not enough for one part each, the silent ones do not stop the others', async () => {
    const { world, client } = await startStream(100, 10_000);
    const part = { kind: Kind.response, flags: Flag.more, payload: Buffer.alloc(2_000) };
    for (let id = 2; id <= 6; id++) world.send(client, { id });
    const others = world.requests().map(({ peer, frame: { id } }) => ({ peer, id }));
    for (const { peer, id } of others) peer.send(encodeFrame({ ...part, id }));
    world.engine.settle();
    const granted = new Map<number, number>();
    for (const { frame } of world.received()) granted.set(frame.id, (granted.get(frame.id) ?? 0) + frame.arg);
    expect([...granted.values()].reduce((sum, count) => sum + count, 0) * 2_000).toBeLessThanOrEqual(5_000);
    for (let tick = 0; tick < others.length; tick++) world.engine.advance(limits.tickMs);
    for (const { frame } of world.received()) granted.set(frame.id, (granted.get(frame.id) ?? 0) + frame.arg);
    for (const { id } of others) expect(granted.get(id)).toBeGreaterThan(0);
  });
});

describe('health', () => {
  test('a link without a sign of life after a ping is closed as unhealthy and made anew', async () => {
    const world = await GatewayWorld.start({ pools: [{ health: { pingIntervalMs: 1_000, pingTimeoutMs: 500 } }] });
    const client = world.client();
    world.send(client, { id: 1 });
    world.engine.advance(2_000);
    expect(world.server().peers[0].sawRst).toBe(true);
    expect(takeFrames(client)).toEqual([expect.objectContaining({ arg: Status.UNAVAILABLE, flags: 0 })]);
    expect(world.stats.closeReasons).toMatchObject({ unhealthy: 1 });
    expect(world.server().peers.length).toBeGreaterThan(1);
  });

  test('pongs and any other frame count as life', async () => {
    const world = await GatewayWorld.start({ pools: [{ health: { pingIntervalMs: 1_000, pingTimeoutMs: 500 } }] });
    const { peer } = world.server();
    peer.onReceive = () => {
      for (const frame of takeFrames(peer))
        if (frame.kind === Kind.ping) peer.send(encodeFrame({ ...frame, kind: Kind.pong }));
    };
    world.engine.advance(20_000);
    expect(peer.gone).toBe(false);
    peer.onReceive = () => {
      if (takeFrames(peer).length > 0) peer.send(encodeFrame({ kind: 200 }));
    };
    world.engine.advance(20_000);
    expect(peer.gone).toBe(false);
  });

  test('time in which the process itself stood still does not count', async () => {
    const world = await GatewayWorld.start({ pools: [{ health: { pingIntervalMs: 1_000, pingTimeoutMs: 3_000 } }] });
    const { peer } = world.server();
    world.engine.advance(1_100);
    world.engine.stall(20_000);
    expect(peer.gone).toBe(false);
  });

  test("the backend's pings are answered", async () => {
    const world = await GatewayWorld.start();
    world.send(world.server().peer, { kind: Kind.ping, id: 5, payload: 'p' });
    expect(takeFrames(world.server().peer)).toEqual([
      expect.objectContaining({ kind: Kind.pong, id: 5, payload: Buffer.from('p') }),
    ]);
  });

  test('consecutive failures eject, and a trial after a while brings it back', async () => {
    const world = await GatewayWorld.start({
      pools: [{ count: 3, health: { consecutiveFailures: 2, ejectMs: 1_000 } }],
    });
    const client = world.client();
    let id = 0;
    const fail = () => {
      world.send(client, { id: id++ }, { id: id++ }, { id: id++ });
      for (const { peer, frame } of world.requests(0))
        world.send(peer, { kind: Kind.response, id: frame.id, arg: Status.UNAVAILABLE });
      world.echo([...world.requests(1), ...world.requests(2)]);
    };
    fail();
    fail();
    expect(stateOf(world)).toBe('ejected');
    world.send(client, { id: id++ }, { id: id++ });
    expect(world.requests(0)).toEqual([]);
    world.engine.advance(1_100);
    expect(stateOf(world)).toBe('trial');
    world.send(client, { id: id++ }, { id: id++ }, { id: id++ });
    world.echo(world.requests(0));
    expect(stateOf(world)).toBe('up');
  });

  test('is logged: who is ejected and comes back, and when more than half of a pool is out', async () => {
    const world = await GatewayWorld.start({
      pools: [{ count: 3, health: { consecutiveFailures: 2, ejectMs: 1_000 } }],
    });
    const client = world.client();
    let id = 0;
    const answer = (failing: readonly number[], rounds: number) => {
      for (let round = 0; round < rounds; round++) {
        world.send(client, { id: id++ }, { id: id++ }, { id: id++ });
        for (const index of [0, 1, 2]) {
          for (const { peer, frame } of world.requests(index)) {
            const arg = failing.includes(index) ? Status.INTERNAL : Status.OK;
            world.send(peer, { kind: Kind.response, id: frame.id, arg });
          }
        }
      }
      world.engine.advance(limits.tickMs);
    };
    const news = () =>
      world.logs
        .splice(0)
        .filter(({ event }) => /^(backend\.(ejected|reinstated)|pool\.(mostly-out|recovered))$/.test(event))
        .map(({ level, event, fields }) => [level, event, fields]);
    const first = `127.0.0.1:${BACKEND_PORT}`;
    world.engine.advance(limits.tickMs);
    expect(news()).toEqual([]);
    answer([0], 2);
    expect(news()).toEqual([
      ['warn', 'backend.ejected', { pool: 'pool', backend: first, failures: 2, ejectMs: 1_000 }],
    ]);
    world.engine.advance(1_100);
    answer([0], 1);
    expect(news()).toEqual([
      ['warn', 'backend.ejected', { pool: 'pool', backend: first, failures: 3, ejectMs: 2_000 }],
    ]);
    world.server(1).peer.rst();
    world.engine.settle();
    world.engine.advance(limits.tickMs);
    expect(news()).toEqual([['warn', 'pool.mostly-out', { pool: 'pool', out: 2, backends: 3 }]]);
    world.engine.advance(2_100);
    expect(news()).toEqual([['info', 'pool.recovered', { pool: 'pool', out: 1, backends: 3 }]]);
    answer([], 2);
    expect(news()).toEqual([['info', 'backend.reinstated', { pool: 'pool', backend: first }]]);
  });

  test('a client with a tiny budget does not make a backend look ill, one that waited long does', async () => {
    const world = await GatewayWorld.start({
      pools: [{ count: 2, health: { consecutiveFailures: 1, ejectMs: 60_000 } }],
    });
    const client = world.client();
    world.send(client, { id: 1, arg: 20 }, { id: 2, arg: 20 });
    world.engine.advance(100);
    expect([stateOf(world, 0), stateOf(world, 1)]).toEqual(['up', 'up']);
    world.send(client, { id: 3, arg: limits.minTimeoutPenaltyMs + 100 });
    world.engine.advance(2_000);
    expect([stateOf(world, 0), stateOf(world, 1)].sort()).toEqual(['ejected', 'up']);
  });
});

describe('a backend that goes away', () => {
  test('gets nothing new, may finish, and is back when a new link does not say it again', async () => {
    const world = await GatewayWorld.start({ pools: [{ count: 2 }] });
    const client = world.client();
    world.send(client, { id: 1 }, { id: 2 });
    const first = world.requests(0);
    world.send(world.server(0).peer, { kind: Kind.goingAway, arg: 5_000 });
    expect(stateOf(world)).toBe('draining');
    world.send(client, { id: 3 }, { id: 4 });
    expect(world.requests(0)).toEqual([]);
    world.engine.advance(100);
    expect(world.server(0).peers[0].gone).toBe(false);
    world.echo(first);
    expect(takeFrames(client).map(({ id }) => id)).toEqual([1]);
    world.server(0).down = true;
    world.engine.advance(1_000);
    expect(world.server(0).peers[0].gone).toBe(true);
    world.server(0).down = false;
    world.engine.advance(5_000);
    expect(stateOf(world)).toBe('up');
  });

  test('says so again on the new link: not back', async () => {
    const world = await GatewayWorld.start();
    const server = world.server();
    server.onPeer = (peer) => peer.send(encodeFrame({ kind: Kind.goingAway }));
    world.send(server.peer, { kind: Kind.goingAway });
    const before = server.peers.length;
    world.engine.advance(10_000);
    expect(world.stats.backends[0].state).not.toBe('up');
    expect(server.peers.length - before).toBeLessThan(12);
  });
});

describe('a backend that does wrong', () => {
  test.each([
    ['an unknown kind', encodeFrame({ kind: 12 })],
    ['a request', encodeFrame({ kind: Kind.request })],
    ['a length over the maximum', Buffer.from([0xff, 0xff, 0xff, 0xff, 2])],
    ['a length below the header', Buffer.from([0, 0, 0, 3, 2, 0, 0])],
    ['HTTP', Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n')],
    ['a malformed hello', encodeFrame({ kind: Kind.hello, payload: 'x' })],
  ])('%s: the link is closed, its tasks fail, the backend is penalised', async (_what, bytes) => {
    const world = await GatewayWorld.start({
      pools: [{ count: 2, health: { consecutiveFailures: 1, ejectMs: 60_000 } }],
    });
    const client = world.client();
    world.send(client, { id: 1 }, { id: 2 });
    const others = world.requests(1);
    world.send(world.server(0).peer, bytes);
    expect(world.server(0).peers[0].gone).toBe(true);
    expect(takeFrames(client)).toEqual([expect.objectContaining({ arg: Status.UNAVAILABLE, flags: 0 })]);
    world.engine.advance(1_000);
    expect(stateOf(world)).toBe('ejected');
    world.echo(others);
    expect(takeFrames(client)).toEqual([expect.objectContaining({ arg: Status.OK })]);
  });

  test('malformed meta in an answer closes the link', async () => {
    const world = await GatewayWorld.start();
    const client = world.client();
    world.send(client, { id: 1 });
    const [{ frame, peer }] = world.requests();
    world.send(peer, { kind: Kind.response, id: frame.id, flags: Flag.meta, payload: Buffer.from([0, 200]) });
    expect(peer.gone).toBe(true);
    expect(takeFrames(client)).toEqual([expect.objectContaining({ arg: Status.UNAVAILABLE })]);
  });

  test('answers under ids nobody used, and second answers, are counted and dropped', async () => {
    const world = await GatewayWorld.start();
    const client = world.client();
    world.send(client, { id: 1 });
    const requests = world.requests();
    const { peer, frame } = requests[0];
    world.send(peer, { kind: Kind.response, id: 0xdeadbeef }, { kind: Kind.response, id: frame.id + 1 });
    expect(takeFrames(client)).toEqual([]);
    world.echo(requests);
    world.echo(requests);
    expect(takeFrames(client)).toHaveLength(1);
    expect(world.stats.events.unknown_responses).toBe(3);
    expect(world.stats.outcomes.answered).toBe(1);
    expect(peer.gone).toBe(false);
  });

  test('kinds of 128 and above and what means nothing here is ignored and counted', async () => {
    const world = await GatewayWorld.start();
    const { peer } = world.server();
    world.send(
      peer,
      { kind: 128 },
      { kind: Kind.push },
      { kind: Kind.cancel },
      { kind: Kind.window },
      { kind: Kind.ack },
    );
    expect(peer.gone).toBe(false);
    expect(world.stats.events.ignored_frames).toBe(5);
  });
});

describe('names', () => {
  test('resolve to all addresses, and again after the interval', async () => {
    let addresses = ['127.0.0.2', '127.0.0.3'];
    const servers = [
      { address: `model.internal:${BACKEND_PORT}`, host: 'model.internal', port: BACKEND_PORT, weight: 2 },
    ];
    const world = await GatewayWorld.start({
      pools: [{ servers, resolveIntervalMs: 1_000 }],
      deps: { resolve: async () => addresses },
    });
    world.engine.advance(limits.tickMs);
    await Promise.resolve();
    world.engine.advance(limits.tickMs);
    expect(world.logs.filter(({ event }) => event === 'pool.mostly-out')).toEqual([]);
    expect(world.stats.backends.map(({ name, state, weight }) => [name, state, weight])).toEqual([
      [`127.0.0.2:${BACKEND_PORT}`, 'up', 2],
      [`127.0.0.3:${BACKEND_PORT}`, 'up', 2],
    ]);
    const client = world.client();
    world.send(client, { id: 1 }, { id: 2 });
    const requests = world.requests();
    addresses = ['127.0.0.3', '127.0.0.4'];
    world.engine.advance(1_100);
    await new Promise((resolve) => setImmediate(resolve));
    world.engine.settle();
    expect(world.stats.backends.map(({ name, state }) => [name, state])).toEqual([
      [`127.0.0.2:${BACKEND_PORT}`, 'draining'],
      [`127.0.0.3:${BACKEND_PORT}`, 'up'],
      [`127.0.0.4:${BACKEND_PORT}`, 'up'],
    ]);
    world.echo(requests);
    expect(takeFrames(client)).toHaveLength(2);
    world.engine.advance(100);
    expect(world.stats.backends.map(({ name }) => name)).not.toContain(`127.0.0.2:${BACKEND_PORT}`);
  });

  test('a failed lookup keeps the addresses known last', async () => {
    let fails = false;
    const servers = [{ address: 'm:1', host: 'm', port: BACKEND_PORT, weight: 1 }];
    const world = await GatewayWorld.start({
      pools: [{ servers, resolveIntervalMs: 1_000 }],
      deps: {
        resolve: async () => {
          if (fails) throw new Error('ENOTFOUND');
          return ['127.0.0.2'];
        },
      },
    });
    await new Promise((resolve) => setImmediate(resolve));
    world.engine.settle();
    fails = true;
    world.engine.advance(5_000);
    await new Promise((resolve) => setImmediate(resolve));
    expect(world.stats.backends).toEqual([expect.objectContaining({ name: `127.0.0.2:${BACKEND_PORT}`, state: 'up' })]);
    expect(world.logs.some(({ event }) => event === 'pool.resolve-failed')).toBe(true);
  });

  test('a route to a pool that does not exist is refused when the gateway is made', async () => {
    await expect(GatewayWorld.start({ routes: [{ route: 0, pool: 'nowhere', orderBy: 'none' }] })).rejects.toThrow(
      RangeError,
    );
    expect(poolConfig().name).toBe('pool');
  });
});
