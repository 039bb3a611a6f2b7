// Client SDK → gateway → backend SDK: what crosses the gateway in both directions.
import { afterEach, expect, test } from 'vitest';
import { serve } from '../../src/backend-sdk/serve.js';
import type { BackendHandler, BackendServer, ServeOptions } from '../../src/backend-sdk/types.js';
import { connectClient } from '../../src/client/connect-client.js';
import type { Client, ClientOptions } from '../../src/client/types.js';
import { Status } from '../../src/engine/tables.gen.js';
import type { Gateway } from '../../src/gateway/gateway.js';
import { StatusError } from '../../src/protocol/status-error.js';
import { describeEngines } from '../support/engines.js';
import { rmpFrame, RmpPeerServer } from '../support/rmp-peer.js';
import { startGateway } from '../support/sdk-gateway.js';
import { TcpPeer } from '../support/tcp-peer.js';

type StartOptions = Partial<ServeOptions> & { backends?: number; clientOptions?: ClientOptions; listener?: object };

describeEngines('both SDKs through a gateway', (engine) => {
  const cleanUps: (() => unknown)[] = [];
  afterEach(async () => {
    for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
  });

  async function start(
    handle: BackendHandler['handle'],
    { backends = 1, clientOptions = {}, listener, ...options }: StartOptions = {},
  ): Promise<{ client: Client; other: Client; servers: BackendServer[]; gateway: Gateway; rmpPort: number }> {
    const servers: BackendServer[] = [];
    for (let n = 0; n < backends; n++) {
      servers.push(await serve({ port: 0, engine, ...options } as ServeOptions, { handle }));
    }
    const running = await startGateway(
      engine,
      servers.map(({ port }) => port),
      {},
      listener,
    );
    const client = connectClient(`rmp://127.0.0.1:${running.rmpPort}`, { engine, ...clientOptions });
    const other = connectClient(`rmp://127.0.0.1:${running.rmpPort}`, { engine });
    cleanUps.push(
      () => Promise.all(servers.map((server) => server.close())),
      () => running.close(),
      () => Promise.all([client.close(), other.close()]),
    );
    return { client, other, servers, gateway: running.gateway, rmpPort: running.rmpPort };
  }

  test('a thousand requests over two backends, each with its own answer', async () => {
    const { client, servers } = await start(async (task) => `answer to ${task.payload}`, { backends: 2 });
    const answers = await Promise.all(Array.from({ length: 1_000 }, (_, n) => client.request(`${n}`)));
    expect(answers.map(String)).toEqual(Array.from({ length: 1_000 }, (_, n) => `answer to ${n}`));
    const counts = servers.map((server) => server.stats().answered);
    expect(counts[0] + counts[1]).toBe(1_000);
    expect(Math.min(...counts)).toBeGreaterThan(0);
    expect(client.stats().ignoredFrames).toBe(0);
  });

  test('a client that was sent to a plain port is told what may be wrong', async () => {
    const server = await serve({ port: 0, engine }, { handle: (task) => task.payload });
    const running = await startGateway(engine, [server.port]);
    const client = connectClient(`rmp://127.0.0.1:${running.plainPort}`, { engine });
    cleanUps.push(
      () => server.close(),
      () => running.close(),
      () => client.close(),
    );
    const message = expect.stringContaining('seems to speak another protocol than rmp');
    await expect(client.request('hello')).rejects.toMatchObject({ code: 'UNIMPLEMENTED', message });
  });

  test('route, what is left of the budget, and meta but the token arrive', async () => {
    const { client } = await start(({ route, deadlineMs, meta, idempotent }) => {
      // The gateway rounds up to whole ms.
      return JSON.stringify({ route, inBudget: deadlineMs > 0 && deadlineMs <= 5_001, meta, idempotent });
    });
    const meta = { tenant: 'acme', token: 'secret', priority: 3 };
    const answer = await client.request('', { deadlineMs: 5_000, idempotent: true, meta });
    expect(JSON.parse(answer.toString())).toEqual({
      route: 0,
      inBudget: true,
      meta: { tenant: 'acme', priority: 3 },
      idempotent: true,
    });
  });

  test('a stream a slow reader takes: held back at the backend, complete and in order', async () => {
    // Far more than all buffers on the way hold together.
    const [count, size] = [500, 100_000];
    let sent = 0;
    const { client, other } = await start(async (task, { partial }) => {
      if (task.payload.length > 0) return 'meanwhile';
      for (; sent < count; sent++) await partial(Buffer.alloc(size, sent));
      return undefined;
    });
    const parts = client.stream('');
    expect((await parts.next()).value?.[0]).toBe(0);
    for (let n = 0; n < 50; n++) expect((await other.request('other')).toString()).toBe('meanwhile');
    expect(sent).toBeLessThan(count);
    let next = 1;
    for await (const part of parts) {
      expect([part.length, part[0], part[size - 1]]).toEqual([size, next & 0xff, next & 0xff]);
      next++;
    }
    expect(next).toBe(count);
  });

  test('statuses pass through, and so does the gateway’s own', async () => {
    const { client } = await start((task) => {
      if (task.payload.length === 0) throw new StatusError('FAILED_PRECONDITION', 'an empty text has no sentiment');
      return 'fine';
    });
    await expect(client.request('')).rejects.toMatchObject({
      status: Status.FAILED_PRECONDITION,
      message: 'an empty text has no sentiment',
    });
    await expect(client.request('', { route: 9 })).rejects.toMatchObject({ code: 'NOT_FOUND', notExecuted: true });
    expect((await client.request('text')).toString()).toBe('fine');
  });

  test('requests longer than the backend takes are refused, and cost it nothing', async () => {
    const { client, gateway } = await start((task) => `${task.payload.length} bytes`, { maxFrameLength: 300_000 });
    expect(String(await client.request('hi'))).toBe('2 bytes');
    for (let n = 0; n < 6; n++) {
      const error = await client.request(Buffer.alloc(1_000_000)).catch((reason: unknown) => reason);
      expect(error).toMatchObject({ code: 'INVALID_ARGUMENT', notExecuted: true });
    }
    expect(gateway.stats().backends).toMatchObject([{ state: 'up', failures: 0 }]);
    expect(String(await client.request(Buffer.alloc(290_000)))).toBe('290000 bytes');
  });

  /** Answers `other` at once, and anything else with a stream of so many parts; counts those it was let send. */
  function streaming(count: number, bytes: number) {
    const sent = { parts: 0 };
    const handle: BackendHandler['handle'] = async (task, { partial }) => {
      if (task.payload.toString() === 'other') return 'meanwhile';
      for (let n = 0; n < count; n++) {
        await partial(Buffer.alloc(bytes, n));
        sent.parts++;
      }
      return undefined;
    };
    return { handle, sent };
  }

  async function readAll(parts: AsyncIterable<Buffer>, bytes: number, from = 0): Promise<number> {
    let next = from;
    for await (const part of parts) {
      expect([part.length, part[0], part[bytes - 1]]).toEqual([bytes, next & 0xff, next & 0xff]);
      next++;
    }
    return next;
  }

  test.each([
    ['many short parts', 800, 64_000],
    ['long parts', 40, 1_000_000],
  ])('%s: a slow reader loses nothing while its connection is asked for more', async (_what, count, bytes) => {
    const { handle, sent } = streaming(count, bytes);
    const { client } = await start(handle);
    const parts = client.stream('stream');
    expect((await parts.next()).value?.[0]).toBe(0);
    // Nobody reads on: what could be sent is sent by now, and it stays far below the bounds.
    for (let n = 0; n < 50; n++) expect((await client.request('other')).toString()).toBe('meanwhile');
    expect(sent.parts * bytes).toBeLessThan(20_000_000);
    expect(await readAll(parts, bytes, 1)).toBe(count);
    expect(client.stats().connects).toBe(1);
  });

  test('streams of long parts side by side, read one after another', async () => {
    const [count, bytes] = [12, 1_000_000];
    const { client } = await start(streaming(count, bytes).handle);
    const streams = Array.from({ length: 4 }, () => client.stream('stream'));
    for (const parts of streams) expect(await readAll(parts, bytes)).toBe(count);
  });

  test('a consumer may pause for longer than a write may stall', async () => {
    const [count, bytes] = [300, 100_000];
    const { handle } = streaming(count, bytes);
    const { client, gateway, rmpPort } = await start(handle, { listener: { writeStallTimeoutMs: 300 } });
    const parts = client.stream('stream');
    expect((await parts.next()).value?.[0]).toBe(0);
    // One that really takes nothing meets that bound meanwhile.
    const deaf = await TcpPeer.connect({ host: '127.0.0.1', port: rmpPort }, { paused: true });
    cleanUps.push(() => deaf.destroy());
    deaf.write(rmpFrame({ kind: 1, id: 1, payload: 'stream' }));
    const reasons = () => gateway.stats().closeReasons;
    await expect.poll(() => reasons()['write-stalled'], { timeout: 10_000 }).toBe(1);
    expect(await readAll(parts, bytes, 1)).toBe(count);
    expect(reasons()).toEqual({ 'write-stalled': 1 });
  });

  test('a backend without stream windows: what it sends beyond them waits in the gateway, and comes', async () => {
    const backend = await RmpPeerServer.listen();
    cleanUps.push(() => backend.close());
    const running = await startGateway(engine, [backend.port]);
    const link = await backend.accept();
    const client = connectClient(`rmp://127.0.0.1:${running.rmpPort}`, { engine });
    cleanUps.push(
      () => link.destroy(),
      () => running.close(),
      () => client.close(),
    );
    const parts = client.stream('stream');
    let request = await link.next();
    while (request.kind !== 1) request = await link.next();
    const { id } = request;
    const count = 500;
    const payload = (n: number): Buffer => Buffer.alloc(1_000, n);
    link.send(...Array.from({ length: count }, (_, n) => ({ kind: 2, flags: 1, id, payload: payload(n) })));
    link.send({ kind: 2, id });
    await link.untilPong();
    expect(running.gateway.stats()).toMatchObject({ open: 1, outcomes: { answered: 0 } });
    expect(await readAll(parts, 1_000)).toBe(count);
    expect(running.gateway.stats()).toMatchObject({ open: 0, outcomes: { answered: 1 } });
  });

  test('both directions full at once: requests and answers go on all the same', async () => {
    const { client, servers } = await start((task) => task.payload);
    const direct = connectClient(`rmp://127.0.0.1:${servers[0].port}`, { engine });
    cleanUps.push(() => direct.close());
    const payload = Buffer.alloc(2_000_000, 'x');
    for (const asked of [client, direct]) {
      const asks = Array.from({ length: 25 }, () => asked.request(payload, { deadlineMs: 30_000 }));
      const lengths = await Promise.all(asks.map(async (answer) => (await answer).length));
      expect(new Set(lengths)).toEqual(new Set([payload.length]));
      expect(asked.stats().connects).toBe(1);
    }
  });

  test('an answer longer than the client takes harms no other request of it', async () => {
    let release = (): void => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    const handle: BackendHandler['handle'] = async (task) => {
      if (task.payload.toString() === 'big') return Buffer.alloc(10_000);
      await held;
      return 'slow';
    };
    const { client } = await start(handle, { clientOptions: { maxFrameLength: 1_000 } });
    const slow = client.request('slow');
    await expect(client.request('big')).rejects.toMatchObject({ code: 'RESOURCE_EXHAUSTED', notExecuted: false });
    release();
    expect((await slow).toString()).toBe('slow');
    expect(client.stats().connects).toBe(1);
  });

  test('a cancel and a client that leaves reach the backend’s signal', async () => {
    const reasons: unknown[] = [];
    const begun: (() => void)[] = [];
    const { client, servers } = await start((_task, { signal }) => {
      begun.shift()?.();
      return new Promise((_, reject) => {
        signal.addEventListener('abort', () => {
          reasons.push(signal.reason);
          reject(signal.reason);
        });
      });
    });
    const aborter = new AbortController();
    const first = new Promise<void>((resolve) => begun.push(resolve));
    const request = client.request('', { signal: aborter.signal });
    await first;
    aborter.abort();
    await expect(request).rejects.toMatchObject({ code: 'CANCELLED' });
    const second = new Promise<void>((resolve) => begun.push(resolve));
    const left = client.request('').catch((error: unknown) => error);
    await second;
    await client.close();
    expect(await left).toMatchObject({ code: 'CANCELLED' });
    await expect.poll(() => servers[0].stats().cancelled).toBe(2);
    expect(reasons).toHaveLength(2);
  });

  test('the deadline ends a request here and there', async () => {
    const { client, servers } = await start(
      (_task, { signal }) =>
        new Promise((_, reject) => {
          signal.addEventListener('abort', () => reject(signal.reason));
        }),
    );
    await expect(client.request('', { deadlineMs: 50 })).rejects.toMatchObject({ code: 'DEADLINE_EXCEEDED' });
    await expect.poll(() => servers[0].stats().running).toBe(0);
  });

  test('a backend that drains under load loses no request', async () => {
    const { client, servers } = await start(
      async (task) => {
        await new Promise((resolve) => setImmediate(resolve));
        return task.payload;
      },
      { backends: 2 },
    );
    const total = 2_000;
    let next = 0;
    let failed = 0;
    const worker = async (): Promise<void> => {
      while (next < total) {
        const n = next++;
        if (n === total / 4) void servers[0].drain(10_000);
        const answer = await client.request(`${n}`).catch(() => undefined);
        if (answer?.toString() !== `${n}`) failed++;
      }
    };
    await Promise.all(Array.from({ length: 32 }, worker));
    expect(failed).toBe(0);
    expect(await servers[0].closed).toEqual({ cut: 0 });
    expect(servers[0].stats().answered + servers[1].stats().answered).toBe(total);
  });
});
