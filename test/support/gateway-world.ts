/** A gateway on the fake engine, with clients and backends that speak RMP by hand. */
import { ENGINE_LIMITS } from '../../src/engine/tables.gen.js';
import { createGateway, type Gateway, type GatewayDeps } from '../../src/gateway/gateway.js';
import type { GatewayConfig, ListenerConfig, PoolConfig, RouteConfig } from '../../src/gateway/options.js';
import { limits } from '../../src/limits.js';
import { At, HEADER_BYTES, Kind, readU16, readU32, writeHeader } from '../../src/protocol/rmp.js';
import { FakeEngine, type FakePeer, type FakeServer } from './fake-engine.js';

export interface Frame {
  readonly kind: number;
  readonly flags: number;
  readonly route: number;
  readonly id: number;
  readonly arg: number;
  readonly payload: Buffer;
}

export function encodeFrame(frame: Partial<Omit<Frame, 'payload'>> & { payload?: Uint8Array | string }): Buffer {
  const payload = Buffer.from(frame.payload ?? '');
  const header = Buffer.alloc(HEADER_BYTES);
  const { kind = Kind.request, flags = 0, route = 0, id = 0, arg = 0 } = frame;
  writeHeader(header, payload.length, kind, flags, route, id, arg);
  return Buffer.concat([header, payload]);
}

/** Takes the whole frames out of what a peer received. */
export function takeFrames(peer: FakePeer): Frame[] {
  const frames: Frame[] = [];
  let bytes = peer.received;
  while (bytes.length >= 4 && bytes.length >= 4 + readU32(bytes, 0)) {
    const length = 4 + readU32(bytes, 0);
    frames.push({
      kind: bytes[At.kind],
      flags: bytes[At.flags],
      route: readU16(bytes, At.route),
      id: readU32(bytes, At.id),
      arg: readU32(bytes, At.arg),
      payload: Buffer.from(bytes.subarray(At.payload, length)),
    });
    bytes = bytes.subarray(length);
  }
  peer.received = Buffer.from(bytes);
  return frames;
}

export const PORT = 8080;
export const BACKEND_PORT = 9101;

export function listenerConfig(parts: Partial<ListenerConfig> = {}): ListenerConfig {
  return {
    name: 'public',
    protocol: 'rmp',
    port: PORT,
    route: 0,
    errorReply: parts.protocol === 'lines' ? 'text' : 'close',
    maxFrameLength: ENGINE_LIMITS.maxFrameLength,
    maxConnections: ENGINE_LIMITS.maxConnections,
    idleTimeoutMs: ENGINE_LIMITS.idleTimeoutMs,
    partialFrameTimeoutMs: ENGINE_LIMITS.partialFrameTimeoutMs,
    writeStallTimeoutMs: ENGINE_LIMITS.writeStallTimeoutMs,
    maxBufferedBytes: ENGINE_LIMITS.maxBufferedBytes,
    maxStreamBufferedBytes: limits.maxStreamBufferedBytes,
    maxQueuedPerClient: limits.maxQueuedPerClient,
    backlog: ENGINE_LIMITS.backlog,
    reusePort: false,
    ...parts,
  };
}

export type PoolParts = Partial<Omit<PoolConfig, 'links' | 'health' | 'retries'>> & {
  links?: Partial<PoolConfig['links']>;
  health?: Partial<PoolConfig['health']>;
  retries?: Partial<PoolConfig['retries']>;
  /** Backends on 127.0.0.1, from BACKEND_PORT on. */
  count?: number;
};

export function poolConfig(parts: PoolParts = {}): PoolConfig {
  const { count = 1, links, health, retries, ...rest } = parts;
  return {
    name: 'pool',
    strategy: 'round-robin',
    deadlineMs: limits.deadlineMs,
    maxInFlight: limits.maxInFlight,
    maxFrameLength: ENGINE_LIMITS.maxFrameLength,
    resolveIntervalMs: limits.resolveIntervalMs,
    servers: Array.from({ length: count }, (_, i) => ({
      address: `127.0.0.1:${BACKEND_PORT + i}`,
      host: '127.0.0.1',
      port: BACKEND_PORT + i,
      weight: 1,
    })),
    ...rest,
    links: {
      min: limits.minLinks,
      max: limits.maxLinks,
      connectTimeoutMs: ENGINE_LIMITS.connectTimeoutMs,
      reconnectMinMs: limits.reconnectMinMs,
      reconnectMaxMs: limits.reconnectMaxMs,
      hello: false,
      ...links,
    },
    health: {
      pingIntervalMs: 0,
      pingTimeoutMs: limits.pingTimeoutMs,
      consecutiveFailures: 0,
      ejectMs: limits.ejectMs,
      slowStartMs: 0,
      ...health,
    },
    retries: {
      maxAttempts: limits.maxAttempts,
      ratio: limits.retryRatio,
      windowMs: limits.retryWindowMs,
      minPerSecond: limits.retryMinPerSecond,
      ...retries,
    },
  };
}

export interface WorldOptions {
  readonly seed?: number;
  readonly listeners?: readonly Partial<ListenerConfig>[];
  readonly pools?: readonly PoolParts[];
  readonly routes?: readonly RouteConfig[];
  readonly config?: Partial<GatewayConfig>;
  readonly deps?: Partial<GatewayDeps>;
  /** Backends that are down when the gateway starts. */
  readonly down?: boolean;
}

export interface LogLine {
  readonly level: string;
  readonly event: string;
  readonly fields: Record<string, unknown>;
}

export class GatewayWorld {
  readonly engine: FakeEngine;
  readonly gateway: Gateway;
  readonly logs: LogLine[] = [];

  private constructor(engine: FakeEngine, options: WorldOptions) {
    this.engine = engine;
    const pools = (options.pools ?? [{}]).map(poolConfig);
    const config: GatewayConfig = {
      listeners: (options.listeners ?? [{}]).map(listenerConfig),
      pools,
      routes: options.routes ?? [{ route: 0, pool: pools[0].name, orderBy: 'none' }],
      maxQueuedTotal: limits.maxQueuedTotal,
      drainGraceMs: limits.drainGraceMs,
      ...options.config,
    };
    this.gateway = createGateway(config, {
      engine,
      random: engine.random,
      log: (level, event, fields) => this.logs.push({ level, event, fields }),
      ...options.deps,
    });
  }

  static async start(options: WorldOptions = {}): Promise<GatewayWorld> {
    const engine = new FakeEngine(options.seed);
    for (const pool of (options.pools ?? [{}]).map(poolConfig)) {
      for (const { port } of pool.servers) if (port !== undefined) engine.server(port).down = options.down ?? false;
    }
    const world = new GatewayWorld(engine, options);
    await world.gateway.start();
    engine.settle();
    return world;
  }

  get stats() {
    return this.gateway.stats();
  }

  server(index = 0): FakeServer {
    return this.engine.server(BACKEND_PORT + index);
  }

  client(port = PORT, address?: string): FakePeer {
    const peer = this.engine.client(port, address);
    this.engine.settle();
    return peer;
  }

  /** Sends and lets everything arrive. */
  send(peer: FakePeer, ...frames: (Parameters<typeof encodeFrame>[0] | Uint8Array)[]): void {
    peer.send(...frames.map((frame) => (frame instanceof Uint8Array ? frame : encodeFrame(frame))));
    this.engine.settle();
  }

  /** The requests a backend has received since the last call, over all its links. */
  requests(index = 0): { peer: FakePeer; frame: Frame }[] {
    return this.received(index).filter(({ frame }) => frame.kind === Kind.request);
  }

  received(index = 0): { peer: FakePeer; frame: Frame }[] {
    return this.server(index).peers.flatMap((peer) => takeFrames(peer).map((frame) => ({ peer, frame })));
  }

  /** Answers requests with what they said. */
  echo(requests: { peer: FakePeer; frame: Frame }[]): void {
    for (const { peer, frame } of requests) this.send(peer, { ...frame, kind: Kind.response, flags: 0, arg: 0 });
  }

  /** received = outcomes + open, and nothing else. */
  conserved(): boolean {
    const { received, open, outcomes } = this.stats;
    return received === open + Object.values(outcomes).reduce((sum, count) => sum + count, 0);
  }
}
