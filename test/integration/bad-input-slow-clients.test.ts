// Clients that stall, do not read, leave at a bad moment, or come by the thousand: over each protocol and on each engine.
import { expect, test } from 'vitest';
import type { ClientProtocol } from '../../src/gateway/options.js';
import { Kind } from '../../src/protocol/rmp.js';
import { answerAll, startBadInput } from '../support/bad-input.js';
import { describeEngines, useEngine } from '../support/engines.js';
import { rmpFrame } from '../support/rmp-peer.js';
import { lengthPrefixed, type TcpPeer } from '../support/tcp-peer.js';

const PROTOCOLS = ['rmp', 'plain', 'lines'] as const;

function encode(protocol: ClientProtocol, payload: Buffer | string, id = 1, route = 1): Buffer {
  if (protocol === 'rmp') return rmpFrame({ kind: Kind.request, route, id, payload, arg: 60_000 });
  return protocol === 'plain' ? lengthPrefixed(payload) : Buffer.concat([Buffer.from(payload), Buffer.from('\n')]);
}

describeEngines('bad input: slow clients', (_driver, run) => {
  const fixture = useEngine(run);

  test.each(PROTOCOLS)('%s: a frame that stalls half-way', async (protocol) => {
    const world = await startBadInput(fixture, { listener: { partialFrameTimeoutMs: 150 } });
    await world.begin(PROTOCOLS);
    const peer = await world.peer(protocol);
    peer.write(Buffer.concat([encode(protocol, 'whole'), encode(protocol, 'half', 2).subarray(0, 3)]));
    await peer.end();
    expect(peer.received.includes('whole')).toBe(true);
    peer.fin();
    await world.closed('partial-frame-timeout');
    await world.logged('client.closed', { message: expect.stringContaining('partialFrameTimeoutMs') });
    await world.counted('partial_frame_timeouts');
    await world.unharmed();
  });

  test.each(PROTOCOLS)('%s: a byte now and then does not buy time', async (protocol) => {
    const world = await startBadInput(fixture, { listener: { partialFrameTimeoutMs: 150 } });
    await world.begin(PROTOCOLS);
    const peer = await world.peer(protocol);
    peer.write(encode(protocol, Buffer.alloc(1_000, 'x')).subarray(0, 5));
    const drip = setInterval(() => peer.write('x'), 10);
    fixture.cleanUp(() => clearInterval(drip));
    await peer.end();
    clearInterval(drip);
    peer.fin();
    await world.closed('partial-frame-timeout');
    await world.unharmed();
  });

  test.each(PROTOCOLS)('%s: says nothing', async (protocol) => {
    const world = await startBadInput(fixture, { listener: { idleTimeoutMs: 800 } });
    await world.begin(PROTOCOLS);
    const peer = await world.peer(protocol);
    await peer.end();
    peer.fin();
    await world.closed('idle-timeout');
    await world.logged('client.closed', { message: expect.stringContaining('idleTimeoutMs') });
    await world.counted('idle_timeouts');
    await world.unharmed();
  });

  test.each(PROTOCOLS)('%s: never reads its answers', async (protocol) => {
    const world = await startBadInput(fixture, { listener: { writeStallTimeoutMs: 300 } });
    await world.begin(PROTOCOLS);
    const deaf = await world.peer(protocol, { paused: true });
    const request = encode(protocol, Buffer.alloc(200_000, 'x'));
    for (let id = 1; id <= 100; id++) {
      if (protocol === 'rmp') request.writeUInt32BE(id, 8);
      deaf.write(Buffer.from(request));
    }
    await world.closed('write-stalled');
    await world.logged('client.closed', { message: expect.stringContaining('writeStallTimeoutMs') });
    await world.counted('write_stalls');
    deaf.destroy();
    await world.unharmed();
  });

  test.each(PROTOCOLS)('%s: resets in the middle of a frame, with answers under way', async (protocol) => {
    const world = await startBadInput(fixture, { route: 0 });
    const link = await world.link();
    await world.begin(['rmp']);
    const peer = await world.peer(protocol);
    peer.write(Buffer.concat([encode(protocol, 'open', 1, 0), encode(protocol, 'half', 2, 0).subarray(0, 3)]));
    const request = await link.next();
    peer.reset();
    expect(await link.next()).toMatchObject({ kind: Kind.cancel, id: request.id });
    link.send({ kind: Kind.response, id: request.id, payload: 'late' });
    await world.closed('peer-reset');
    await expect.poll(() => world.gateway.stats().events.late_responses).toBe(1);
    expect(world.gateway.stats().outcomes.cancelled).toBe(1);
    await world.unharmed();
  });

  test.each(PROTOCOLS)('%s: a thousand connections from one address', async (protocol) => {
    const world = await startBadInput(fixture, { listener: { maxConnectionsPerIp: 20 } });
    await world.begin(PROTOCOLS);
    const peers = await Promise.all(Array.from({ length: 1_000 }, () => world.peer(protocol).catch(() => undefined)));
    const refused = () => world.gateway.stats().engineCounters.refused_max_connections_per_ip;
    // Those that came in before are served, whoever they are.
    await expect.poll(refused, { timeout: 10_000 }).toBe(981);
    for (const peer of peers) peer?.destroy();
    await world.unharmed();
  });

  test('above maxConnections a connection is closed at once and counted; a place that comes free is taken', async () => {
    const world = await startBadInput(fixture, { listener: { maxConnections: 3 } });
    await world.begin(PROTOCOLS);
    const peers: TcpPeer[] = [];
    for (let i = 0; i < 5; i++) peers.push(await world.peer('lines'));
    await expect.poll(() => world.gateway.stats().engineCounters.refused_max_connections).toBe(3);
    for (const peer of peers) peer.destroy();
    await expect.poll(() => world.gateway.stats().clients[2].connections).toBe(1);
    const later = await world.peer('lines');
    later.write('a place\n');
    expect((await later.bytes(8)).toString()).toBe('a place\n');
    later.destroy();
    await world.unharmed();
  });

  test.each(['plain', 'lines'] as const)(
    '%s: asks for ever without reading what a slow backend owes',
    async (protocol) => {
      const world = await startBadInput(fixture, {
        route: 0,
        listener: { maxQueuedPerClient: 10 },
        pool: { maxInFlight: 4 },
      });
      const link = await world.link();
      await world.begin(['rmp']);
      const peer = await world.peer(protocol);
      const frames = Array.from({ length: 3_000 }, (_, i) => encode(protocol, `request ${i}`));
      peer.write(Buffer.concat(frames));
      await expect.poll(() => world.gateway.stats().queued).toBeGreaterThanOrEqual(10);
      expect(world.gateway.stats().outcomes.refused).toBe(0);
      void answerAll(link);
      const expected = Buffer.concat(frames);
      expect((await peer.bytes(expected.length)).equals(expected)).toBe(true);
      peer.destroy();
      await world.unharmed();
    },
  );

  test('rmp: more requests than may wait are refused at once, each with a status; what waits is served', async () => {
    const world = await startBadInput(fixture, { listener: { maxQueuedPerClient: 10 }, pool: { maxInFlight: 4 } });
    const link = await world.link();
    await world.begin(PROTOCOLS);
    const client = await world.rmp();
    const ids = Array.from({ length: 100 }, (_, i) => i + 1);
    client.send(...ids.map((id) => ({ kind: Kind.request, id, arg: 60_000, payload: `request ${id}` })));
    const refused: number[] = [];
    while (refused.length < 86) {
      const answer = await client.next();
      expect([answer.arg, answer.flags, answer.payload.toString()]).toEqual([
        8,
        8,
        'too many requests wait for a backend',
      ]);
      refused.push(answer.id);
    }
    void answerAll(link);
    const served: number[] = [];
    while (served.length < 14) {
      const answer = await client.next();
      expect([answer.arg, answer.payload.toString()]).toEqual([0, `request ${answer.id}`]);
      served.push(answer.id);
    }
    expect([...refused, ...served].sort((a, b) => a - b)).toEqual(ids);
    expect(world.gateway.stats()).toMatchObject({ outcomes: { refused: 86 }, statuses: { RESOURCE_EXHAUSTED: 86 } });
    client.destroy();
    await world.unharmed();
  });
});
