/** Starts the servers that are measured, and the ones behind them; each answers when it is ready. */
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { LoadProtocol } from './load.js';
import type { Backends, BenchOptions, Engine, RelayPeer } from './options.js';
import type { BenchProcess, ProcessGroup } from './process-group.js';
import { root } from './root.js';

const HOST = '127.0.0.1';
const READY = /listening on (\S+):(\d+)\b(.*)/;
const READY_WITHIN_MS = 15_000;
/** Where distributions that build nginx's stream module apart put it; elsewhere it is built in. */
const NGINX_STREAM_MODULES = [
  '/usr/lib/nginx/modules/ngx_stream_module.so',
  '/usr/lib64/nginx/modules/ngx_stream_module.so',
];

/** A server that is ready. */
export interface Server {
  readonly process: BenchProcess;
  readonly host: string;
  readonly port: number;
}

/** The machine does not let this server run (no io_uring, a peer that is not installed): said, not a failure. */
export class Unavailable extends Error {}

export class Servers {
  #group: ProcessGroup;
  #options: BenchOptions;
  #directory = mkdtempSync(join(tmpdir(), 'ringway-bench-'));
  #files = 0;

  constructor(group: ProcessGroup, options: BenchOptions) {
    this.#group = group;
    this.#options = options;
  }

  nodeNetEcho(inPlace = false): Promise<Server> {
    const file = join(root, 'bench', 'peers', 'node-net-echo.mjs');
    return this.#startReady('node:net echo', process.execPath, [file, ...(inPlace ? ['--in-place'] : [])]);
  }

  /** An echo server behind a relay, or an RMP backend behind the gateway. */
  backend(kind: Backends, protocol: LoadProtocol): Promise<Server> {
    if (kind === 'native') {
      const program = join(this.#options.nativeDirectory, 'ringway-echo-backend');
      return this.#startReady(`native ${protocol} backend`, program, ['--protocol', protocol]);
    }
    return protocol === 'plain'
      ? this.nodeNetEcho()
      : this.#ringway('ringway backend', ['backend', '--port', '0', '--echo']);
  }

  async ringwayEcho(engine: Engine): Promise<Server> {
    const args = ['echo', '--port', '0', '--engine', engine, '--framing', 'length', ...this.#reactors(engine)];
    return this.#ringway(`ringway echo on ${engine}`, args, engine);
  }

  async ringwayGateway(engine: Engine, protocol: LoadProtocol, backends: readonly Server[]): Promise<Server> {
    const reactors = engine === 'portable' ? undefined : this.#options.reactors;
    const config = {
      engine: reactors === undefined ? engine : { kind: engine, reactors },
      listeners: [{ host: HOST, port: 0, protocol }],
      // As HAProxy has it here: no bound on what one backend is given. The default, 1,024, would hold 6,000 of the 8,000
      // requests of 500 x 16 back in the gateway's own queue.
      pools: {
        echo: { maxInFlight: 8192, servers: backends.map(({ host, port }) => ({ address: `${host}:${port}` })) },
      },
      routes: [{ route: 0, pool: 'echo' }],
    };
    const file = this.#write('gateway.json', JSON.stringify(config, null, 2));
    return this.#ringway(`ringway gateway on ${engine}`, ['start', '--config', file], engine);
  }

  /** A TCP relay in one thread, from its template in bench/peers/. */
  async relayPeer(peer: RelayPeer, backends: readonly Server[]): Promise<Server> {
    const port = await freePort();
    const fill = (template: string) => this.#fill(template, port, backends);
    const program =
      peer === 'haproxy'
        ? this.#group.start('haproxy', 'haproxy', ['-db', '-f', fill('haproxy.cfg')])
        : this.#group.start('nginx', 'nginx', ['-c', fill('nginx.conf')]);
    await answersAt(program, port, peer);
    return { process: program, host: HOST, port };
  }

  removeFiles(): void {
    rmSync(this.#directory, { recursive: true, force: true });
  }

  #reactors(engine: Engine): string[] {
    const { reactors } = this.#options;
    return reactors === undefined || engine === 'portable' ? [] : ['--reactors', String(reactors)];
  }

  async #ringway(name: string, args: readonly string[], engine?: Engine): Promise<Server> {
    return this.#startReady(name, process.execPath, [join(root, 'bin', 'ringway'), ...args], engine);
  }

  /** With `engine`, the ready line must name it as the driver that really runs. */
  async #startReady(name: string, command: string, args: readonly string[], engine?: Engine): Promise<Server> {
    const started = this.#group.start(name, command, args);
    let ready: RegExpMatchArray;
    try {
      ready = await started.line(READY, READY_WITHIN_MS);
    } catch (error) {
      await started.stop();
      if (/ERR_ENGINE_UNAVAILABLE|engine .*(unavailable|cannot run)/i.test(started.stderr)) {
        throw new Unavailable(`${name}: ${started.stderr.split('\n')[0]}`);
      }
      throw error;
    }
    const driver = ready[3].match(/\((io_uring|epoll|portable)\b/)?.[1];
    if (engine !== undefined && driver !== engine) {
      await started.stop();
      throw new Error(`${name}: asked for ${engine}, but the ready line says ${driver ?? 'nothing'}: ${ready[0]}`);
    }
    return { process: started, host: ready[1].replace(/^.*\/\/|[[\]]/g, ''), port: Number(ready[2]) };
  }

  #fill(template: string, port: number, backends: readonly Server[]): string {
    const values: Record<string, string> = {
      host: HOST,
      port: String(port),
      backend1: `${backends[0].host}:${backends[0].port}`,
      backend2: `${backends[1].host}:${backends[1].port}`,
      directory: this.#directory,
      modules: NGINX_STREAM_MODULES.filter(existsSync)
        .map((file) => `load_module ${file};`)
        .join('\n'),
    };
    const text = readFileSync(join(root, 'bench', 'peers', `${template}.template`), 'utf8');
    return this.#write(
      template,
      text.replace(/\{\{(\w+)\}\}/g, (_, name: string) => values[name]),
    );
  }

  #write(name: string, text: string): string {
    const file = join(this.#directory, `${++this.#files}-${name}`);
    writeFileSync(file, text);
    return file;
  }
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
async function answersAt(program: BenchProcess, port: number, peer: RelayPeer): Promise<void> {
  const endMs = performance.now() + READY_WITHIN_MS;
  while (!(await accepts(port))) {
    if (/ENOENT/.test(program.stderr)) throw new Unavailable(notInstalled(peer));
    if (program.failure !== undefined) throw new Error(program.failure);
    if (performance.now() > endMs) throw new Error(`${peer} does not listen on ${port}: ${program.stderr}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function notInstalled(peer: RelayPeer): string {
  const packages = peer === 'nginx' ? 'nginx libnginx-mod-stream' : peer;
  return `${peer} is not installed: apt-get install ${packages}`;
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, HOST);
    socket.on('connect', () => resolve(true)).on('error', () => resolve(false));
    socket.on('connect', () => socket.destroy());
  });
}
