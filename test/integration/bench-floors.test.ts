// The floors do as little as they can, but what they do is a frame server's work: a figure from one that lost bytes or
// answered half frames would be worth nothing.
import { afterEach, describe, expect, it } from 'vitest';
import {
  type BenchServer,
  endBenchPrograms,
  load,
  startBenchServer,
  whyNoBenchPrograms,
} from '../support/bench-programs.js';
import { lengthPrefixed, TcpPeer } from '../support/tcp-peer.js';

const CANNOT = /^ringway-floor-uring: (io_uring_setup|register ring|buffers): /;

if (whyNoBenchPrograms !== undefined) console.log(`the floors: not run: ${whyNoBenchPrograms}`);

/** Why the kernel does not let it run, by really trying; undefined where it does. */
async function whyNot(program: string): Promise<string | undefined> {
  if (whyNoBenchPrograms !== undefined) return whyNoBenchPrograms;
  const started = await startBenchServer(program);
  await endBenchPrograms();
  return typeof started === 'string' && CANNOT.test(started) ? started.trim() : undefined;
}

const peers: TcpPeer[] = [];

afterEach(async () => {
  for (const peer of peers.splice(0)) peer.destroy();
  await endBenchPrograms();
});

for (const program of ['ringway-floor-uring', 'ringway-floor-epoll']) {
  const reason = await whyNot(program);
  if (reason !== undefined) console.log(`${program}: not run: ${reason}`);

  describe.skipIf(reason !== undefined)(program, () => {
    const start = async (): Promise<BenchServer> => {
      const started = await startBenchServer(program);
      if (typeof started === 'string') throw new Error(started);
      return started;
    };
    const connect = async ({ port }: BenchServer): Promise<TcpPeer> => {
      const peer = await TcpPeer.connect({ host: '127.0.0.1', port });
      peers.push(peer);
      return peer;
    };

    it('answers a frame when it is whole, and not before', async () => {
      const server = await start();
      const peer = await connect(server);
      const frame = lengthPrefixed('a frame in two parts');
      await peer.written(frame.subarray(0, 10));
      // Another connection's echo says that the server has seen the part.
      const other = await connect(server);
      other.write(lengthPrefixed('other'));
      expect(await other.bytes(9)).toEqual(lengthPrefixed('other'));
      expect(peer.receivedBytes).toBe(0);
      peer.write(frame.subarray(10));
      expect(await peer.bytes(frame.length)).toEqual(frame);
    });

    it('answers frames that come byte by byte, empty ones too', async () => {
      const peer = await connect(await start());
      const frames = Buffer.concat([lengthPrefixed('first'), lengthPrefixed(''), lengthPrefixed('third')]);
      for (const byte of frames) await peer.written(Buffer.of(byte));
      expect(await peer.bytes(frames.length)).toEqual(frames);
    });

    it('answers frames together with the beginning of the next', async () => {
      const peer = await connect(await start());
      const large = lengthPrefixed(Buffer.alloc(1_000_000, 'x'));
      const bytes = Buffer.concat([lengthPrefixed('small'), large, lengthPrefixed('last')]);
      await peer.written(bytes.subarray(0, 500_000));
      await peer.written(bytes.subarray(500_000));
      expect((await peer.bytes(bytes.length)).equals(bytes)).toBe(true);
    });

    it('answers what came before the end of the stream, then closes', async () => {
      const peer = await connect(await start());
      peer.write(lengthPrefixed('before the end'));
      peer.fin();
      await peer.end();
      expect(peer.received).toEqual(lengthPrefixed('before the end'));
    });

    it('goes on when clients reset, also with answers under way', async () => {
      const server = await start();
      for (let i = 0; i < 20; ++i) {
        const peer = await connect(server);
        await peer.written(lengthPrefixed(Buffer.alloc(300_000)));
        peer.reset();
      }
      const peer = await connect(server);
      peer.write(lengthPrefixed('still here'));
      expect(await peer.bytes(14)).toEqual(lengthPrefixed('still here'));
    });

    it('keeps what a client does not take until it does', async () => {
      const server = await start();
      const peer = await TcpPeer.connect({ host: '127.0.0.1', port: server.port }, { paused: true });
      peers.push(peer);
      const frame = lengthPrefixed(Buffer.alloc(262_144, 'y'));
      for (let i = 0; i < 20; ++i) peer.write(frame);
      const other = await connect(server);
      other.write(frame);
      expect((await other.bytes(frame.length)).equals(frame)).toBe(true);
      peer.socket.resume();
      expect((await peer.bytes(20 * frame.length)).equals(Buffer.concat(Array(20).fill(frame)))).toBe(true);
    });

    it.each([
      ['many connections', ['--connections', 1_000]],
      ['many requests in flight', ['--connections', 20, '--depth', 64]],
      ['large frames', ['--connections', 20, '--depth', 4, '--size', 262_144]],
      ['mixed sizes', ['--connections', 50, '--depth', 8, '--size', '64:90,4096:9,262144:1']],
      ['new connections', ['--connections', 20, '--mode', 'churn', '--size', '64:9,100000:1']],
    ])('answers everything right with %s', async (_what, args) => {
      const server = await start();
      expect(await load(server.port, ...args, '--pid', server.child.pid!)).toMatchObject({ status: 0, errors: 0 });
    });

    it('ends on SIGTERM', async () => {
      const { child } = await start();
      const ended = new Promise((resolve) => child.once('exit', (_status, signal) => resolve(signal)));
      child.kill('SIGTERM');
      expect(await ended).toBe('SIGTERM');
    });
  });
}
