/** Starts the servers that are measured, and the ones behind them; each is returned when it is ready. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Behind } from './cases.js';
import { relayConnections, SPARE_DESCRIPTORS } from './descriptors.js';
import { findProgram } from './find-program.js';
import type { LoadProtocol } from './load.js';
import type { BenchProcess, ProcessGroup } from './process-group.js';
import { root } from './root.js';
import { PARTIALS } from './shape.js';

const HOST = '127.0.0.1';
const READY = /listening on (\S+):(\d+)\b(.*)/;
const READY_WITHIN_MS = 15_000;
/** What bin/ringway sets for itself: more inlining helps a peer of many small functions too. */
export const PEER_FLAGS = ['--max-inlined-bytecode-size-cumulative=4000'];
/** Above the 10,000 connections of a case, so that a server's own bound is not what is measured. */
const MAX_CONNECTIONS = 12_000;
/**
 * As HAProxy has it here: no bound on what one backend is given. The default, 1,024, would hold 6,000 of the 8,000 requests of
 * 500 x 16 back in the gateway's own queue.
 */
const MAX_IN_FLIGHT = 8192;
/** What a backend of the cancel case waits: longer than any client does. */
const SLOW_MS = 1_000;
/** Where distributions that build nginx's stream module apart put it; elsewhere it is built in. */
const NGINX_STREAM_MODULES = [
  '/usr/lib/nginx/modules/ngx_stream_module.so',
  '/usr/lib64/nginx/modules/ngx_stream_module.so',
];

export type EngineName = 'io_uring' | 'epoll' | 'portable';
export type BackendKind = 'ringway' | 'native';
/** The route of each kind of backend, in every gateway. */
export const ROUTES: Readonly<Record<Behind, number>> = { echo: 0, stream: 1, slow: 2 };

/** A server that is ready. */
export interface Server {
  readonly process: BenchProcess;
  readonly host: string;
  readonly port: number;
  /** What it said when it was ready. */
  readonly ready: string;
}

/** Backends by what they do; each gateway knows all of them. */
export type Backends = Readonly<Partial<Record<Behind, readonly Server[]>>>;

/** How a server is started when something besides its speed is wanted: flags for node, variables, a port for metrics. */
export interface Launch {
  readonly nodeFlags?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly admin?: boolean;
}

/** The machine does not let this server run (no io_uring, a peer that is not installed): said, not a failure. */
export class Unavailable extends Error {}

export class Servers {
  #group: ProcessGroup;
  #nativeDirectory: string;
  #launch: Launch;
  #directory: string;
  #ownsDirectory: boolean;
  #files = 0;

  constructor(group: ProcessGroup, nativeDirectory: string, launch: Launch = {}, directory?: string) {
    this.#group = group;
    this.#nativeDirectory = nativeDirectory;
    this.#launch = launch;
    this.#ownsDirectory = directory === undefined;
    this.#directory = directory ?? mkdtempSync(join(tmpdir(), 'ringway-bench-'));
  }

  /** The same, starting its Node servers in another way. */
  launching(launch: Launch): Servers {
    return new Servers(this.#group, this.#nativeDirectory, launch, this.#directory);
  }

  nodeNetEcho(inPlace = false): Promise<Server> {
    const connections = ['--max-connections', String(MAX_CONNECTIONS)];
    return this.#peer('node:net echo', 'node-net-echo.mjs', [...connections, ...(inPlace ? ['--in-place'] : [])]);
  }

  bunEcho(): Promise<Server> {
    return this.#program(
      'Bun echo',
      'bun',
      [peer('bun-echo.mjs'), String(MAX_CONNECTIONS)],
      'bun is not installed: see https://bun.sh',
    );
  }

  /** The least a server can do in C: the floor. */
  floorEcho(driver: 'uring' | 'epoll'): Promise<Server> {
    const program = join(this.#nativeDirectory, `ringway-floor-${driver}`);
    const missing = `ringway-floor-${driver} is not built: npm run build:native`;
    return this.#program(`C ${driver} echo`, program, ['--port', '0'], missing);
  }

  ringwayEcho(engine: EngineName, reactors: number | undefined): Promise<Server> {
    const args = ['echo', '--port', '0', '--engine', engine, '--framing', 'length'];
    const most = ['--max-connections', String(MAX_CONNECTIONS)];
    return this.#ringway(`ringway echo on ${engine}`, [...args, ...most, ...reactorArguments(reactors)], engine);
  }

  /** An echo behind a TCP relay (`plain`), or an RMP backend. Streams and cancels always have the native one. */
  backend(kind: BackendKind, protocol: LoadProtocol, behind: Behind): Promise<Server> {
    if (behind === 'stream') return this.#nativeBackend('rmp', ['--partials', String(PARTIALS)]);
    if (behind === 'slow') return this.#nativeBackend('rmp', ['--delay-ms', String(SLOW_MS)]);
    if (kind === 'native') return this.#nativeBackend(protocol, []);
    return protocol === 'plain' ? this.nodeNetEcho() : this.#ringwayBackend(['--echo']);
  }

  ringwayGateway(
    engine: EngineName,
    reactors: number | undefined,
    protocol: LoadProtocol,
    backends: Backends,
  ): Promise<Server> {
    const pools = Object.entries(backends).map(([name, servers]) => [
      name,
      { maxInFlight: MAX_IN_FLIGHT, servers: servers.map(({ host, port }) => ({ address: `${host}:${port}` })) },
    ]);
    const config = {
      engine: reactors === undefined ? engine : { kind: engine, reactors },
      listeners: [{ host: HOST, port: 0, protocol, maxConnections: MAX_CONNECTIONS }],
      pools: Object.fromEntries(pools),
      routes: Object.keys(backends).map((pool) => ({ route: ROUTES[pool as Behind], pool })),
      ...(this.#launch.admin ? { admin: { port: 0 } } : {}),
    };
    const file = this.#write('gateway.json', JSON.stringify(config, null, 2));
    return this.#ringway(`ringway gateway on ${engine}`, ['start', '--config', file], engine);
  }

  nodeNetGateway(protocol: LoadProtocol, perChunk: boolean, backends: Backends): Promise<Server> {
    const routes = Object.entries(backends).map(([name, servers]) => {
      const addresses = servers.map(({ host, port }) => `${host}:${port}`).join(',');
      return `--route=${ROUTES[name as Behind]}=${addresses}`;
    });
    const bounds = ['--max-in-flight', String(MAX_IN_FLIGHT), '--max-connections', String(MAX_CONNECTIONS)];
    const args = ['--protocol', protocol, ...bounds, ...routes, ...(perChunk ? ['--per-chunk'] : [])];
    return this.#peer('node:net gateway', 'node-net-gateway.mjs', args);
  }

  /** A TCP relay in one thread, from its template in bench/peers/. */
  async tcpRelay(name: 'haproxy' | 'nginx', backends: readonly Server[]): Promise<Server> {
    const program = findProgram(name);
    if (program === undefined) throw new Unavailable(notInstalled(name));
    const port = await freePort();
    const fill = (template: string) => this.#fill(template, port, backends);
    const args = name === 'haproxy' ? ['-db', '-f', fill('haproxy.cfg')] : ['-c', fill('nginx.conf')];
    const relay = this.#group.start(name, program, args);
    await answersAt(relay, port, name);
    return { process: relay, host: HOST, port, ready: name };
  }

  removeFiles(): void {
    if (this.#ownsDirectory) rmSync(this.#directory, { recursive: true, force: true });
  }

  #nativeBackend(protocol: LoadProtocol, args: readonly string[]): Promise<Server> {
    const program = join(this.#nativeDirectory, 'ringway-echo-backend');
    return this.#startReady(`native ${protocol} backend`, program, ['--protocol', protocol, ...args]);
  }

  #ringwayBackend(args: readonly string[]): Promise<Server> {
    return this.#ringway('ringway backend', ['backend', '--port', '0', ...args]);
  }

  #ringway(name: string, args: readonly string[], engine?: EngineName): Promise<Server> {
    return this.#node(name, [join(root, 'bin', 'ringway'), ...args], engine);
  }

  #peer(name: string, file: string, args: readonly string[]): Promise<Server> {
    return this.#node(name, [...PEER_FLAGS, peer(file), ...args]);
  }

  #node(name: string, args: readonly string[], engine?: EngineName): Promise<Server> {
    return this.#startReady(name, process.execPath, [...(this.#launch.nodeFlags ?? []), ...args], engine);
  }

  async #program(name: string, command: string, args: readonly string[], missing: string): Promise<Server> {
    if (command.includes('/') && !existsSync(command)) throw new Unavailable(missing);
    try {
      return await this.#startReady(name, command, args);
    } catch (error) {
      if (/ENOENT/.test((error as Error).message)) throw new Unavailable(missing);
      throw error;
    }
  }

  /** With `engine`, the ready line must name it as the driver that really runs. */
  async #startReady(name: string, command: string, args: readonly string[], engine?: EngineName): Promise<Server> {
    const started = this.#group.start(name, command, args, this.#launch.env);
    let ready: RegExpMatchArray;
    try {
      ready = await started.line(READY, READY_WITHIN_MS);
    } catch (error) {
      await started.stop();
      if (
        /ERR_ENGINE_UNAVAILABLE|engine .*(unavailable|cannot run)|io_uring.*(not allowed|refused)/i.test(started.stderr)
      ) {
        throw new Unavailable(`${name}: ${started.stderr.split('\n')[0]}`);
      }
      throw error;
    }
    const driver = ready[3].match(/\((io_uring|epoll|portable)\b/)?.[1];
    if (engine !== undefined && driver !== engine) {
      await started.stop();
      throw new Error(`${name}: asked for ${engine}, but the ready line says ${driver ?? 'nothing'}: ${ready[0]}`);
    }
    const host = ready[1].split('//').at(-1)!.replace(/[[\]]/g, '');
    return { process: started, host, port: Number(ready[2]), ready: ready[0] };
  }

  #fill(template: string, port: number, backends: readonly Server[]): string {
    // HAProxy refuses to start with more than its descriptors allow.
    const connections = relayConnections(MAX_CONNECTIONS);
    const values: Record<string, string> = {
      host: HOST,
      port: String(port),
      connections: String(connections),
      bothEnds: String(2 * connections + SPARE_DESCRIPTORS),
      backend1: `${backends[0].host}:${backends[0].port}`,
      backend2: `${backends[1].host}:${backends[1].port}`,
      directory: this.#directory,
      modules: NGINX_STREAM_MODULES.filter(existsSync)
        .map((file) => `load_module ${file};`)
        .join('\n'),
    };
    const text = readFileSync(peer(`${template}.template`), 'utf8');
    return this.#write(
      template,
      text.replace(/\{\{(\w+)\}\}/g, (_, name: string) => values[name]),
    );
  }

  #write(name: string, text: string): string {
    const file = join(this.#directory, `${process.hrtime.bigint()}-${++this.#files}-${name}`);
    writeFileSync(file, text);
    return file;
  }
}

function peer(file: string): string {
  return join(root, 'bench', 'peers', file);
}

function reactorArguments(reactors: number | undefined): string[] {
  return reactors === undefined ? [] : ['--reactors', String(reactors)];
}

/** HAProxy and nginx cannot be asked which port they got. */
function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().on('error', reject);
    server.listen(0, HOST, () => {
      const { port } = server.address() as { port: number };
      server.close(() => resolve(port));
    });
  });
}

/** They say nothing when they are ready either. */
async function answersAt(program: BenchProcess, port: number, name: 'haproxy' | 'nginx'): Promise<void> {
  const endMs = performance.now() + READY_WITHIN_MS;
  while (!(await accepts(port))) {
    if (/unknown directive "stream"/.test(program.stderr)) throw new Unavailable(notInstalled("nginx's stream module"));
    if (program.failure !== undefined) throw new Error(program.failure);
    if (performance.now() > endMs) throw new Error(`${name} does not listen on ${port}: ${program.stderr}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function notInstalled(name: string): string {
  return `${name} is not installed: npm run bench -- --install-peers`;
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, HOST);
    socket.on('connect', () => resolve(true)).on('error', () => resolve(false));
    socket.on('connect', () => socket.destroy());
  });
}
