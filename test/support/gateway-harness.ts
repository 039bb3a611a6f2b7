/** A gateway over real sockets, with backends and clients by hand, for one test; everything ends with it. */
import type { Listener } from '../../src/engine/engine.js';
import { createGateway, type Gateway } from '../../src/gateway/gateway.js';
import type { ListenerConfig, RouteConfig } from '../../src/gateway/options.js';
import { limits } from '../../src/limits.js';
import type { EngineFixture } from './engines.js';
import { listenerConfig, type PoolParts, poolConfig } from './gateway-world.js';
import { RmpPeer, RmpPeerServer } from './rmp-peer.js';
import { TcpPeer } from './tcp-peer.js';

export interface HarnessOptions {
  readonly listeners?: readonly Partial<ListenerConfig>[];
  readonly pool?: PoolParts;
  readonly routes?: readonly RouteConfig[];
  /** Backends by hand; their ports become the pool's servers. Default 1. */
  readonly backends?: number;
  /** Servers of the pool besides. */
  readonly ports?: readonly number[];
}

export interface GatewayHarness {
  readonly gateway: Gateway;
  readonly backends: readonly RmpPeerServer[];
  /** The first link of each backend, in order. */
  readonly links: readonly RmpPeer[];
  port(listener?: number): number;
  /** A client that speaks RMP. */
  client(): Promise<RmpPeer>;
  /** A client that speaks bytes. */
  tcp(listener?: number, options?: { readonly paused?: boolean }): Promise<TcpPeer>;
}

export async function startGateway(fixture: EngineFixture, options: HarnessOptions = {}): Promise<GatewayHarness> {
  const backends: RmpPeerServer[] = [];
  for (let i = 0; i < (options.backends ?? 1); i++) backends.push(await RmpPeerServer.listen());
  const ports = [...backends.map(({ port }) => port), ...(options.ports ?? [])];
  const servers = ports.map((port) => ({ address: `127.0.0.1:${port}`, host: '127.0.0.1', port, weight: 1 }));
  const pool = poolConfig({ servers, ...options.pool });
  const gateway = createGateway(
    {
      listeners: (options.listeners ?? [{}]).map((parts) => listenerConfig({ port: 0, ...parts })),
      pools: [pool],
      routes: options.routes ?? [{ route: 0, pool: pool.name, orderBy: 'none' }],
      maxQueuedTotal: limits.maxQueuedTotal,
      drainGraceMs: limits.drainGraceMs,
    },
    { engine: fixture.engine },
  );
  await gateway.start();
  fixture.cleanUp(async () => {
    await gateway.close();
    for (const backend of backends) await backend.close();
  });
  const links: RmpPeer[] = [];
  for (const backend of backends) {
    const link = await backend.accept();
    fixture.cleanUp(() => link.destroy());
    links.push(link);
  }
  const addressOf = (listener: number): Listener['address'] => gateway.addresses[listener].address;
  const portOf = (listener: number): number => (addressOf(listener) as { port: number }).port;
  return {
    gateway,
    backends,
    links,
    port: (listener = 0) => portOf(listener),
    async client() {
      const client = await RmpPeer.connect(portOf(0));
      fixture.cleanUp(() => client.destroy());
      return client;
    },
    async tcp(listener = 0, peerOptions) {
      const peer = await TcpPeer.connect(addressOf(listener), peerOptions);
      fixture.cleanUp(() => peer.destroy());
      return peer;
    },
  };
}
