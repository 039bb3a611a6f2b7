// A gateway over real sockets: the way of requests and answers, on every engine.
import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { Status } from '../../src/engine/tables.gen.js';
import { limits } from '../../src/limits.js';
import { Flag, Kind } from '../../src/protocol/rmp.js';
import { describeEngines, useEngine } from '../support/engines.js';
import { startGateway } from '../support/gateway-harness.js';
import type { RmpPeer } from '../support/rmp-peer.js';
import { lengthPrefixed, TcpPeer } from '../support/tcp-peer.js';

/** Answers each request with its own payload, for as long as the link lives. */
async function echo(link: RmpPeer): Promise<void> {
  try {
    for (;;) {
      const frame = await link.next();
      if (frame.kind === Kind.request) link.send({ kind: Kind.response, id: frame.id, payload: frame.payload });
    }
  } catch {
    // The link has ended, and with it the test.
  }
}

describeEngines('gateway: relay', (driver, run) => {
  const fixture = useEngine(run);

  test('each of many clients gets the answers to its own requests, over all backends', async () => {
    const { client, links, gateway } = await startGateway(fixture, { backends: 2 });
    for (const link of links) void echo(link);
    const clients = await Promise.all(Array.from({ length: 20 }, () => client()));
    await Promise.all(
      clients.map(async (peer, c) => {
        for (let round = 0; round < 5; round++) {
          const asked = new Map<number, string>();
          for (let i = 0; i < 20; i++) asked.set(i + 1, `client ${c} round ${round} request ${i}`);
          peer.send(...[...asked].map(([id, payload]) => ({ kind: Kind.request, id, payload })));
          while (asked.size > 0) {
            const { kind, id, arg, payload } = await peer.next();
            expect([kind, arg, payload.toString()]).toEqual([Kind.response, Status.OK, asked.get(id)]);
            asked.delete(id);
          }
        }
      }),
    );
    const stats = gateway.stats();
    expect(stats).toMatchObject({ engine: { name: driver }, received: 2_000, open: 0, outcomes: { answered: 2_000 } });
    for (const { successes } of stats.backends) expect(successes).toBe(1_000);
  });

  test.each([0, 1, 4_000, 70_000, limits.bulkFrameBytes + 1, 3_000_000])(
    'a payload of %i bytes arrives whole, both ways',
    async (size) => {
      const { client, links, backends } = await startGateway(fixture);
      void echo(links[0]);
      const peer = await client();
      const payload = randomBytes(size);
      peer.send({ kind: Kind.request, id: 1, payload });
      if (size > limits.bulkFrameBytes) {
        const bulk = await backends[0].accept();
        fixture.cleanUp(() => bulk.destroy());
        void echo(bulk);
      }
      const answer = await peer.next();
      expect(answer.payload.equals(payload)).toBe(true);
    },
  );

  test('partial responses pass as they come', async () => {
    const { client, links } = await startGateway(fixture);
    const peer = await client();
    peer.send({ kind: Kind.request, id: 7 });
    const { id } = await links[0].next();
    for (const text of ['one', 'two', 'three']) {
      links[0].send({ kind: Kind.response, flags: Flag.more, id, payload: text });
      const part = await peer.next();
      expect([part.id, part.flags, part.payload.toString()]).toEqual([7, Flag.more, text]);
    }
    links[0].send({ kind: Kind.response, id });
    expect((await peer.next()).flags).toBe(0);
  });

  test('plain: answered in request order', async () => {
    const { tcp, links } = await startGateway(fixture, { listeners: [{ protocol: 'plain' }] });
    const peer = await tcp();
    peer.write(Buffer.concat(['a', 'bb', 'ccc'].map(lengthPrefixed)));
    const requests = [await links[0].next(), await links[0].next(), await links[0].next()];
    for (const { id, payload } of requests.reverse()) links[0].send({ kind: Kind.response, id, payload });
    expect(await peer.bytes(18)).toEqual(Buffer.concat(['a', 'bb', 'ccc'].map(lengthPrefixed)));
  });

  test('lines: as with nc, and FIN after the last line', async () => {
    const { tcp, links } = await startGateway(fixture, { listeners: [{ protocol: 'lines' }] });
    void echo(links[0]);
    const peer = await tcp();
    peer.write('first\r\nsecond\nlast without end');
    peer.fin();
    await peer.end();
    expect(peer.received.toString()).toBe('first\nsecond\nlast without end\n');
  });

  test('a unix socket serves as well', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'ringway-'));
    fixture.cleanUp(() => rmSync(folder, { recursive: true }));
    const path = join(folder, 'gateway.sock');
    const { links } = await startGateway(fixture, { listeners: [{ protocol: 'lines', path, port: undefined }] });
    void echo(links[0]);
    const peer = await TcpPeer.connect({ path });
    fixture.cleanUp(() => peer.destroy());
    peer.write('hello\n');
    expect((await peer.bytes(6)).toString()).toBe('hello\n');
  });

  test('consistent hashing by client: those of a unix socket have no address, and are spread all the same', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'ringway-'));
    fixture.cleanUp(() => rmSync(folder, { recursive: true }));
    const listener = { protocol: 'lines', path: join(folder, 'gateway.sock'), port: undefined } as const;
    const pool = { strategy: 'consistent-hash', boundFactor: 1_000 } as const;
    const { tcp, links, gateway } = await startGateway(fixture, { backends: 2, listeners: [listener], pool });
    for (const link of links) void echo(link);
    for (let n = 0; n < 32; n++) {
      const peer = await tcp();
      peer.write('hello\n');
      await peer.bytes(6);
    }
    for (const { successes } of gateway.stats().backends) expect(successes).toBeGreaterThan(0);
  });

  test('a client that leaves cancels its tasks at the backend', async () => {
    const { client, links, gateway } = await startGateway(fixture);
    const peer = await client();
    peer.send({ kind: Kind.request, id: 1 });
    const { id } = await links[0].next();
    peer.destroy();
    expect(await links[0].next()).toMatchObject({ kind: Kind.cancel, id });
    expect(gateway.stats()).toMatchObject({ open: 0, outcomes: { cancelled: 1 } });
  });

  test('drain: going-away to clients, and to backends behind their last answer; what is in flight is finished, new requests are refused', async () => {
    const { client, links, gateway } = await startGateway(fixture);
    const peer = await client();
    peer.send({ kind: Kind.request, id: 1 });
    const request = await links[0].next();
    const drained = gateway.drain(20_000);
    expect(await peer.next()).toMatchObject({ kind: Kind.goingAway, arg: 20_000 });
    peer.send({ kind: Kind.request, id: 2 });
    expect(await peer.next()).toMatchObject({ id: 2, arg: Status.UNAVAILABLE, flags: Flag.notExecuted });
    links[0].send({ kind: Kind.response, id: request.id, payload: 'done' });
    expect(await peer.next()).toMatchObject({ id: 1, arg: Status.OK });
    expect(await links[0].next()).toMatchObject({ kind: Kind.goingAway });
    expect(await drained).toMatchObject({ cut: 0, finished: 1, unflushed: 0 });
    await peer.closed;
  });

  test('drain: what the grace period cuts gets UNAVAILABLE', async () => {
    const { client, links, gateway } = await startGateway(fixture);
    const peer = await client();
    peer.send({ kind: Kind.request, id: 1 });
    await links[0].next();
    const report = await gateway.drain(50);
    expect(report).toMatchObject({ cut: 1, finished: 0 });
    expect(await peer.next()).toMatchObject({ kind: Kind.goingAway });
    expect(await peer.next()).toMatchObject({ id: 1, arg: Status.UNAVAILABLE });
    await peer.closed;
  });
});
