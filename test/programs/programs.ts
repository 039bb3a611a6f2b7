/**
 * Real programs, unpatched, on sockets and servers of `node:net` (what they were written for) and of `ringway/net` on each native
 * driver. The same test runs on all.
 */
import nodeNet, { type AddressInfo, type Server, type Socket } from 'node:net';
import { afterEach, describe, test } from 'vitest';
import { loadNet, type NativeDriver, type Net, once } from '../support/net-worlds.js';

const NETS = ['node:net', 'io_uring', 'epoll'] as const;
const required = (process.env.TEST_ENGINES ?? '').split(',').filter((name) => name !== '');

/** One test's servers, sockets and programs; what it opens is closed when it ends. */
export class Stage {
  readonly net: Net;
  readonly #endings: (() => unknown)[] = [];

  constructor(net: Net) {
    this.net = net;
  }

  /** A server on a free port of 127.0.0.1 that hands each accepted socket over. */
  async serve(onConnection: (socket: Socket) => void, options: object = {}): Promise<{ server: Server; port: number }> {
    const server = this.net.createServer(options, (socket) => {
      this.atEnd(() => socket.destroy());
      onConnection(socket);
    });
    this.atEnd(() => server.close());
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    return { server, port: (server.address() as AddressInfo).port };
  }

  /** A socket to it, not yet connected. */
  connect(port: number): Socket {
    const socket = this.net.connect({ port, host: '127.0.0.1' });
    this.atEnd(() => socket.destroy());
    return socket;
  }

  atEnd(ending: () => unknown): void {
    this.#endings.push(ending);
  }

  async end(): Promise<void> {
    for (const ending of this.#endings.splice(0).reverse()) await ending();
  }
}

export type Play = (title: string, act: (stage: Stage) => Promise<void>, timeoutMs?: number) => void;

/** Runs each test of the program on each net. */
export function describeProgram(program: string, plays: (play: Play) => void): void {
  for (const name of NETS) {
    if (required.length > 0 && !required.includes(name)) continue;
    describe(`${program} on ${name === 'node:net' ? name : `ringway/net, ${name}`}`, () => {
      let stage: Stage | undefined;
      let net: Net | undefined;
      afterEach(async () => {
        await stage?.end();
        stage = undefined;
      });
      plays((title, act, timeoutMs) => {
        test(
          title,
          async () => {
            net ??= name === 'node:net' ? nodeNet : await loadNet(name satisfies NativeDriver);
            stage = new Stage(net);
            await act(stage);
          },
          timeoutMs,
        );
      });
    });
  }
}

/** `length` bytes that repeat after a prime number of them, in chunks: a piece lost, doubled or moved shows. */
export function* pattern(length: number, chunkBytes = 64 * 1024): Generator<Buffer> {
  const period = 65_521;
  const source = Buffer.alloc(period + chunkBytes);
  for (let i = 0; i < source.length; i++) source[i] = ((i % period) * 31 + ((i % period) >> 8)) & 0xff;
  for (let at = 0; at < length; at += chunkBytes) {
    const from = at % period;
    yield source.subarray(from, from + Math.min(chunkBytes, length - at));
  }
}

/** Compares what comes with `pattern`, without keeping it. */
export class PatternCheck {
  bytes = 0;
  wrongAt = -1;
  readonly #expected: Generator<Buffer>;
  #rest: Buffer = Buffer.alloc(0);

  constructor(length: number) {
    this.#expected = pattern(length);
  }

  add(chunk: Buffer): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#rest.length === 0) this.#rest = (this.#expected.next().value as Buffer | undefined) ?? Buffer.alloc(0);
      const length = Math.min(this.#rest.length, chunk.length - at);
      const same = length > 0 && this.#rest.subarray(0, length).equals(chunk.subarray(at, at + length));
      if (!same) {
        if (this.wrongAt === -1) this.wrongAt = this.bytes;
        this.bytes += chunk.length - at;
        return;
      }
      this.#rest = this.#rest.subarray(length);
      this.bytes += length;
      at += length;
    }
  }
}

export { once };
