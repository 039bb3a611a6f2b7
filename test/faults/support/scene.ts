/**
 * The scene of every fault: a gateway process with two pools. Route 0 leads to backends that the fault may hurt, for rmp clients (half
 * of their requests idempotent) and plain ones; route 1 to a healthy backend, for the bystanders, who must not notice anything.
 */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect } from 'vitest';
import type { DriverName } from '../../../src/engine/engine.js';
import { endAll } from '../../support/cli-process.js';
import { BackendProcess, readExecutions } from './backend-process.js';
import { FaultProxy } from './fault-proxy.js';
import { record, recordEnd } from './figures.js';
import { byForm, lasts } from './form.js';
import { GatewayProcess } from './gateway-process.js';
import { Ledger, NO_SINS, sins, type Verdict } from './ledger.js';
import { LedgerClient, type LedgerClientOptions } from './ledger-client.js';
import { Load } from './load.js';
import { PeakRss } from './footprint.js';
import { Pace, type PaceVerdict } from './pace.js';
import { StartLine } from './start-line.js';
import { until } from './until.js';

export interface SceneOptions {
  /** Exposed backends. Default 2. */
  readonly backends?: number;
  /** Of each exposed backend before it answers, so that there is something in flight. Default 5. */
  readonly delayMs?: number;
  /** A fault proxy before each exposed backend. Default false. */
  readonly proxied?: boolean;
  /** Starts further exposed backends; their ports. */
  readonly more?: (scene: Scene) => Promise<readonly number[]>;
  /** Added to every listener. */
  readonly listener?: object;
  /** A third listener, for rmp on a unix socket: `unixPath`. Default false. */
  readonly unix?: boolean;
  /** Added to the exposed pool. */
  readonly pool?: object;
  /** Added to the bystanders' pool. */
  readonly healthyPool?: object;
  /** Added to the configuration. */
  readonly config?: object;
  /** Requests of exposed clients per second. Default 600, in the long form 2,000. */
  readonly ratePerSecond?: number;
  /** Of exposed clients. Default 64. */
  readonly payloadBytes?: number;
  /** Open files of the gateway. */
  readonly maxFiles?: number;
  /** Exposed clients that speak plain. Default 10. */
  readonly plainClients?: number;
  /** A bystander whose answer takes longer has been harmed. Default 10,000, for machines that do something else too. */
  readonly bystanderBudgetMs?: number;
}

export interface FaultOptions {
  /** Exposed clients may lose their connection: what was open then is cut, not lost. Default false. */
  readonly mayCut?: boolean;
  /** The gateway ends in the fault: nothing is asked of it afterwards. Default false. */
  readonly gatewayEnds?: boolean;
  /** A ledger of the fault's own clients, whose requests the gateway counted too. */
  readonly extra?: Ledger;
  /** Nothing is asked of how long bystanders wait, only that they are answered in time. Default false. */
  readonly anyPace?: boolean;
}

export interface Outcome {
  readonly exposed: Verdict;
  readonly bystanders: Verdict;
}

/** Quick to find out and quick to come back, so that seconds show what defaults show in minutes. */
const QUICK_POOL = {
  deadlineMs: 2_000,
  links: { reconnectMinMs: 50, reconnectMaxMs: 250, connectTimeoutMs: 500 },
  health: { pingIntervalMs: 200, pingTimeoutMs: 600, ejectMs: 300, slowStartMs: 0 },
};
const WARM_UP_SECONDS = 0.6;
const BYSTANDER_RATE = 200;
const WITNESS_RATE = 50;
/** Far from the ids of all others: the same backend writes them down. */
const WITNESS_FROM = 3 * 2 ** 30;

const AS_TOLD = { twice: 0, thoughNot: 0, unexecuted: 0 };

const cleanUps: (() => unknown)[] = [];

/** For each suite of faults: whatever a test started ends with it. */
export function endScenes(): void {
  afterEach(async () => {
    for (const action of cleanUps.splice(0).reverse()) await action();
    await endAll();
  });
}

export class Scene {
  readonly driver: DriverName;
  readonly directory: string;
  readonly exposed = new Ledger();
  readonly bystanders = new Ledger();
  readonly pace = new Pace();
  backends: BackendProcess[] = [];
  proxies: FaultProxy[] = [];
  gateway!: GatewayProcess;
  #options: SceneOptions;
  #loads: Load[] = [];
  #exposedPorts: readonly number[] = [];
  #healthyPort = 0;

  private constructor(driver: DriverName, options: SceneOptions) {
    this.driver = driver;
    this.#options = options;
    this.directory = mkdtempSync(join(tmpdir(), 'ringway-faults-'));
    for (const pool of ['exposed', 'healthy'] as const) writeFileSync(this.#record(pool), '');
    cleanUps.push(() => rmSync(this.directory, { recursive: true, force: true }));
  }

  static async open(driver: DriverName, options: SceneOptions = {}): Promise<Scene> {
    const scene = new Scene(driver, options);
    await scene.#start();
    return scene;
  }

  get unixPath(): string {
    return join(this.directory, 'rmp.sock');
  }

  /** rmp, not idempotent, on route 0; gone with the test. */
  async client(options: Partial<LedgerClientOptions> = {}): Promise<LedgerClient> {
    const protocol = options.protocol ?? 'rmp';
    const client = await LedgerClient.connect({
      port: this.gateway.port(protocol === 'rmp' ? 0 : 1),
      ledger: this.exposed,
      ...options,
      protocol,
    });
    cleanUps.push(() => client.destroy());
    return client;
  }

  clients(count: number, options: Partial<LedgerClientOptions> = {}): Promise<LedgerClient[]> {
    return Promise.all(Array.from({ length: count }, () => this.client(options)));
  }

  /** Writes what it executes into the record of its pool. */
  backend(delayMs: number, pool: 'exposed' | 'healthy' = 'exposed'): Promise<BackendProcess> {
    return BackendProcess.start({ record: this.#record(pool), delayMs });
  }

  /**
   * Runs the load, the fault in the middle of it, and the load once more; then judges: the ledgers, what was executed, what
   * the gateway counted, memory and file descriptors.
   */
  async under(fault: string, action: () => Promise<void>, options: FaultOptions = {}): Promise<Outcome> {
    await this.#startLoads();
    await lasts(WARM_UP_SECONDS);
    await this.#accepted();
    const line = await StartLine.draw(this.gateway);
    this.pace.reset();
    const peak = new PeakRss(this.gateway.pid);
    await action();
    for (const load of this.#loads) load.stop();
    await this.#settle();
    const peakRssBytes = peak.end();
    const exposed = this.exposed.verdict();
    const bystanders = this.bystanders.verdict();
    const waits = this.pace.verdict();
    this.#judge(exposed, bystanders, options);
    if (!options.anyPace) judgePace(waits);
    if (options.gatewayEnds) {
      recordEnd({ fault, engine: this.driver, exposed, bystanders });
      return { exposed, bystanders };
    }
    await this.#judgeGateway(exposed.cut > 0, exposed.sent + bystanders.sent, options.extra);
    const memory = { ...(await line.back()), peakRssBytes };
    record({ fault, engine: this.driver, exposed, bystanders, waits, memory });
    return { exposed, bystanders };
  }

  get plainConnections(): number {
    return this.#loads.at(-1)!.clients.length;
  }

  /** Load on while something is broken. */
  async load(shortSeconds: number, longSeconds: number): Promise<void> {
    await lasts(byForm(shortSeconds, longSeconds));
  }

  /** Everything that can be reached is connected. */
  async linked(): Promise<void> {
    const wanted = this.#exposedPorts.length + 1;
    // Without a descriptor the admin port does not answer either.
    const established = (): Promise<number> => this.gateway.links().catch(() => 0);
    await until(`${wanted} links are established`, async () => (await established()) >= wanted);
  }

  async #start(): Promise<void> {
    const { backends = 2, delayMs = 5, proxied = false, more, maxFiles } = this.#options;
    this.backends = await Promise.all(Array.from({ length: backends }, () => this.backend(delayMs)));
    const healthy = await this.backend(0, 'healthy');
    this.#healthyPort = healthy.port;
    if (proxied) this.proxies = await Promise.all(this.backends.map(({ port }) => FaultProxy.listen(port)));
    for (const proxy of this.proxies) cleanUps.push(() => proxy.close());
    const own = (proxied ? this.proxies : this.backends).map(({ port }) => port);
    this.#exposedPorts = [...own, ...((await more?.(this)) ?? [])];
    this.gateway = await GatewayProcess.start({
      driver: this.driver,
      config: this.#config(healthy.port),
      file: join(this.directory, 'gateway.json'),
      maxFiles,
    });
    await this.linked();
  }

  #config(healthyPort: number): object {
    const { listener, unix = false, pool, healthyPool, config } = this.#options;
    const servers = (ports: readonly number[]) => ports.map((port) => ({ address: `127.0.0.1:${port}` }));
    return {
      listeners: [
        { name: 'rmp', port: 0, protocol: 'rmp', ...listener },
        { name: 'plain', port: 0, protocol: 'plain', errorReply: 'text', route: 0, ...listener },
        ...(unix ? [{ name: 'unix', path: this.unixPath, protocol: 'rmp', ...listener }] : []),
      ],
      pools: {
        exposed: { ...QUICK_POOL, ...pool, servers: servers(this.#exposedPorts) },
        healthy: { ...healthyPool, servers: servers([healthyPort]) },
      },
      routes: [
        { route: 0, pool: 'exposed' },
        { route: 1, pool: 'healthy' },
      ],
      ...config,
    };
  }

  async #startLoads(): Promise<void> {
    const {
      ratePerSecond = byForm(600, 2_000),
      payloadBytes,
      bystanderBudgetMs = 10_000,
      plainClients = 10,
    } = this.#options;
    const share = { ratePerSecond: ratePerSecond / 3, payloadBytes };
    const calm = { route: 1, ledger: this.bystanders, budgetMs: bystanderBudgetMs, latencies: this.pace.bystanders };
    const past = { port: this.#healthyPort, route: 1, ledger: new Ledger(WITNESS_FROM), latencies: this.pace.witness };
    // The witness first: the others go through the gateway.
    this.#loads = [
      new Load(await this.clients(2, past), { ratePerSecond: WITNESS_RATE }),
      new Load(await this.clients(20, calm), { ratePerSecond: BYSTANDER_RATE }),
      new Load(await this.clients(20), share),
      new Load(await this.clients(20, { idempotent: true }), share),
      new Load(await this.clients(plainClients, { protocol: 'plain' }), share),
    ];
    for (const load of this.#loads) load.start();
  }

  /** A busy machine accepts some only after they have sent: their descriptors belong to the start line. */
  async #accepted(): Promise<void> {
    const [, ...throughGateway] = this.#loads;
    const own = throughGateway.reduce((sum, { clients }) => sum + clients.length, 0);
    await until('all clients are accepted', async () => (await this.gateway.totals()).clients >= own);
  }

  /** Every deadline is over and every answer has come. */
  async #settle(): Promise<void> {
    const open = (): number => this.exposed.open + this.bystanders.open;
    // Who stays open is judged as lost, with the whole verdict beside it.
    await until('every request has its outcome', () => open() === 0, 12_000).catch(() => {});
  }

  #judge(exposed: Verdict, bystanders: Verdict, { mayCut = false, gatewayEnds = false }: FaultOptions): void {
    const { sent } = bystanders;
    expect(sins(exposed), JSON.stringify(exposed)).toEqual(NO_SINS);
    if (!mayCut) expect(exposed.cut, JSON.stringify(exposed)).toBe(0);
    if (gatewayEnds) expect(sins(bystanders)).toEqual(NO_SINS);
    else expect(bystanders).toEqual({ ...bystanders, ...NO_SINS, answered: sent, failed: {}, cut: 0 });
    expect(sent).toBeGreaterThan(0);
    expect(this.exposed.judgeExecutions(readExecutions(this.#record('exposed'), exposed.sent))).toEqual(AS_TOLD);
    expect(this.bystanders.judgeExecutions(readExecutions(this.#record('healthy'), sent))).toEqual(AS_TOLD);
  }

  #record(pool: 'exposed' | 'healthy'): string {
    return join(this.directory, `executed-${pool}`);
  }

  /** The gateway's own books say the same. */
  async #judgeGateway(someCut: boolean, sent: number, extra: Ledger | undefined): Promise<void> {
    await until('the gateway has no open task', async () => (await this.gateway.totals()).open === 0);
    const { received, queued, outcomes } = await this.gateway.totals();
    const settled = Object.values(outcomes).reduce((sum, count) => sum + count, 0);
    expect({ queued, settled }).toEqual({ queued: 0, settled: received });
    // What was on its way over a connection that ended may have arrived or not.
    if (someCut || extra !== undefined) expect(received).toBeLessThanOrEqual(sent + (extra?.sent ?? 0));
    else expect(received).toBe(sent);
  }
}

function judgePace(waits: PaceVerdict): void {
  expect(waits.p99Ms, `bystanders' p99: ${JSON.stringify(waits)}`).toBeLessThan(waits.p99BoundMs);
  expect(waits.maxMs, `bystanders' longest wait: ${JSON.stringify(waits)}`).toBeLessThan(waits.maxBoundMs);
}
