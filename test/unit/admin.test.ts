import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { type AdminServer, type AdminSource, startAdmin } from '../../src/admin.js';
import { makeBackendReport, makeReport, type ReportParts } from '../support/gateway-report.js';

const servers: AdminServer[] = [];
const sockets: Socket[] = [];
const MAX_CONNECTIONS = 100;

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await Promise.all(servers.splice(0).map((server) => server.close()));
});

function makeSource({ ready = true, ...parts }: ReportParts & { ready?: boolean } = {}): AdminSource {
  return { ready, stats: () => makeReport(parts) };
}

async function ask(
  path: string,
  parts: ReportParts & { ready?: boolean } = {},
  init: RequestInit = {},
): Promise<Response> {
  const server = await startAdmin({ port: 0 }, makeSource(parts));
  servers.push(server);
  return fetch(`http://127.0.0.1:${server.address.port}${path}`, init);
}

async function dial(server: AdminServer): Promise<Socket> {
  const socket = connect(server.address.port);
  sockets.push(socket);
  await once(socket, 'connect');
  return socket;
}

/** What comes until it holds that. */
async function answerWith(socket: Socket, wanted: string): Promise<string> {
  let text = '';
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    text += chunk;
    if (text.includes(wanted)) break;
  }
  return text;
}

const GET_HEALTH = 'GET /health HTTP/1.1\r\nhost: here\r\n';

describe('admin', () => {
  it('listens on loopback unless told otherwise', async () => {
    const server = await startAdmin({ port: 0 }, makeSource());
    servers.push(server);
    expect(server.address.host).toBe('127.0.0.1');
  });

  it('cuts off who does not finish a request in time, soon after', async () => {
    const server = await startAdmin({ port: 0 }, makeSource(), 200);
    servers.push(server);
    const socket = connect(server.address.port, '127.0.0.1');
    const begun = performance.now();
    socket.write('GET /health HTTP/1.1\r\nhost: h\r\n');
    let answer = '';
    for await (const chunk of socket) answer += String(chunk);
    expect(answer).toMatch(/^HTTP\/1\.1 408 /);
    // Node's own interval is 30 s.
    expect(performance.now() - begun).toBeLessThan(10_000);
  });

  it('is healthy whatever the backends are', async () => {
    const response = await ask('/health', { backends: [makeBackendReport({ state: 'down' })] });
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({ status: 'ok' });
  });

  it('is ready when the gateway is', async () => {
    const response = await ask('/ready');
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({ status: 'ready' });
  });

  it('is not ready while it drains', async () => {
    const response = await ask('/ready', { ready: false, draining: true });
    expect(response.status).toBe(503);
    expect(await response.json()).toEqual({ status: 'draining' });
  });

  it('is not ready while a pool has no backend, and says which', async () => {
    const backends = [
      makeBackendReport(),
      makeBackendReport({ name: 'b:1', state: 'down', links: 0 }),
      makeBackendReport({ pool: 'images', state: 'down', links: 0 }),
    ];
    const response = await ask('/ready', { ready: false, backends });
    expect(response.status).toBe(503);
    expect(await response.json()).toEqual({ status: 'no backend', pools: ['images'] });
  });

  it('shows backends by pool', async () => {
    const response = await ask('/backends?pretty', { backends: [makeBackendReport({ inFlight: 3, ejections: 1 })] });
    expect(response.headers.get('content-type')).toMatch(/^application\/json/);
    expect(await response.json()).toMatchObject({
      chat: [{ name: '127.0.0.1:9101', state: 'up', inFlight: 3, ejections: 1 }],
    });
  });

  it('shows metrics as Prometheus reads them', async () => {
    const response = await ask('/metrics', { received: 3 });
    expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
    expect(await response.text()).toContain('\nringway_tasks_received_total 3\n');
  });

  it('answers HEAD without a body', async () => {
    const response = await ask('/health', {}, { method: 'HEAD' });
    expect(response.status).toBe(200);
    expect(await response.text()).toBe('');
  });

  it('refuses other pages and methods', async () => {
    const missing = await ask('/nothing');
    expect(missing.status).toBe(404);
    expect(await missing.json()).toMatchObject({ pages: ['/health', '/ready', '/metrics', '/backends'] });
    const posted = await ask('/backends', {}, { method: 'POST', body: 'x' });
    expect(posted.status).toBe(405);
    expect(posted.headers.get('allow')).toBe('GET, HEAD');
  });

  it('takes 100 connections; the next is closed, and a place that comes free is taken', async () => {
    const server = await startAdmin({ port: 0 }, makeSource());
    servers.push(server);
    const places: Socket[] = [];
    for (let i = 0; i < MAX_CONNECTIONS; i++) places.push(await dial(server));
    // Served: the server has taken all of them.
    places[MAX_CONNECTIONS - 1].write(`${GET_HEALTH}\r\n`);
    await answerWith(places[MAX_CONNECTIONS - 1], '"ok"');
    const over = await dial(server);
    over.resume();
    await once(over, 'close');
    places[0].write(`${GET_HEALTH}connection: close\r\n\r\n`);
    await answerWith(places[0], '"ok"');
    await once(places[0], 'close');
    const next = await dial(server);
    next.write(`${GET_HEALTH}\r\n`);
    expect(await answerWith(next, '"ok"')).toContain('200 OK');
  });

  it('reads no bodies: it answers before one ends, and what comes of it is dropped', async () => {
    const server = await startAdmin({ port: 0 }, makeSource());
    servers.push(server);
    const socket = await dial(server);
    socket.write(`${GET_HEALTH}content-length: 1000000\r\n\r\nthe first of a million bytes`);
    expect(await answerWith(socket, '"ok"')).toContain('200 OK');
    const posting = await dial(server);
    posting.write('POST /health HTTP/1.1\r\nhost: here\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n');
    expect(await answerWith(posting, 'GET and HEAD only')).toContain('405 Method Not Allowed');
  });

  it('survives a report that cannot be made', async () => {
    const server = await startAdmin(
      { port: 0 },
      {
        ready: false,
        stats: () => {
          throw new Error('closed');
        },
      },
    );
    servers.push(server);
    for (const path of ['/ready', '/metrics', '/backends']) {
      expect((await fetch(`http://127.0.0.1:${server.address.port}${path}`)).status).toBe(500);
    }
    expect((await fetch(`http://127.0.0.1:${server.address.port}/health`)).status).toBe(200);
  });

  it('rejects with the system’s error when its address is taken', async () => {
    const first = await startAdmin({ port: 0 }, makeSource());
    servers.push(first);
    await expect(startAdmin({ port: first.address.port }, makeSource())).rejects.toMatchObject({
      code: 'EADDRINUSE',
      port: first.address.port,
    });
  });
});
