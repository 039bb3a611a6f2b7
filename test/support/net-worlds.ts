/**
 * Each scenario runs on `node:net` and on `ringway/net`, and both must tell the same: per actor the same events in the same
 * order with the same arguments, and the same answers of calls.
 */
import { createHash } from 'node:crypto';
import nodeNet, { type AddressInfo, type Server, type Socket } from 'node:net';
import { afterEach, describe, expect, test, vi } from 'vitest';

export type Net = typeof nodeNet;
export type NativeDriver = 'io_uring' | 'epoll';

const DRIVERS: readonly NativeDriver[] = ['io_uring', 'epoll'];
const required = (process.env.TEST_ENGINES ?? '').split(',').filter((name) => name !== '');
/** A scenario that has not ended by then tells what it has seen. */
const PATIENCE_MS = 10_000;

/** `ringway/net` on this driver: a copy of the module of its own, with an engine of its own. */
export async function loadNet(driver: NativeDriver | 'portable'): Promise<Net> {
  const before = process.env.RINGWAY_ENGINE;
  vi.resetModules();
  process.env.RINGWAY_ENGINE = driver;
  try {
    const net = await import('../../src/net/index.js');
    if (net.engine.name !== driver) throw new Error(`${driver} was asked for and ${net.engine.name} runs`);
    return net as unknown as Net;
  } finally {
    if (before === undefined) delete process.env.RINGWAY_ENGINE;
    else process.env.RINGWAY_ENGINE = before;
  }
}

/** The log of one actor: what happened to it, in order. */
type Logs = Record<string, unknown[]>;

export class World {
  readonly net: Net;
  readonly isNode: boolean;
  readonly logs: Logs = {};
  readonly #cleanUps: (() => unknown)[] = [];
  readonly #names = new Map<number, string>();
  readonly #open = new Set<Socket>();

  constructor(net: Net) {
    this.net = net;
    this.isNode = net === nodeNet;
  }

  /** Adds to an actor's log. Data events that follow each other are one: how bytes are cut is nobody's promise. */
  log(actor: string, ...what: unknown[]): void {
    const log = (this.logs[actor] ??= []);
    const last = log[log.length - 1];
    const [event, chunk] = what;
    if (event !== 'data' || !Buffer.isBuffer(chunk)) {
      log.push(what.map((value) => this.#plain(value)));
    } else if (last instanceof Received) {
      last.add(chunk);
    } else {
      log.push(new Received(chunk));
    }
  }

  /** Runs it and logs its answer or its error. */
  try<T>(actor: string, name: string, call: () => T): T | undefined {
    try {
      const answer = call();
      this.log(actor, name, answer);
      return answer;
    } catch (error) {
      this.log(actor, name, 'throws', error);
      return undefined;
    }
  }

  /**
   * Logs every event of a socket but `drain`, which tells what the kernel took; `data` only where asked, since listening
   * for it makes it flow.
   */
  watch<S extends Socket>(actor: string, socket: S, { data = true } = {}): S {
    this.cleanUp(() => socket.destroy());
    this.#open.add(socket);
    socket.once('close', () => this.#open.delete(socket));
    const events = [
      'lookup',
      'connectionAttempt',
      'connectionAttemptFailed',
      'connectionAttemptTimeout',
      'connect',
      'ready',
      'end',
      'finish',
      'timeout',
      'error',
      'close',
    ];
    for (const event of events) socket.on(event, (...args) => this.log(actor, event, ...args));
    if (data) socket.on('data', (chunk) => this.log(actor, 'data', chunk));
    return socket;
  }

  watchServer<S extends Server>(actor: string, server: S): S {
    this.cleanUp(() => server.close());
    for (const event of ['listening', 'error', 'close', 'drop']) {
      server.on(event, (...args) => this.log(actor, event, ...args));
    }
    server.on('connection', () => this.log(actor, 'connection'));
    return server;
  }

  /** A server that listens on a free port of 127.0.0.1; its connections are watched as `peer`, `peer 2`, … */
  async listen(
    options: object = {},
    onConnection: (socket: Socket) => void = () => {},
    watched: { data?: boolean } = {},
  ): Promise<{ server: Server; port: number }> {
    let count = 0;
    const server = this.net.createServer(options, (socket) => {
      count++;
      onConnection(this.watch(count === 1 ? 'peer' : `peer ${count}`, socket, watched));
    });
    this.cleanUp(() => server.close());
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    this.name(port, 'the port');
    return { server, port };
  }

  connect(port: number, options: object = {}, watched: { data?: boolean } = {}): Socket {
    return this.watch('client', this.net.connect({ host: '127.0.0.1', port, ...options } as never), watched);
  }

  /** Every watched socket has closed. */
  async allClosed(): Promise<void> {
    while (this.#open.size > 0) {
      const [socket] = this.#open;
      await once(socket, 'close');
      // Its other listeners, and the sockets that were made meanwhile.
      await new Promise(setImmediate);
    }
  }

  /** How this port is called in logs. */
  name(port: number, name: string): void {
    this.#names.set(port, name);
  }

  cleanUp(action: () => unknown): void {
    this.#cleanUps.push(action);
  }

  async end(): Promise<void> {
    for (const action of this.#cleanUps.splice(0).reverse()) await action();
  }

  #plain(value: unknown): unknown {
    if (typeof value === 'number') return this.#names.get(value) ?? (value > 32_767 ? 'a port' : value);
    if (value instanceof Error) return this.#plainError(value);
    if (value instanceof Uint8Array) return brief(value);
    if (typeof value === 'function') return 'a function';
    if (Array.isArray(value)) return value.map((one) => this.#plain(one));
    if (typeof value === 'string') return this.#withoutPorts(value);
    if (typeof value !== 'object' || value === null) return value;
    const maker = value.constructor;
    if (maker !== undefined && maker !== Object) return `a ${maker.name}`;
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, this.#plain(one)]));
  }

  #plainError(error: Error): unknown {
    const shown: Record<string, unknown> = { name: error.name, message: this.#withoutPorts(error.message) };
    for (const [key, value] of Object.entries(error)) shown[key] = this.#plain(value);
    if (error instanceof AggregateError) shown.errors = error.errors.map((one) => this.#plain(one));
    return shown;
  }

  #withoutPorts(text: string): string {
    return text.replace(/\b\d{5}\b/g, (digits) => this.#names.get(Number(digits)) ?? 'a port');
  }
}

/** What data events that followed each other brought. */
class Received {
  readonly #hash = createHash('sha1');
  #text = '';
  #length = 0;

  constructor(chunk: Buffer) {
    this.add(chunk);
  }

  add(chunk: Buffer): void {
    this.#hash.update(chunk);
    this.#length += chunk.length;
    if (this.#text.length <= 64) this.#text += chunk.toString('latin1', 0, 65);
  }

  toJSON(): unknown {
    const shown = this.#length <= 64 ? this.#text : `${this.#length} bytes, ${this.#hash.copy().digest('hex')}`;
    return ['data', shown];
  }
}

function brief(bytes: Uint8Array): string {
  const text = Buffer.from(bytes).toString('latin1');
  return text.length <= 64
    ? text
    : `${bytes.length} bytes, sum ${bytes.reduce((sum, byte) => (sum * 31 + byte) | 0, 7)}`;
}

export type Scenario = (world: World) => unknown;

export interface NetSuite {
  /** The scenario's logs must be the same on node:net and here. */
  same(name: string, scenario: Scenario): void;
  /** Something that holds here only, or that needs its own expectations. */
  own(name: string, check: (world: World, driver: NativeDriver) => unknown): void;
}

/** Runs the suite once for each native driver. */
export function describeNets(name: string, suite: (nets: NetSuite) => void): void {
  for (const driver of DRIVERS) {
    if (required.length > 0 && !required.includes(driver)) continue;
    describe(`${name} on ${driver}`, () => {
      let world: World | undefined;
      let net: Net | undefined;
      const load = async () => (net ??= await loadNet(driver));
      afterEach(async () => {
        await world?.end();
        world = undefined;
      });
      const run = async (on: Net, scenario: Scenario): Promise<Logs> => {
        world = new World(on);
        await inTime(world, Promise.resolve(scenario(world)));
        await world.end();
        return JSON.parse(JSON.stringify(world.logs, (_, value) => (value === undefined ? 'undefined' : value)));
      };
      suite({
        same(title, scenario) {
          test(title, async () => {
            const expected = await run(nodeNet, scenario);
            expect(Object.keys(expected), 'the scenario must log something').not.toEqual([]);
            expect(await run(await load(), scenario)).toEqual(expected);
          });
        },
        own(title, check) {
          test(title, async () => {
            world = new World(await load());
            await inTime(world, Promise.resolve(check(world, driver)));
          });
        },
      });
    });
  }
}

async function inTime(world: World, work: Promise<unknown>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => {
      const seen = JSON.stringify(world.logs, undefined, 1);
      reject(new Error(`${world.isNode ? 'node:net' : 'ringway/net'} has not come to an end; it told: ${seen}`));
    }, PATIENCE_MS);
  });
  try {
    await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

interface Emitter {
  once(event: string, listener: (...args: unknown[]) => void): unknown;
}

/** The event's arguments. */
export function once(emitter: Emitter, event: string): Promise<unknown[]> {
  return new Promise((resolve) => emitter.once(event, (...args) => resolve(args)));
}
