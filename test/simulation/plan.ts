/** What kind of world a seed makes: the gateway's configuration, its limits scaled down so that each is met, and everybody's temper. */
import { ENGINE_LIMITS } from '../../src/engine/tables.gen.js';
import { STRATEGIES } from '../../src/gateway/allocator.js';
import type { ClientProtocol, GatewayConfig, ListenerConfig, PoolConfig } from '../../src/gateway/options.js';
import { type LimitName, limits } from '../../src/limits.js';
import type { Random } from './random.js';

export const PROTOCOLS: readonly ClientProtocol[] = ['rmp', 'plain', 'lines'];
/** Of the first listener; the others follow. */
export const CLIENT_PORT = 8_000;
/** Of the backends of pool 0; those of pool 1 listen on the next. */
export const BACKEND_PORT = 9_000;
/** The name that the backends of pool 1 go by. */
export const POOL_NAME = 'pool.test';
/** Of the table below. */
const ROUTES = [0, 1, 2, 3, 4] as const;
export const UNKNOWN_ROUTE = 9;
/** Share of the worlds in which nearly everything goes over one link, so that its ids come round. */
const BUSY = 0.15;

export interface Temper {
  /** Clients at most. */
  readonly clients: number;
  /** Requests sent in one go at most. */
  readonly burst: number;
  /** Requests of a client that wait for their answer, beyond which it sends nothing. */
  readonly unanswered: number;
  /** Those that requests go to. */
  readonly routes: readonly number[];
  /** Of the steps: how many are faults of clients, and of backends. */
  readonly clientFaults: number;
  readonly backendFaults: number;
  /** Of the answers: errors, and refusals without execution. */
  readonly errors: number;
  readonly refusals: number;
  /** Of the requests: how many ask for partial responses. */
  readonly streams: number;
  readonly noReplies: number;
  readonly idempotent: number;
  readonly big: number;
  /** ms that pass in a step at most. */
  readonly pace: number;
  /** Backends answer no more than so many per step. */
  readonly diligence: number;
}

export interface Plan {
  readonly config: GatewayConfig;
  readonly temper: Temper;
  readonly highWaterMark: number;
}

export function makePlan(random: Random): Plan {
  scaleLimits(random);
  const config = makeConfig(random);
  const temper = makeTemper(random);
  const plan = { config, temper, highWaterMark: random.pick([150, 1_000, 65_536]) };
  return random.chance(BUSY) ? makeBusy(random, plan) : plan;
}

function makeBusy(random: Random, { config, temper }: Plan): Plan {
  const [first, second] = config.pools;
  const links = { ...first.links, min: 1, max: 1 };
  const maxInFlight = random.pick([100, 2_000]);
  const pool = { ...first, servers: first.servers.slice(0, 1), maxInFlight, deadlineMs: 5_000, links };
  Object.assign(limits, { linkHighWaterMark: 4_000_000, maxAbandonedIds: 256, maxQueuedBytes: 1_000_000 });
  const diligence = random.pick([20, 100]);
  return {
    config: { ...config, pools: [pool, second], maxQueuedTotal: 1_000 },
    temper: { ...temper, clients: 12, routes: [0], burst: 40, unanswered: 100, diligence, backendFaults: 0.003 },
    highWaterMark: 65_536,
  };
}

/** The gateway reads its limits when it needs them: a thousand tasks then meet what else takes a million. */
function scaleLimits(random: Random): void {
  const scaled: Partial<Record<LimitName, number>> = {
    maxQueuedBytes: random.pick([600, 4_000, 1_000_000]),
    maxPipelined: random.pick([4, 16, 64]),
    maxRetainedBytes: 120,
    bulkFrameBytes: 200,
    tasksPerLink: random.pick([3, 16, 4_096]),
    linkHighWaterMark: random.pick([300, 3_000, 4_000_000]),
    maxAbandonedIds: random.pick([2, 8, 256]),
    streamWindow: random.pick([2, 4, 32]),
    maxHeldBytes: random.pick([600, 1_000_000]),
    maxConcatenatedBytes: random.pick([60, 1_000_000]),
    minTimeoutPenaltyMs: random.pick([0, 100, 1_000]),
    settledLinkMs: 200,
  };
  Object.assign(limits, scaled);
  Object.assign(ENGINE_LIMITS, { lingerTimeoutMs: 200 });
}

function makeConfig(random: Random): GatewayConfig {
  return {
    listeners: PROTOCOLS.map((protocol, i) => makeListener(random, protocol, i)),
    pools: [makePool(random, 0), makePool(random, 1)],
    routes: [
      { route: 0, pool: 'addresses', orderBy: 'none' },
      { route: 1, pool: 'addresses', orderBy: 'client' },
      { route: 2, pool: 'addresses', orderBy: 'key' },
      { route: 3, pool: 'names', orderBy: 'none' },
      { route: 4, pool: 'names', orderBy: 'key' },
    ],
    maxQueuedTotal: random.pick([4, 20, 1_000]),
    drainGraceMs: 1_000,
  };
}

function makeListener(random: Random, protocol: ClientProtocol, index: number): ListenerConfig {
  return {
    name: protocol,
    protocol,
    port: CLIENT_PORT + index,
    route: random.pick([0, 0, 1, 3]),
    errorReply: protocol === 'lines' ? 'text' : 'close',
    maxFrameLength: 10_000,
    maxConnections: random.pick([3, 100]),
    idleTimeoutMs: random.pick([500, 300_000]),
    partialFrameTimeoutMs: 30_000,
    writeStallTimeoutMs: random.pick([300, 30_000]),
    maxBufferedBytes: random.pick([3_000, 1_000_000]),
    maxStreamBufferedBytes: random.pick([200, 1_000_000]),
    maxQueuedPerClient: random.pick([2, 8, 100]),
    backlog: 10,
    reusePort: false,
  };
}

function makePool(random: Random, index: number): PoolConfig {
  const port = BACKEND_PORT + index;
  return {
    name: index === 0 ? 'addresses' : 'names',
    strategy: random.pick(STRATEGIES),
    deadlineMs: random.pick([150, 1_000, 5_000]),
    maxInFlight: random.pick([1, 3, 8, 100]),
    maxFrameLength: 10_000,
    resolveIntervalMs: random.pick([0, 50, 300]),
    servers:
      index === 0
        ? Array.from({ length: random.between(1, 4) }, (_, i) => ({
            address: `10.0.0.${i + 1}:${port}`,
            host: `10.0.0.${i + 1}`,
            port,
            weight: random.pick([1, 1, 3]),
          }))
        : [{ address: `${POOL_NAME}:${port}`, host: POOL_NAME, port, weight: 1 }],
    links: {
      min: random.pick([1, 1, 2]),
      max: random.pick([2, 4]),
      connectTimeoutMs: 300,
      reconnectMinMs: 10,
      reconnectMaxMs: 200,
      hello: random.chance(0.5),
    },
    health: {
      pingIntervalMs: random.pick([0, 50, 200]),
      pingTimeoutMs: 150,
      consecutiveFailures: random.pick([0, 2, 5]),
      ejectMs: random.pick([50, 300]),
      slowStartMs: random.pick([0, 200]),
    },
    retries: {
      maxAttempts: random.pick([1, 2, 3, 3]),
      ratio: random.pick([0, 0.2, 1]),
      windowMs: random.pick([500, 2_000]),
      minPerSecond: random.pick([0, 4, 100]),
    },
  };
}

function makeTemper(random: Random): Temper {
  const calm = random.chance(0.2);
  return {
    clients: random.pick([2, 6, 12]),
    burst: random.pick([2, 8, 20, 40]),
    unanswered: 60,
    routes: ROUTES,
    clientFaults: calm ? 0 : random.pick([0.02, 0.1]),
    backendFaults: calm ? 0 : random.pick([0.02, 0.1]),
    errors: random.pick([0.02, 0.2]),
    refusals: random.pick([0.02, 0.3]),
    streams: random.pick([0, 0.1, 0.4]),
    noReplies: random.pick([0, 0.1, 0.4]),
    idempotent: random.pick([0, 0.3, 1]),
    big: random.pick([0, 0.05, 0.2]),
    pace: random.pick([2, 20, 100]),
    diligence: random.pick([3, 10, 100]),
  };
}
