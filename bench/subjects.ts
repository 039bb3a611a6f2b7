/**
 * The servers under measurement by name. A name says all: `io_uring`, `epoll/2` (two reactors), `portable:rmp` (clients speak RMP),
 * `node:net`, `haproxy`. Each is started once and kept while its room is measured.
 */
import type { Bench } from './bench.js';
import {
  type Behind,
  C_EPOLL,
  C_URING,
  DIRECT,
  HAPROXY,
  NODE_NET,
  NODE_NET_GATEWAY,
  NODE_NET_GATEWAY_PER_CHUNK,
  NGINX,
  NODE_NET_IN_PLACE,
  type Room,
} from './cases.js';
import type { LoadProtocol, Target } from './load.js';
import { type Backends, type EngineName, ROUTES, type Server, type Servers } from './servers.js';

/** A server under measurement, and those behind it. */
export interface Subject {
  readonly name: string;
  readonly server: Server;
  readonly target: Target;
  /** Of the echo backends; empty for what stands alone. */
  readonly backendPorts: readonly number[];
}

export interface EngineSubject {
  readonly engine: EngineName;
  /** Undefined: the engine's own choice. */
  readonly reactors: number | undefined;
}

/** Undefined for the name of a peer. The protocol behind the colon does not matter here. */
export function parseEngine(name: string): EngineSubject | undefined {
  const match = /^(io_uring|epoll|portable)(?:\/(\d+))?(?::\w+)?$/.exec(name);
  if (match === null) return undefined;
  return { engine: match[1] as EngineName, reactors: match[2] === undefined ? undefined : Number(match[2]) };
}

/** That do its work: of a Ringway with reactors of its own, they and the JavaScript thread; all others have one. */
export function threadsOf(name: string): number {
  return 1 + (parseEngine(name)?.reactors ?? 0);
}

/** Of the load on a relay. */
export function protocolOf(name: string): LoadProtocol {
  return name.endsWith(':rmp') ? 'rmp' : 'plain';
}

/** The load straight on one of the backends, in the same protocol. */
export function directOf(name: string): string {
  return protocolOf(name) === 'rmp' ? `${DIRECT}:rmp` : DIRECT;
}

/** As tables show it. */
export function describeSubject(room: Room, name: string): string {
  const engine = parseEngine(name);
  if (engine !== undefined) {
    const { reactors } = engine;
    const threads = reactors === undefined ? '' : `, reactors ${reactors}`;
    const protocol = room === 'relay' ? `, ${protocolOf(name)}` : '';
    return `${room === 'relay' ? 'gateway' : 'ringway'} ${engine.engine}${threads}${protocol}`;
  }
  const labels: Record<string, string> = {
    [NODE_NET_IN_PLACE]: 'node:net, no handler',
    [C_URING]: 'C io_uring',
    [C_EPOLL]: 'C epoll',
    bun: 'Bun',
    [NODE_NET_GATEWAY]: 'node:net gateway, plain',
    [NODE_NET_GATEWAY_PER_CHUNK]: 'node:net gateway, a write per chunk',
    [`${NODE_NET_GATEWAY}:rmp`]: 'node:net gateway, rmp',
    [DIRECT]: 'no gateway, plain',
    [`${DIRECT}:rmp`]: 'no gateway, rmp',
  };
  return labels[name] ?? name;
}

export function startEcho(servers: Servers, name: string): Promise<Server> {
  const engine = parseEngine(name);
  if (engine !== undefined) return servers.ringwayEcho(engine.engine, engine.reactors);
  if (name === NODE_NET) return servers.nodeNetEcho();
  if (name === NODE_NET_IN_PLACE) return servers.nodeNetEcho(true);
  if (name === C_URING) return servers.floorEcho('uring');
  if (name === C_EPOLL) return servers.floorEcho('epoll');
  if (name === 'bun') return servers.bunEcho();
  throw new Error(`no echo server is called ${name}`);
}

/** Starts what the names ask for; what cannot run here is noted and left out. */
export class SubjectPool {
  #bench: Bench;
  #room: Room;
  #servers: Servers;
  #behind: ReadonlySet<Behind>;
  #subjects = new Map<string, Subject | undefined>();
  #plain: Backends | undefined;
  #rmp: Backends | undefined;
  #started: Server[] = [];

  /** @param behind the kinds of backend that the cases need */
  constructor(bench: Bench, room: Room, behind: ReadonlySet<Behind>, servers: Servers = bench.servers) {
    this.#bench = bench;
    this.#room = room;
    this.#behind = behind;
    this.#servers = servers;
  }

  /** Undefined: it does not run here. */
  async get(name: string): Promise<Subject | undefined> {
    if (!this.#subjects.has(name)) this.#subjects.set(name, await this.#start(name));
    return this.#subjects.get(name);
  }

  async stop(): Promise<void> {
    const relays = [...this.#subjects.values()].flatMap((subject) => (subject === undefined ? [] : [subject.server]));
    await Promise.all(relays.map(({ process }) => process.stop()));
    await Promise.all(this.#started.map(({ process }) => process.stop()));
    this.#subjects.clear();
  }

  async #start(name: string): Promise<Subject | undefined> {
    const label = describeSubject(this.#room, name);
    const double = this.#sameAs(name);
    if (double !== undefined) {
      this.#bench.note(`${label}: the engine's own choice here, measured as ${describeSubject(this.#room, double)}`);
      return undefined;
    }
    return this.#bench.attempt(label, () => (this.#room === 'echo' ? this.#startEcho(name) : this.#startRelay(name)));
  }

  /** Asked for as many reactors as the engine chose by itself: that server runs already, under its name without a number. */
  #sameAs(name: string): string | undefined {
    const engine = parseEngine(name);
    const plainName = name.replace(/\/\d+/, '');
    const chosen = engine?.reactors === undefined ? undefined : this.#subjects.get(plainName)?.server.ready;
    if (chosen === undefined) return undefined;
    const reactors = /in the main loop/.test(chosen) ? 0 : Number(/, (\d+) reactors?\b/.exec(chosen)?.[1]);
    return reactors === engine?.reactors ? plainName : undefined;
  }

  async #startEcho(name: string): Promise<Subject> {
    const server = await startEcho(this.#servers, name);
    return { name, server, target: echoTarget(server), backendPorts: [] };
  }

  async #startRelay(name: string): Promise<Subject> {
    const protocol = protocolOf(name);
    if (name === HAPROXY || name === NGINX) {
      const backends = (await this.#plainBackends()).echo!;
      return relaySubject(name, await this.#servers.tcpRelay(name, backends), { echo: backends });
    }
    if (name === DIRECT) return direct(name, (await this.#plainBackends()).echo![0]);
    const backends = await this.#rmpBackends();
    if (name === `${DIRECT}:rmp`) return direct(name, backends.echo![0]);
    if (name.startsWith(NODE_NET_GATEWAY)) {
      return relaySubject(
        name,
        await this.#servers.nodeNetGateway(protocol, name === NODE_NET_GATEWAY_PER_CHUNK, backends),
        backends,
      );
    }
    const engine = parseEngine(name);
    if (engine === undefined) throw new Error(`no relay is called ${name}`);
    const gateway = await this.#servers.ringwayGateway(engine.engine, engine.reactors, protocol, backends);
    return relaySubject(name, gateway, backends);
  }

  async #plainBackends(): Promise<Backends> {
    this.#plain ??= { echo: await this.#pair('plain', 'echo') };
    return this.#plain;
  }

  async #rmpBackends(): Promise<Backends> {
    if (this.#rmp === undefined) {
      const backends: Partial<Record<Behind, readonly Server[]>> = { echo: await this.#pair('rmp', 'echo') };
      if (this.#behind.has('stream')) backends.stream = await this.#pair('rmp', 'stream');
      if (this.#behind.has('slow')) backends.slow = await this.#pair('rmp', 'slow');
      this.#rmp = backends;
    }
    return this.#rmp;
  }

  async #pair(protocol: LoadProtocol, behind: Behind): Promise<Server[]> {
    // Backends are never what is looked into: they start as they always do.
    const start = () => this.#bench.servers.backend(this.#bench.options.backends, protocol, behind);
    const pair = [await start(), await start()];
    this.#started.push(...pair);
    return pair;
  }
}

export function echoTarget({ host, port, process }: Server): Target {
  return { host, port, pids: [process.pid], protocol: 'plain', route: 0 };
}

/** CPU time of the relay comes first, then that of each server behind it. */
function relaySubject(name: string, server: Server, backends: Backends): Subject {
  const { host, port, process } = server;
  const pids = [
    process.pid,
    ...Object.values(backends).flatMap((servers) => servers.map(({ process: { pid } }) => pid)),
  ];
  const backendPorts = backends.echo!.map((backend) => backend.port);
  return { name, server, target: { host, port, pids, protocol: protocolOf(name), route: ROUTES.echo }, backendPorts };
}

function direct(name: string, server: Server): Subject {
  return { name, server, target: { ...echoTarget(server), protocol: protocolOf(name) }, backendPorts: [] };
}
