/**
 * A gateway for misuse: three listeners, a backend by hand behind route 0, an echo behind route 1, its log kept, and well-behaved
 * clients beside whose every request must be answered right. What the misuse took must be given back.
 */
import { readdirSync } from 'node:fs';
import { expect } from 'vitest';
import type { CounterName } from '../../src/engine/tables.gen.js';
import { createGateway, type Gateway } from '../../src/gateway/gateway.js';
import type { ClientProtocol, ListenerConfig } from '../../src/gateway/options.js';
import { limits } from '../../src/limits.js';
import { Kind } from '../../src/protocol/rmp.js';
import type { EngineFixture } from './engines.js';
import { type LogLine, listenerConfig, type PoolParts, poolConfig } from './gateway-world.js';
import { RmpPeer, RmpPeerServer, rmpFrame } from './rmp-peer.js';
import { lengthPrefixed, TcpPeer } from './tcp-peer.js';

const PROTOCOLS: readonly ClientProtocol[] = ['rmp', 'plain', 'lines'];
/** ms between an answer and the next request of a well-behaved client: it must not take the whole loop. */
const PACE_MS = 2;

export interface BadInputOptions {
  /** Of every listener. */
  readonly listener?: Partial<ListenerConfig>;
  /** Of the pool behind route 0. */
  readonly pool?: PoolParts;
  /** Where requests of plain and lines clients go. Default 1, the echo. */
  readonly route?: number;
  /** Ports of the pool behind route 0, instead of a backend by hand. */
  readonly ports?: readonly number[];
}

export class BadInputWorld {
  readonly gateway: Gateway;
  readonly logs: readonly LogLine[];
  readonly #fixture: EngineFixture;
  readonly #backend: RmpPeerServer | undefined;
  readonly #good: WellBehaved[] = [];
  #filesAtStart = 0;
  #linksAtStart = 0;

  constructor(fixture: EngineFixture, gateway: Gateway, logs: readonly LogLine[], backend: RmpPeerServer | undefined) {
    this.#fixture = fixture;
    this.gateway = gateway;
    this.logs = logs;
    this.#backend = backend;
  }

  port(protocol: ClientProtocol): number {
    const { address } = this.gateway.addresses[PROTOCOLS.indexOf(protocol)];
    return (address as { port: number }).port;
  }

  /** A client that speaks bytes. */
  async peer(protocol: ClientProtocol, options?: Parameters<typeof TcpPeer.connect>[1]): Promise<TcpPeer> {
    const peer = await TcpPeer.connect({ host: '127.0.0.1', port: this.port(protocol) }, options);
    this.#fixture.cleanUp(() => peer.destroy());
    return peer;
  }

  async rmp(): Promise<RmpPeer> {
    const peer = await RmpPeer.connect(this.port('rmp'));
    this.#fixture.cleanUp(() => peer.destroy());
    return peer;
  }

  /** The next link to the backend by hand. */
  async link(): Promise<RmpPeer> {
    const link = await this.#backend!.accept();
    this.#fixture.cleanUp(() => link.destroy());
    return link;
  }

  /** Well-behaved clients, one for each protocol whose requests are echoed; the start line of what is open. */
  async begin(protocols: readonly ClientProtocol[]): Promise<void> {
    for (const protocol of protocols) {
      const good = await WellBehaved.start(protocol, this.port(protocol));
      this.#fixture.cleanUp(() => good.destroy());
      this.#good.push(good);
    }
    this.#filesAtStart = openFiles();
    this.#linksAtStart = this.#links();
  }

  /** A line of the log with at least these fields comes. */
  async logged(event: string, fields: Record<string, unknown>): Promise<void> {
    const lines = () => this.logs.filter((line) => line.event === event).map((line) => line.fields);
    await expect.poll(lines, POLL).toContainEqual(expect.objectContaining(fields));
  }

  /** So many connections, of clients and links together, have ended for this reason. */
  async closed(reason: string, count = 1): Promise<void> {
    await expect.poll(() => this.gateway.stats().closeReasons[reason], POLL).toBe(count);
  }

  /** Reactors write their counters when they come to it. */
  async counted(name: CounterName, count = 1): Promise<void> {
    await expect.poll(() => this.gateway.stats().engineCounters[name], POLL).toBe(count);
  }

  /**
   * Nobody else noticed, and all is as before: each well-behaved client got the right answer to each of its requests, its
   * connection is the only one left, tasks and descriptors are given back.
   */
  async unharmed(): Promise<void> {
    for (const good of this.#good) await good.answersMore(3);
    const connections = () => this.gateway.stats().clients.reduce((sum, client) => sum + client.connections, 0);
    await expect.poll(connections, POLL).toBe(this.#good.length);
    await expect.poll(() => this.#filesMore(), POLL).toBeLessThanOrEqual(0);
    for (const good of this.#good) await good.stop();
    const { received, open, queued, outcomes } = this.gateway.stats();
    expect({ open, queued }).toEqual({ open: 0, queued: 0 });
    expect(Object.values(outcomes).reduce((sum, count) => sum + count, 0)).toBe(received);
  }

  #links(): number {
    return this.gateway.stats().backends.reduce((sum, backend) => sum + backend.links, 0);
  }

  /** Than at the start. A busy backend may have got a further link, which stays for a while. */
  #filesMore(): number {
    const linksMore = Math.max(0, this.#links() - this.#linksAtStart);
    return openFiles() - this.#filesAtStart - linksMore * FILES_OF_A_LINK;
  }
}

/** Gateway and backends are one process here: both ends of a link. */
const FILES_OF_A_LINK = 2;
const POLL = { timeout: 10_000, interval: 10 };

/** Descriptors of this process, which is gateway, backends and clients at once; 0 where the system does not tell. */
function openFiles(): number {
  return process.platform === 'linux' ? readdirSync('/proc/self/fd').length : 0;
}

export async function startBadInput(fixture: EngineFixture, options: BadInputOptions = {}): Promise<BadInputWorld> {
  const backend = options.ports === undefined ? await RmpPeerServer.listen() : undefined;
  const echo = await RmpPeerServer.listen();
  const logs: LogLine[] = [];
  const { route = 1, ports = [backend!.port] } = options;
  const gateway = createGateway(
    {
      listeners: PROTOCOLS.map((protocol) =>
        listenerConfig({ name: protocol, port: 0, protocol, route, ...options.listener }),
      ),
      pools: [
        poolConfig({ name: 'bad', servers: servers(ports), ...options.pool }),
        poolConfig({ name: 'good', servers: servers([echo.port]) }),
      ],
      routes: [
        { route: 0, pool: 'bad', orderBy: 'none' },
        { route: 1, pool: 'good', orderBy: 'none' },
      ],
      maxQueuedTotal: limits.maxQueuedTotal,
      drainGraceMs: limits.drainGraceMs,
    },
    { engine: fixture.engine, log: (level, event, fields) => logs.push({ level, event, fields }) },
  );
  await gateway.start();
  fixture.cleanUp(async () => {
    await gateway.close();
    await backend?.close();
    await echo.close();
  });
  const answerNext = async (): Promise<void> => {
    const link = await echo.accept();
    fixture.cleanUp(() => link.destroy());
    void answerAll(link);
    // Further links come when the first is full.
    void answerNext();
  };
  await answerNext();
  return new BadInputWorld(fixture, gateway, logs, backend);
}

function servers(ports: readonly number[]) {
  return ports.map((port) => ({ address: `127.0.0.1:${port}`, host: '127.0.0.1', port, weight: 1 }));
}

/** Answers each request of the link with its own payload, until the link ends. */
export async function answerAll(link: RmpPeer): Promise<void> {
  for (;;) {
    const frame = await link.next().catch(() => undefined);
    if (frame === undefined) return;
    if (frame.kind === Kind.request) link.send({ kind: Kind.response, id: frame.id, payload: frame.payload });
  }
}

/** One request after another, each with a text of its own, on one connection for its whole life. */
class WellBehaved {
  readonly #peer: TcpPeer;
  readonly #protocol: ClientProtocol;
  /** Rejects at the first answer that is missing or wrong. */
  readonly #run: Promise<void>;
  #answered = 0;
  #stopped = false;

  private constructor(peer: TcpPeer, protocol: ClientProtocol) {
    this.#peer = peer;
    this.#protocol = protocol;
    this.#run = this.#ask();
    this.#run.catch(() => peer.changes.notify());
  }

  static async start(protocol: ClientProtocol, port: number): Promise<WellBehaved> {
    return new WellBehaved(await TcpPeer.connect({ host: '127.0.0.1', port }), protocol);
  }

  async answersMore(count: number): Promise<void> {
    const goal = this.#answered + count;
    const more = this.#peer.changes.until(`${goal} answers of the well-behaved`, () => this.#answered >= goal);
    await Promise.race([more, this.#run]);
    if (this.#answered < goal) throw new Error('the well-behaved client stopped asking');
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#run;
    this.#peer.destroy();
  }

  destroy(): void {
    this.#stopped = true;
    this.#peer.destroy();
  }

  async #ask(): Promise<void> {
    while (!this.#stopped) {
      const text = `${this.#protocol} ${this.#answered}`;
      const before = this.#peer.receivedBytes;
      this.#peer.write(this.#request(text));
      const expected = this.#answer(text);
      const received = (await this.#peer.bytes(before + expected.length)).subarray(before);
      if (!received.equals(expected)) throw new Error(`'${text}' was answered with ${received.toString('latin1')}`);
      this.#answered++;
      this.#peer.changes.notify();
      await new Promise((resolve) => setTimeout(resolve, PACE_MS));
    }
  }

  #request(text: string): Buffer {
    if (this.#protocol === 'lines') return Buffer.from(`${text}\n`);
    if (this.#protocol === 'plain') return lengthPrefixed(text);
    return rmpFrame({ kind: Kind.request, route: 1, id: this.#answered, payload: text });
  }

  #answer(text: string): Buffer {
    if (this.#protocol !== 'rmp') return this.#request(text);
    return rmpFrame({ kind: Kind.response, route: 1, id: this.#answered, payload: text });
  }
}
