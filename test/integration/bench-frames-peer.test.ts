// The echo peer is what Ringway's createServer is measured against: it must do what that does, or the comparison is of different work.
import type { AddressInfo, Server } from 'node:net';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { endBenchPrograms, load, whyNoBenchPrograms } from '../support/bench-programs.js';
import { lengthPrefixed, TcpPeer } from '../support/tcp-peer.js';

interface Connection {
  send(payload: Uint8Array): boolean;
  pause(): void;
  resume(): void;
  expire(nowMs: number): void;
}
interface Handlers {
  frame(connection: Connection, payload: Buffer): void;
  drain?(connection: Connection): void;
}
const { createFrameServer } = (await import(join(process.cwd(), 'bench/peers/node-net-frames.mjs'))) as {
  createFrameServer(options: { maxFrameLength?: number; maxConnections?: number }, handlers: Handlers): Server;
};

const servers: Server[] = [];
const peers: TcpPeer[] = [];

afterEach(async () => {
  vi.useRealTimers();
  for (const peer of peers.splice(0)) peer.destroy();
  await endBenchPrograms();
  await Promise.all(servers.splice(0).map((server) => new Promise((resolve) => server.close(resolve))));
});

const echo: Handlers = {
  frame(connection, payload) {
    if (!connection.send(payload)) connection.pause();
  },
  drain: (connection) => connection.resume(),
};

async function serve(handlers: Handlers, options = {}): Promise<number> {
  const server = createFrameServer(options, handlers);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}

async function connect(port: number, options = {}): Promise<TcpPeer> {
  const peer = await TcpPeer.connect({ host: '127.0.0.1', port }, options);
  peers.push(peer);
  return peer;
}

describe('the frame server on node:net', () => {
  it('hands payloads over without their length, and they may be kept', async () => {
    const kept: Buffer[] = [];
    const peer = await connect(
      await serve({
        frame(connection, payload) {
          kept.push(payload);
          connection.send(payload);
        },
      }),
    );
    const texts = ['first', '', 'third', 'x'.repeat(5_000)];
    const bytes = Buffer.concat(texts.map((text) => lengthPrefixed(text)));
    peer.write(bytes);
    expect(await peer.bytes(bytes.length)).toEqual(bytes);
    peer.write(bytes);
    await peer.bytes(2 * bytes.length);
    expect(kept.map(String)).toEqual([...texts, ...texts]);
  });

  it('encodes whatever is sent: another payload, several, later ones, small between large', async () => {
    const later: Connection[] = [];
    const peer = await connect(
      await serve({
        frame(connection) {
          for (const size of [3, 100_000, 0, 7, 3_000]) connection.send(Buffer.alloc(size, 'a'));
          later.push(connection);
        },
      }),
    );
    const expected = Buffer.concat([3, 100_000, 0, 7, 3_000].map((size) => lengthPrefixed(Buffer.alloc(size, 'a'))));
    peer.write(Buffer.concat([lengthPrefixed('one'), lengthPrefixed('two')]));
    expect((await peer.bytes(2 * expected.length)).equals(Buffer.concat([expected, expected]))).toBe(true);
    later[0].send(Buffer.from('unasked'));
    const unasked = lengthPrefixed('unasked');
    const all = await peer.bytes(2 * expected.length + unasked.length);
    expect(all.subarray(-unasked.length)).toEqual(unasked);
  });

  it('answers frames that come byte by byte', async () => {
    const peer = await connect(await serve(echo));
    const bytes = Buffer.concat([lengthPrefixed('in pieces'), lengthPrefixed(''), lengthPrefixed('whole')]);
    for (const byte of bytes) await peer.written(Buffer.of(byte));
    expect(await peer.bytes(bytes.length)).toEqual(bytes);
  });

  it('closes a connection whose frame is too long, and refuses one too many', async () => {
    const port = await serve(echo, { maxFrameLength: 10, maxConnections: 1 });
    const peer = await connect(port);
    peer.write(lengthPrefixed('1234567890'));
    await peer.bytes(14);
    const other = await connect(port);
    await other.end();
    peer.write(lengthPrefixed('12345678901'));
    await peer.end();
  });

  it('ends a connection whose frame does not become whole, unless it was not read', async () => {
    const seen: Connection[] = [];
    const port = await serve({
      frame(connection, payload) {
        seen.push(connection);
        connection.send(payload);
      },
    });
    const peer = await connect(port);
    peer.write(Buffer.concat([lengthPrefixed('a'), lengthPrefixed('half').subarray(0, 6)]));
    await peer.bytes(5);
    const [connection] = seen;
    connection.expire(performance.now() + 29_000);
    peer.write(Buffer.concat([lengthPrefixed('half').subarray(6), lengthPrefixed('again').subarray(0, 4)]));
    expect(await peer.bytes(13)).toEqual(Buffer.concat([lengthPrefixed('a'), lengthPrefixed('half')]));
    connection.pause();
    connection.expire(performance.now() + 100_000);
    connection.resume();
    connection.expire(performance.now() + 29_000);
    expect(peer.ended).toBe(false);
    connection.expire(performance.now() + 31_000);
    await peer.end();
  });

  it('does not read on while a client does not take its answers', async () => {
    let taken = 0;
    let waiting = 0;
    const port = await serve({
      frame(connection, payload) {
        taken += payload.length;
        if (!connection.send(payload)) {
          ++waiting;
          connection.pause();
        }
      },
      drain: (connection) => connection.resume(),
    });
    const peer = await connect(port, { paused: true });
    const frame = lengthPrefixed(Buffer.alloc(262_144, 'y'));
    const frames = 200;
    for (let i = 0; i < frames; ++i) peer.write(frame);
    const other = await connect(port);
    other.write(lengthPrefixed('other'));
    await other.bytes(9);
    await vi.waitFor(() => expect(waiting).toBeGreaterThan(0));
    expect(taken).toBeLessThan(frames * 262_144);
    peer.socket.resume();
    expect((await peer.bytes(frames * frame.length)).equals(Buffer.concat(Array(frames).fill(frame)))).toBe(true);
  });

  it.skipIf(whyNoBenchPrograms !== undefined)('answers everything right under load', async () => {
    const port = await serve(echo);
    for (const args of [
      ['--connections', 50, '--depth', 16],
      ['--connections', 20, '--depth', 8, '--size', '64:70,3000:20,16384:9,262144:1'],
      ['--connections', 10, '--mode', 'churn'],
    ]) {
      expect(await load(port, ...args)).toMatchObject({ status: 0, errors: 0 });
    }
  });
});
