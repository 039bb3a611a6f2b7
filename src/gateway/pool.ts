/** A pool: its backends as names resolve now, who gets the next task, and the tasks that wait for one of them. */
import { isIP } from 'node:net';
import { limits } from '../limits.js';
import { type Allocator, createAllocator } from './allocator.js';
import { Backend } from './backend.js';
import type { BackendConnection } from './backend-connection.js';
import { BackendLinks, type LinkDeps } from './backend-links.js';
import { PoolHealth } from './health.js';
import type { LinkAddress, LogLevel, PoolConfig, ServerConfig } from './options.js';
import { TaskQueue } from './queue.js';
import { RetryBudget } from './retry-budget.js';

export interface PoolDeps extends LinkDeps {
  /** All IP addresses of a name. */
  readonly resolve: (host: string) => Promise<readonly string[]>;
}

/** ms after which a failed lookup is tried again, if the pool has no shorter interval. */
const RESOLVE_RETRY_MS = 1_000;

export class Pool {
  readonly config: PoolConfig;
  readonly queue: TaskQueue;
  /** Waiting tasks with long frames: small ones must not stand behind them. */
  readonly bulkQueue: TaskQueue;
  readonly budget: RetryBudget;
  /** Payloads are kept for further attempts. */
  readonly retries: boolean;

  readonly #deps: PoolDeps;
  readonly #allocator: Allocator;
  readonly #health: PoolHealth;
  /** By backend index; holes where one was removed. */
  readonly #links: (BackendLinks | undefined)[] = [];
  readonly #servers = new WeakMap<Backend, ServerConfig>();
  readonly #resolving = new Set<ServerConfig>();
  readonly #resolveAtMs = new Map<ServerConfig, number>();
  #backends: Backend[] = [];
  /** More than half of it is out, as logged last. It is so when it starts, and that is no news. */
  #mostlyOut = true;
  #everUp = false;
  #saidGoingAway = false;
  #stopped = false;

  constructor(config: PoolConfig, deps: PoolDeps) {
    this.config = config;
    this.#deps = deps;
    this.queue = new TaskQueue(deps.table);
    this.bulkQueue = new TaskQueue(deps.table);
    this.budget = new RetryBudget(config.retries);
    this.retries = config.retries.maxAttempts > 1;
    this.#allocator = createAllocator(config.strategy, { random: deps.random, boundFactor: config.boundFactor });
    this.#health = new PoolHealth(config.health, {
      ejected: ({ name }, failures, ejectMs) =>
        this.#log('warn', 'backend.ejected', { backend: name, failures, ejectMs }),
      reinstated: ({ name }) => this.#log('info', 'backend.reinstated', { backend: name }),
    });
  }

  get backends(): readonly Backend[] {
    return this.#backends;
  }

  /** Also of backends that are leaving and still have something in flight. */
  get links(): readonly BackendLinks[] {
    return this.#links.filter((links) => links !== undefined);
  }

  queueFor(payloadBytes: number): TaskQueue {
    return payloadBytes > limits.bulkFrameBytes ? this.bulkQueue : this.queue;
  }

  get queued(): number {
    return this.queue.size + this.bulkQueue.size;
  }

  /** Some backend has an open link. */
  get reachable(): boolean {
    return this.#backends.some((backend) => backend.connected > 0);
  }

  start(now: number): void {
    for (const server of this.config.servers) {
      if (server.host === undefined || isIP(server.host) !== 0) this.#setAddresses(server, [server.host]);
    }
    this.tick(now);
  }

  /** The link that takes a task of so many bytes now, or undefined: it has to wait. */
  pick(key: number, payloadBytes: number, now: number, exclude: number): BackendConnection | undefined {
    const backend = this.#allocator.pick(this.#backends, key, now, exclude);
    if (backend === undefined) return undefined;
    return this.#links[backend.index]!.pick(payloadBytes) ?? this.#pickOther(backend, payloadBytes, now, exclude);
  }

  tick(now: number): void {
    for (const links of this.#links) if (links !== undefined) this.#tickLinks(links, now);
    if (this.#stopped) return;
    this.#resolveDue(now);
    this.#reportHealth(now);
  }

  linkLost(): void {
    this.#health.changed();
  }

  /** During a drain. Not before its last task is over: one that waits, or another attempt, may still have to be sent. */
  sayGoingAwayIfIdle(graceMs: number): void {
    if (this.#saidGoingAway || this.queued > 0 || this.links.some(({ busy }) => busy)) return;
    this.#saidGoingAway = true;
    for (const links of this.links) links.sayGoingAway(graceMs);
  }

  stop(): void {
    this.#stopped = true;
    for (const links of this.links) links.stop();
  }

  /** The chosen backend's links do not take more: any other that can, in turn. */
  #pickOther(taken: Backend, payloadBytes: number, now: number, exclude: number): BackendConnection | undefined {
    const backends = this.#backends;
    const from = backends.indexOf(taken);
    for (let i = 1; i < backends.length; i++) {
      const backend = backends[(from + i) % backends.length];
      if (backend.index === exclude || !backend.available(now)) continue;
      const link = this.#links[backend.index]!.pick(payloadBytes);
      if (link !== undefined) return link;
    }
    return undefined;
  }

  #tickLinks(links: BackendLinks, now: number): void {
    links.tick(now);
    if (links.removed && links.links.length === 0) this.#links[links.backend.index] = undefined;
  }

  /** While more than half is out, ejected backends are tried like any other: nobody is held to be ill then. */
  #reportHealth(now: number): void {
    if (this.#backends.length === 0) return;
    const mostlyOut = this.#health.suspended(now);
    if (mostlyOut === this.#mostlyOut) return;
    this.#mostlyOut = mostlyOut;
    const fields = { out: this.#health.countOut(), backends: this.#backends.length };
    if (mostlyOut) this.#log('warn', 'pool.mostly-out', fields);
    else if (this.#everUp) this.#log('info', 'pool.recovered', fields);
    this.#everUp = true;
  }

  #log(level: LogLevel, event: string, fields: Record<string, unknown>): void {
    this.#deps.log(level, event, { pool: this.config.name, ...fields });
  }

  #resolveDue(now: number): void {
    for (const server of this.config.servers) {
      if (server.host === undefined || isIP(server.host) !== 0 || this.#resolving.has(server)) continue;
      if (now < (this.#resolveAtMs.get(server) ?? 0)) continue;
      this.#resolving.add(server);
      this.#resolve(server).finally(() => this.#resolving.delete(server));
    }
  }

  async #resolve(server: ServerConfig): Promise<void> {
    const { engine } = this.#deps;
    const intervalMs = this.config.resolveIntervalMs === 0 ? Infinity : this.config.resolveIntervalMs;
    try {
      const addresses = await this.#deps.resolve(server.host!);
      if (addresses.length === 0) throw new Error('no addresses');
      this.#resolveAtMs.set(server, engine.now() + intervalMs);
      if (!this.#stopped) this.#setAddresses(server, addresses);
    } catch (error) {
      // The addresses known last stay in use.
      const retryInMs = Math.min(intervalMs, RESOLVE_RETRY_MS);
      this.#resolveAtMs.set(server, engine.now() + retryInMs);
      this.#log('warn', 'pool.resolve-failed', { host: server.host, error: String(error), retryInMs });
    }
  }

  #setAddresses(server: ServerConfig, hosts: readonly (string | undefined)[]): void {
    const wanted = new Map(hosts.map((host) => [backendName(server, host), host]));
    const before = this.#backends.length;
    const gone = this.#backends.filter((backend) => this.#servers.get(backend) === server && !wanted.has(backend.name));
    for (const backend of gone) this.#remove(backend);
    const known = new Set(this.#backends.map((backend) => backend.name));
    for (const [name, host] of wanted) if (!known.has(name)) this.#add(server, name, host);
    if (gone.length > 0 || this.#backends.length !== before) this.#changed();
  }

  #add(server: ServerConfig, name: string, host: string | undefined): void {
    const { maxInFlight } = this.config;
    const backend = new Backend({ index: this.#links.length, name, weight: server.weight, maxInFlight }, this.#health);
    const address: LinkAddress = server.path === undefined ? { host, port: server.port } : { path: server.path };
    this.#servers.set(backend, server);
    const links = new BackendLinks(backend, address, this.config, this.#deps);
    this.#links.push(links);
    this.#backends = [...this.#backends, backend];
    links.tick(this.#deps.engine.now());
  }

  #remove(backend: Backend): void {
    const links = this.#links[backend.index]!;
    links.removed = true;
    backend.goingAway = true;
    this.#backends = this.#backends.filter((other) => other !== backend);
  }

  #changed(): void {
    this.#health.backendsChanged(this.#backends);
    this.#allocator.backendsChanged(this.#backends);
    this.#log('info', 'pool.backends', { backends: this.#backends.map((backend) => backend.name) });
  }
}

function backendName(server: ServerConfig, host: string | undefined): string {
  if (host === undefined) return server.address;
  return host.includes(':') ? `[${host}]:${server.port}` : `${host}:${server.port}`;
}
