/**
 * The admin server: /health, /ready, /metrics, /backends over plain HTTP. Reads only; meant for a loopback or a private
 * network, which is why nothing asks who is there.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { GatewayReport } from './gateway/report.js';
import { createMetrics } from './metrics.js';

export interface AdminOptions {
  /** IP address. Default 127.0.0.1. */
  readonly host?: string;
  /** 0: any free one. */
  readonly port: number;
}

/** What it tells about: a gateway. */
export interface AdminSource {
  /** Some backend of every pool has an open link, and nothing drains. */
  readonly ready: boolean;
  stats(): GatewayReport;
}

export interface AdminServer {
  readonly address: { readonly host: string; readonly port: number };
  /** Also ends connections that are kept alive. */
  close(): Promise<void>;
}

/** ms: nobody needs longer to ask for a page of text. */
const REQUEST_TIMEOUT_MS = 10_000;
/** ms: how often Node looks for those who took longer. By itself it does every 30 s, and 10 would be up to 40. */
const CHECK_MS = 1_000;
/** Scrapers and people; a leak of connections must not reach the gateway's file descriptors. */
const MAX_CONNECTIONS = 100;

interface Page {
  readonly status: number;
  readonly type: string;
  readonly body: string;
}

type Route = () => Page | Promise<Page>;

/** @throws an Error with the system's code (`EADDRINUSE`, `EACCES`, …), `address` and `port`. */
export async function startAdmin(
  options: AdminOptions,
  source: AdminSource,
  requestTimeout: number = REQUEST_TIMEOUT_MS,
): Promise<AdminServer> {
  const routes = createRoutes(source);
  const server = createServer(
    { requestTimeout, headersTimeout: requestTimeout, connectionsCheckingInterval: CHECK_MS },
    (request, response) => {
      void answer(routes, request, response);
    },
  );
  server.maxConnections = MAX_CONNECTIONS;
  await listen(server, options);
  const { address, port } = server.address() as { address: string; port: number };
  return {
    address: { host: address, port },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function listen(server: Server, { host = '127.0.0.1', port }: AdminOptions): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port }, () => {
      server.off('error', reject);
      resolve();
    });
  });
}

function createRoutes(source: AdminSource): ReadonlyMap<string, Route> {
  const metrics = createMetrics(() => source.stats());
  return new Map<string, Route>([
    ['/health', () => json(200, { status: 'ok' })],
    ['/ready', () => readiness(source)],
    ['/metrics', async () => ({ status: 200, type: metrics.contentType, body: await metrics.metrics() })],
    ['/backends', () => json(200, backendsOf(source.stats()))],
  ]);
}

/** 503 while draining, or while a pool has no backend that could take a request: which ones is said where it is known. */
function readiness(source: AdminSource): Page {
  if (source.ready) return json(200, { status: 'ready' });
  const { draining, backends } = source.stats();
  if (draining) return json(503, { status: 'draining' });
  const pools = new Set(backends.map(({ pool }) => pool));
  for (const { pool, links } of backends) if (links > 0) pools.delete(pool);
  return json(503, { status: 'no backend', pools: [...pools] });
}

/** Pools by name, each with its backends. */
function backendsOf({ backends }: GatewayReport): Record<string, object[]> {
  const pools: Record<string, object[]> = {};
  for (const { pool, ...backend } of backends) (pools[pool] ??= []).push(backend);
  return pools;
}

function json(status: number, value: unknown): Page {
  return { status, type: 'application/json; charset=utf-8', body: `${JSON.stringify(value, null, 2)}\n` };
}

async function answer(
  routes: ReadonlyMap<string, Route>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  request.resume();
  const { status, type, body } = await pageFor(routes, request);
  response.writeHead(status, {
    'content-type': type,
    'content-length': Buffer.byteLength(body),
    'cache-control': 'no-store',
    ...(status === 405 ? { allow: 'GET, HEAD' } : {}),
  });
  response.end(request.method === 'HEAD' ? undefined : body);
}

async function pageFor(routes: ReadonlyMap<string, Route>, request: IncomingMessage): Promise<Page> {
  const route = routes.get((request.url ?? '/').split('?')[0]);
  if (route === undefined) return json(404, { error: 'no such page', pages: [...routes.keys()] });
  if (request.method !== 'GET' && request.method !== 'HEAD') return json(405, { error: 'GET and HEAD only' });
  try {
    return await route();
  } catch (error) {
    return json(500, { error: (error as Error).message });
  }
}
