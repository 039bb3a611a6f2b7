// Bad input and broken backends over real sockets: a clear error for who caused it, and nobody else notices. On every engine.
import { createServer } from 'node:net';
import { expect, test } from 'vitest';
import { Status } from '../../src/engine/tables.gen.js';
import { Flag, Kind } from '../../src/protocol/rmp.js';
import { describeEngines, useEngine } from '../support/engines.js';
import { type GatewayHarness, startGateway } from '../support/gateway-harness.js';
import { type RmpPeer, RmpPeerServer, rmpFrame } from '../support/rmp-peer.js';

/** A request of another client still gets its answer. */
async function expectServed(gateway: GatewayHarness, link: RmpPeer = gateway.links[0]): Promise<void> {
  const client = await gateway.client();
  client.send({ kind: Kind.request, id: 1, payload: 'still served' });
  let request = await nextRequest(link);
  while (request.payload.toString() !== 'still served') request = await nextRequest(link);
  link.send({ kind: Kind.response, id: request.id, payload: request.payload });
  expect((await client.next()).payload.toString()).toBe('still served');
  client.destroy();
}

async function nextRequest(link: RmpPeer) {
  for (;;) {
    const frame = await link.next();
    if (frame.kind === Kind.request) return frame;
  }
}

/** Connections end a moment after their peers see it: both halves have to close. */
function expectClosed({ gateway }: GatewayHarness, reason: string): Promise<void> {
  return expect.poll(() => gateway.stats().closeReasons[reason], { timeout: 10_000 }).toBe(1);
}

/** A port on which nothing listens. */
async function deadPort(): Promise<number> {
  const server = await RmpPeerServer.listen();
  await server.close();
  return server.port;
}

describeEngines('gateway: clients that do wrong', (_driver, run) => {
  const fixture = useEngine(run);

  test.each([
    ['a length over the maximum', Buffer.from([0x7f, 0xff, 0xff, 0xff]), 'frame-too-long'],
    ['a negative length', Buffer.from([0xff, 0xff, 0xff, 0xff]), 'frame-too-long'],
    ['a length shorter than the header', Buffer.from([0, 0, 0, 3, 1, 2, 3]), 'bad-frame'],
    ['an unknown kind', rmpFrame({ kind: 42 }), 'protocol-error'],
    ['malformed meta', rmpFrame({ kind: Kind.request, id: 1, flags: Flag.meta, payload: 'xx' }), 'protocol-error'],
    [
      'an id in flight',
      Buffer.concat([1, 1].map((id) => rmpFrame({ kind: Kind.request, id, arg: 60_000 }))),
      'protocol-error',
    ],
  ])('%s closes that connection', async (_what, bytes, reason) => {
    const harness = await startGateway(fixture, { listeners: [{ maxFrameLength: 1_000_000 }] });
    const bad = await harness.tcp();
    bad.write(bytes);
    await bad.end();
    bad.fin();
    await expectServed(harness);
    await expectClosed(harness, reason);
  });

  test('FIN in the middle of a frame closes that connection', async () => {
    const harness = await startGateway(fixture);
    const bad = await harness.tcp();
    bad.write(rmpFrame({ kind: Kind.request, id: 1, payload: 'whole' }).subarray(0, 18));
    bad.fin();
    await bad.end();
    await expectServed(harness);
  });

  test('a frame that stalls half-way is not waited for for ever', async () => {
    const harness = await startGateway(fixture, { listeners: [{ partialFrameTimeoutMs: 100 }] });
    const bad = await harness.tcp();
    bad.write(rmpFrame({ kind: Kind.request, id: 1, payload: 'whole' }).subarray(0, 18));
    await bad.end();
    bad.fin();
    await expectServed(harness);
    await expectClosed(harness, 'partial-frame-timeout');
  });

  test('responses nobody asked for, and unknown kinds from 128 on, are ignored and counted', async () => {
    const harness = await startGateway(fixture);
    const client = await harness.client();
    client.send({ kind: Kind.response, id: 1 }, { kind: 200 });
    expect(await client.untilPong()).toEqual([]);
    expect(harness.gateway.stats().events.ignored_frames).toBe(2);
  });

  test('a client that never reads loses its connection, the others their patience never', async () => {
    const harness = await startGateway(fixture, { listeners: [{ writeStallTimeoutMs: 200 }] });
    const deaf = await harness.tcp(0, { paused: true });
    const payload = Buffer.alloc(100_000);
    deaf.write(rmpFrame({ kind: Kind.request, id: 1, arg: 60_000 }));
    const { id } = await nextRequest(harness.links[0]);
    for (let i = 0; i < 120; i++) harness.links[0].send({ kind: Kind.response, flags: Flag.more, id, payload });
    expect((await nextOf(harness.links[0], Kind.cancel)).id).toBe(id);
    await expectServed(harness);
  });

  test('a thousand connections from one address: those over its limit are closed, those that are open go on', async () => {
    const harness = await startGateway(fixture, { listeners: [{ maxConnectionsPerIp: 10 }] });
    const first = await harness.client();
    await Promise.all(Array.from({ length: 1_000 }, () => harness.tcp().catch(() => undefined)));
    const refused = () => harness.gateway.stats().engineCounters.refused_max_connections_per_ip;
    await expect.poll(refused, { timeout: 10_000 }).toBe(991);
    first.send({ kind: Kind.request, id: 1 });
    await nextRequest(harness.links[0]);
  });
});

async function nextOf(link: RmpPeer, kind: number) {
  for (;;) {
    const frame = await link.next();
    if (frame.kind === kind) return frame;
  }
}

describeEngines('gateway: backends that do wrong', (_driver, run) => {
  const fixture = useEngine(run);

  test('absent: the request waits, and ends UNAVAILABLE, not executed, at its deadline', async () => {
    const harness = await startGateway(fixture, { backends: 0, ports: [await deadPort()] });
    const client = await harness.client();
    client.send({ kind: Kind.request, id: 1, arg: 100 });
    expect(await client.next()).toMatchObject({ id: 1, arg: Status.UNAVAILABLE, flags: Flag.notExecuted });
  });

  test('one absent of two: the other serves everything', async () => {
    const harness = await startGateway(fixture, { ports: [await deadPort()] });
    for (let i = 0; i < 5; i++) await expectServed(harness);
  });

  test('absent and then there: what waited is served', async () => {
    const port = await deadPort();
    const harness = await startGateway(fixture, { backends: 0, ports: [port] });
    const client = await harness.client();
    client.send({ kind: Kind.request, id: 1, payload: 'waits' });
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
    const backend = new RmpPeerServer(server);
    fixture.cleanUp(() => backend.close());
    const link = await backend.accept();
    fixture.cleanUp(() => link.destroy());
    const request = await nextRequest(link);
    link.send({ kind: Kind.response, id: request.id, payload: request.payload });
    expect((await client.next()).payload.toString()).toBe('waits');
  });

  test('hangs: DEADLINE_EXCEEDED to the client, cancel to the backend, a late answer to nobody', async () => {
    const harness = await startGateway(fixture);
    const client = await harness.client();
    client.send({ kind: Kind.request, id: 1, arg: 100 });
    const { id } = await nextRequest(harness.links[0]);
    expect(await client.next()).toMatchObject({ id: 1, arg: Status.DEADLINE_EXCEEDED });
    expect(await harness.links[0].next()).toMatchObject({ kind: Kind.cancel, id });
    harness.links[0].send({ kind: Kind.response, id, payload: 'late' });
    await harness.links[0].untilPong();
    expect(await client.untilPong()).toEqual([]);
    expect(harness.gateway.stats().events.late_responses).toBe(1);
  });

  test.each(['RST', 'FIN'])('dies mid-answer by %s: UNAVAILABLE, and the link is made anew', async (how) => {
    const harness = await startGateway(fixture);
    const client = await harness.client();
    client.send({ kind: Kind.request, id: 1 });
    const { id } = await nextRequest(harness.links[0]);
    const answer = rmpFrame({ kind: Kind.response, id, payload: 'cut in two' });
    harness.links[0].socket.write(answer.subarray(0, 20));
    if (how === 'RST') harness.links[0].socket.resetAndDestroy();
    else harness.links[0].socket.end();
    expect(await client.next()).toMatchObject({ id: 1, arg: Status.UNAVAILABLE, flags: 0 });
    const link = await harness.backends[0].accept();
    fixture.cleanUp(() => link.destroy());
    await expectServed(harness, link);
  });

  test('dies: idempotent requests go to the other one', async () => {
    const harness = await startGateway(fixture, { backends: 2 });
    const client = await harness.client();
    client.send({ kind: Kind.request, id: 1, flags: Flag.idempotent, payload: 'again' });
    await nextRequest(harness.links[0]);
    harness.links[0].socket.resetAndDestroy();
    const request = await nextRequest(harness.links[1]);
    expect(request.payload.toString()).toBe('again');
    harness.links[1].send({ kind: Kind.response, id: request.id });
    expect(await client.next()).toMatchObject({ id: 1, arg: Status.OK });
  });

  test('answers twice, or what nobody asked: dropped and counted', async () => {
    const harness = await startGateway(fixture);
    const client = await harness.client();
    client.send({ kind: Kind.request, id: 1 });
    const { id } = await nextRequest(harness.links[0]);
    const answer = { kind: Kind.response, id };
    harness.links[0].send(answer, answer, { kind: Kind.response, id: 0xabcdef01 });
    await harness.links[0].untilPong();
    expect(await client.untilPong()).toHaveLength(1);
    expect(harness.gateway.stats()).toMatchObject({ events: { unknown_responses: 2 }, outcomes: { answered: 1 } });
  });

  test.each([
    ['garbage', Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'), 'frame-too-long'],
    ['an unknown kind', rmpFrame({ kind: 99 }), 'protocol-error'],
  ])('speaks %s: the link is closed, its tasks fail, the gateway goes on', async (_what, bytes, reason) => {
    const harness = await startGateway(fixture);
    const client = await harness.client();
    client.send({ kind: Kind.request, id: 1 });
    await nextRequest(harness.links[0]);
    harness.links[0].socket.write(bytes);
    expect(await client.next()).toMatchObject({ id: 1, arg: Status.UNAVAILABLE });
    await harness.links[0].closed;
    const link = await harness.backends[0].accept();
    fixture.cleanUp(() => link.destroy());
    await expectServed(harness, link);
    await expectClosed(harness, reason);
  });

  test('does not read: its link fills, the other backend serves', async () => {
    const harness = await startGateway(fixture, {
      backends: 2,
      pool: { strategy: 'least-outstanding', links: { max: 1 } },
    });
    harness.links[0].socket.pause();
    const client = await harness.client();
    const payload = Buffer.alloc(200_000);
    for (let id = 1; id <= 120; id++) client.send({ kind: Kind.request, id, payload });
    let served = 0;
    while (served < 40) {
      const request = await nextRequest(harness.links[1]);
      harness.links[1].send({ kind: Kind.response, id: request.id });
      expect((await client.next()).arg).toBe(Status.OK);
      served++;
    }
  });
});
