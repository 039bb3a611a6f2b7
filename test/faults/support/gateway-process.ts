/** `ringway start` as a process of its own, asked over its admin port and /proc. */
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { get } from 'node:http';
import type { DriverName } from '../../../src/engine/engine.js';
import { type CliProcess, type Ended, startCli } from '../../support/cli-process.js';
import { type Footprint, footprint } from './footprint.js';

const GC_ON_SIGNAL = new URL('gc-on-signal.mjs', import.meta.url).href;

export interface GatewayProcessOptions {
  readonly driver: DriverName;
  /** Everything but `engine` and `admin`. */
  readonly config: object;
  /** Where the configuration is written. */
  readonly file: string;
  /** Open files at most. Default: as the test's own process. */
  readonly maxFiles?: number;
}

/** Counted by the gateway itself. */
export interface GatewayTotals {
  readonly received: number;
  readonly open: number;
  readonly queued: number;
  readonly outcomes: Readonly<Record<string, number>>;
  readonly clients: number;
}

/** What is held after garbage was collected. */
export interface Holdings extends Footprint {
  /** JavaScript's heap and what it owns outside of it. */
  readonly heapBytes: number;
}

export class GatewayProcess {
  readonly driver: DriverName;
  readonly #process: CliProcess;
  readonly #ports: readonly number[];
  readonly #adminPort: number;

  private constructor(driver: DriverName, process: CliProcess, ports: readonly number[], adminPort: number) {
    this.driver = driver;
    this.#process = process;
    this.#ports = ports;
    this.#adminPort = adminPort;
  }

  /** Ready, and on the engine that was asked for. */
  static async start({ driver, config, file, maxFiles }: GatewayProcessOptions): Promise<GatewayProcess> {
    writeFileSync(file, JSON.stringify({ log: { level: 'error' }, ...config, engine: driver, admin: { port: 0 } }));
    const command = maxFiles === undefined ? [] : ['bash', '-c', `ulimit -n ${maxFiles} && exec "$@"`, 'bash'];
    const process = startCli(['start', '--config', file], {
      command,
      env: { NODE_OPTIONS: `--import=${GC_ON_SIGNAL}` },
    });
    const [, listening, admin, engine] = await process.match(/listening on (.*), admin on [^ ]*:(\d+) \(([a-z_]+)/);
    if (engine !== driver) throw new Error(`${driver} was asked for and ${engine} runs`);
    const ports = listening.split(', ').map((address) => Number(address.slice(address.lastIndexOf(':') + 1)));
    return new GatewayProcess(driver, process, ports, Number(admin));
  }

  get pid(): number {
    return this.#process.child.pid!;
  }

  /** Of a listener, in the order of the configuration. */
  port(listener = 0): number {
    return this.#ports[listener];
  }

  /** Lines of its output that match. */
  said(pattern: RegExp): string[] {
    return this.#process.said(pattern);
  }

  signal(name: NodeJS.Signals): void {
    this.#process.signal(name);
  }

  get ended(): Promise<Ended> {
    return this.#process.ended;
  }

  /** One value of /metrics: `ringway_tasks_total{outcome="answered"}`. 0 where it does not stand there. */
  async metric(name: string): Promise<number> {
    return (await this.metrics()).get(name) ?? 0;
  }

  async metrics(): Promise<Map<string, number>> {
    const lines = (await this.#page('/metrics')).split('\n').filter((line) => line !== '' && !line.startsWith('#'));
    return new Map(
      lines.map((line) => {
        const space = line.lastIndexOf(' ');
        return [line.slice(0, space), Number(line.slice(space + 1))];
      }),
    );
  }

  async totals(): Promise<GatewayTotals> {
    const metrics = await this.metrics();
    const outcomes: Record<string, number> = {};
    let clients = 0;
    for (const [name, value] of metrics) {
      const outcome = /^ringway_tasks_total\{outcome="(\w+)"\}/.exec(name);
      if (outcome !== null) outcomes[outcome[1]] = value;
      if (name.startsWith('ringway_client_connections')) clients += value;
    }
    const read = (name: string): number => metrics.get(name) ?? 0;
    return {
      received: read('ringway_tasks_received_total'),
      open: read('ringway_tasks_open'),
      queued: read('ringway_tasks_queued'),
      outcomes,
      clients,
    };
  }

  /** How many of its links to backends are established. */
  async links(): Promise<number> {
    let links = 0;
    for (const [name, value] of await this.metrics()) if (name.startsWith('ringway_backend_links')) links += value;
    return links;
  }

  /** After a garbage collection. */
  async holdings(): Promise<Holdings> {
    // Twice: what the first one finalizes gives its memory back in the second.
    for (let i = 0; i < 2; i++) {
      this.signal('SIGUSR2');
      await this.#page('/health');
    }
    const metrics = await this.metrics();
    const read = (name: string): number => metrics.get(name) ?? 0;
    const heapBytes = read('nodejs_heap_size_used_bytes') + read('nodejs_external_memory_bytes');
    return { ...footprint(this.pid), heapBytes };
  }

  async #page(path: string): Promise<string> {
    const request = get({ host: '127.0.0.1', port: this.#adminPort, path, agent: false });
    const [response] = await once(request, 'response');
    let text = '';
    for await (const chunk of response) text += chunk;
    return text;
  }
}
