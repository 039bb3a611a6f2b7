// What a stranger's bytes can cost: memory and work, per connection, per byte and per request. docs/SECURITY.md has the same bounds.
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import type { DriverName } from '../../src/engine/engine.js';
import { RECEIVE_BYTES } from '../../src/engine/native.js';
import { ENGINE_LIMITS } from '../../src/engine/tables.gen.js';
import { limits } from '../../src/limits.js';
import { Kind } from '../../src/protocol/rmp.js';
import { endAll, startCli } from '../support/cli-process.js';
import { describeEngines } from '../support/engines.js';
import { rmpFrame } from '../support/rmp-peer.js';
import { cpuMs, highestRssBytes, markHighestRss } from './support/footprint.js';
import { GatewayProcess } from './support/gateway-process.js';
import { RawClients } from './support/raw-clients.js';
import { until } from './support/until.js';

const KIB = 1_024;
const MIB = KIB * KIB;
/** V8 compiles, tables double: what the first thousand of anything costs once. */
const ONCE_BYTES = 24 * MIB;

/** The bounds of docs/SECURITY.md. */
const BOUND = {
  connectionBytes: 16 * KIB,
  /** Beside what was sent: the least storage of an incomplete frame, and the connection. */
  incompleteFrameBytes: 24 * KIB,
  queuedRequestBytes: 1 * KIB,
  /** Of the gateway's time for one LF, which is a whole request of `lines`. */
  lineCpuUs: 60,
};

const cleanUps: (() => unknown)[] = [];

afterEach(async () => {
  for (const action of cleanUps.splice(0).reverse()) await action();
  await endAll();
});

/** A port on which nobody listens any more: requests wait for their backend. */
async function deadPort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function startGateway(driver: DriverName, backend: number, listener: object = {}): Promise<GatewayProcess> {
  const directory = mkdtempSync(join(tmpdir(), 'ringway-faults-'));
  cleanUps.push(() => rmSync(directory, { recursive: true, force: true }));
  const config = {
    listeners: [{ port: 0, ...listener }],
    pools: { only: { deadlineMs: 60_000, servers: [{ address: `127.0.0.1:${backend}` }] } },
    routes: [{ route: 0, pool: 'only' }],
  };
  return GatewayProcess.start({ driver, config, file: join(directory, 'gateway.json') });
}

async function strangers(gateway: GatewayProcess, count: number): Promise<RawClients> {
  const clients = new RawClients(gateway.port());
  cleanUps.push(() => clients.destroy());
  await clients.connect(count);
  await until('all are accepted', async () => (await gateway.totals()).clients === count);
  return clients;
}

function say(what: string, driver: DriverName, figure: string): void {
  console.log(`amplification, ${what} on ${driver}: ${figure}`);
}

describeEngines('amplification', (driver) => {
  const clients = 1_000;

  test('a connection that sends nothing', async () => {
    const gateway = await startGateway(driver, await deadPort());
    const before = await gateway.holdings();
    await strangers(gateway, clients);
    const each = ((await gateway.holdings()).rssBytes - before.rssBytes) / clients;
    say('a silent connection', driver, `${Math.round(each)} bytes`);
    expect(each).toBeLessThan(BOUND.connectionBytes + ONCE_BYTES / clients);
  });

  test('a frame that declares 16 MiB and brings one byte', async () => {
    const gateway = await startGateway(driver, await deadPort());
    const before = await gateway.holdings();
    const all = await strangers(gateway, clients);
    all.write(Uint8Array.of(1, 0, 0, 12, Kind.request));
    await until(
      'the bytes have come',
      async () => (await gateway.metric('ringway_engine_bytes_received_total')) >= 5 * clients,
    );
    const each = ((await gateway.holdings()).rssBytes - before.rssBytes) / clients;
    say('16 MiB declared, 5 bytes sent', driver, `${Math.round(each)} bytes`);
    expect(each).toBeLessThan(BOUND.incompleteFrameBytes + ONCE_BYTES / clients);
  });

  test('requests that wait: so many per client, and so much for each', async () => {
    const gateway = await startGateway(driver, await deadPort());
    const before = await gateway.holdings();
    const all = await strangers(gateway, 200);
    const more = limits.maxQueuedPerClient + 50;
    all.write(Buffer.concat(Array.from({ length: more }, (_, id) => rmpFrame({ kind: Kind.request, id }))));
    const waiting = 200 * limits.maxQueuedPerClient;
    await until('all that may wait do', async () => (await gateway.totals()).received === 200 * more);
    const { queued, outcomes } = await gateway.totals();
    expect({ queued, refused: outcomes.refused }).toEqual({ queued: waiting, refused: 200 * 50 });
    const each = ((await gateway.holdings()).rssBytes - before.rssBytes) / waiting;
    say('a waiting request of 16 bytes', driver, `${Math.round(each)} bytes`);
    expect(each).toBeLessThan(BOUND.queuedRequestBytes + ONCE_BYTES / waiting);
  });

  test('pings whose pongs are never read: up to maxBufferedBytes, then the connection is closed', async () => {
    const maxBufferedBytes = 8 * MIB;
    const gateway = await startGateway(driver, await deadPort(), { maxBufferedBytes, maxFrameLength: 2 * MIB });
    const before = await gateway.holdings();
    markHighestRss(gateway.pid);
    const [deaf] = (await strangers(gateway, 1)).sockets;
    deaf.pause();
    const ping = rmpFrame({ kind: Kind.ping, payload: Buffer.alloc(MIB) });
    for (let i = 0; i < 256; i++) deaf.write(ping);
    await until('it is closed', async () => (await gateway.totals()).clients === 0, 40_000);
    const most = highestRssBytes(gateway.pid) - before.rssBytes;
    say('256 MiB of pings, 8 MiB may wait', driver, `${Math.round(most / MIB)} MiB at most`);
    // What waits, what is on its way to JavaScript, and the receive buffers that a burst touches.
    expect(most).toBeLessThan(maxBufferedBytes + ENGINE_LIMITS.largeFrameBytes + RECEIVE_BYTES + ONCE_BYTES);
  });

  test('a line feed is a request: its work', async () => {
    const backend = startCli(['backend', '--port', '0', '--echo']);
    const gateway = await startGateway(driver, await backend.port(), { protocol: 'lines' });
    const [client] = (await strangers(gateway, 1)).sockets;
    const lines = 100_000;
    const before = cpuMs(gateway.pid);
    client.write(Buffer.alloc(lines, '\n'));
    await until('all are answered', async () => (await gateway.totals()).outcomes.answered === lines, 60_000);
    const each = ((cpuMs(gateway.pid) - before) * 1_000) / lines;
    say('one LF, a whole request', driver, `${each.toFixed(1)} µs of CPU`);
    expect(each).toBeLessThan(BOUND.lineCpuUs);
  });
});
