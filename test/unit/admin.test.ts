import { afterEach, describe, expect, it } from 'vitest';
import { type AdminServer, startAdmin } from '../../src/admin.js';
import type { GatewayReport } from '../../src/metrics.js';
import { makeBackendReport, makeReport } from '../support/gateway-report.js';

const servers: AdminServer[] = [];

afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.close()));
});

async function ask(path: string, parts: Partial<GatewayReport> = {}, init: RequestInit = {}): Promise<Response> {
  const server = await startAdmin({ port: 0 }, () => makeReport(parts));
  servers.push(server);
  return fetch(`http://127.0.0.1:${server.address.port}${path}`, init);
}

describe('admin', () => {
  it('listens on loopback unless told otherwise', async () => {
    const server = await startAdmin({ port: 0 }, () => makeReport());
    servers.push(server);
    expect(server.address.host).toBe('127.0.0.1');
  });

  it('is healthy whatever the backends are', async () => {
    const response = await ask('/health', { backends: [makeBackendReport({ state: 'down' })] });
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({ status: 'ok' });
  });

  it('is ready when every pool has a backend', async () => {
    const response = await ask('/ready', {
      backends: [makeBackendReport({ state: 'down' }), makeBackendReport({ name: 'b:1', state: 'ejected' })],
    });
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({ status: 'ready' });
  });

  it('is not ready while it drains', async () => {
    const response = await ask('/ready', { draining: true });
    expect(response.status).toBe(503);
    expect(await response.json()).toEqual({ status: 'draining' });
  });

  it('is not ready while a pool has no backend, and says which', async () => {
    const response = await ask('/ready', {
      backends: [
        makeBackendReport(),
        makeBackendReport({ pool: 'images', state: 'down' }),
        makeBackendReport({ pool: 'images', name: 'b:1', state: 'draining' }),
      ],
    });
    expect(response.status).toBe(503);
    expect(await response.json()).toEqual({ status: 'no backend', pools: ['images'] });
    expect((await ask('/ready', { backends: [] })).status).toBe(503);
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

  it('survives a report that cannot be made', async () => {
    const server = await startAdmin({ port: 0 }, () => {
      throw new Error('closed');
    });
    servers.push(server);
    for (const path of ['/ready', '/metrics', '/backends']) {
      expect((await fetch(`http://127.0.0.1:${server.address.port}${path}`)).status).toBe(500);
    }
    expect((await fetch(`http://127.0.0.1:${server.address.port}/health`)).status).toBe(200);
  });

  it('rejects with the system’s error when its address is taken', async () => {
    const first = await startAdmin({ port: 0 }, () => makeReport());
    servers.push(first);
    await expect(startAdmin({ port: first.address.port }, () => makeReport())).rejects.toMatchObject({
      code: 'EADDRINUSE',
      port: first.address.port,
    });
  });
});
