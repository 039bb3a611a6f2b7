// The Python examples, as a user runs them: a backend behind a gateway, a client in front of it.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, test } from 'vitest';
import { connectClient } from '../../src/client/connect-client.js';
import type { Client } from '../../src/client/types.js';
import { describeEngines } from '../support/engines.js';
import { RmpPeer } from '../support/rmp-peer.js';
import { type RunningGateway, startGateway } from '../support/sdk-gateway.js';

const FOLDER = fileURLToPath(new URL('../../examples/python/', import.meta.url));

function pythonMissing(): string | undefined {
  const { error, status, stdout } = spawnSync('python3', ['-c', 'import sys; print(*sys.version_info[:2])'], {
    encoding: 'utf8',
  });
  if (error !== undefined || status !== 0) return 'python3 is not installed';
  const [major, minor] = stdout.split(' ').map(Number);
  return major === 3 && minor >= 9 ? undefined : `python3 is ${major}.${minor}, 3.9 is needed`;
}

const missing = pythonMissing();
if (missing !== undefined) console.log(`Python examples are not tested: ${missing}`);

describeEngines('Python examples', (engine) => {
  const cleanUps: (() => unknown)[] = [];
  afterEach(async () => {
    for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
  });

  async function startBackend(): Promise<{ child: ChildProcess; port: number }> {
    const child = spawn('python3', [`${FOLDER}backend.py`, '0'], { stdio: ['ignore', 'pipe', 'inherit'] });
    const ended = once(child, 'close');
    cleanUps.push(() => {
      child.kill('SIGKILL');
      return ended;
    });
    const [line] = (await once(createInterface({ input: child.stdout! }), 'line')) as [string];
    return { child, port: Number(/:(\d+)$/.exec(line)?.[1]) };
  }

  async function start(): Promise<{
    child: ChildProcess;
    running: RunningGateway;
    client: Client;
    backendPort: number;
  }> {
    const { child, port } = await startBackend();
    const running = await startGateway(engine, [port]);
    const client = connectClient(`rmp://127.0.0.1:${running.rmpPort}`, { engine });
    cleanUps.push(
      () => running.close(),
      () => client.close(),
    );
    return { child, running, client, backendPort: port };
  }

  test.skipIf(missing)('the backend answers requests, streams and errors through the gateway', async () => {
    const { client } = await start();
    const answers = await Promise.all(Array.from({ length: 50 }, (_, n) => client.request(`text ${n}`)));
    expect(answers.map(String)).toEqual(Array.from({ length: 50 }, (_, n) => `TEXT ${n}`));
    const words: string[] = [];
    for await (const word of client.stream('stream one two three')) words.push(word.toString());
    expect(words).toEqual(['ONE ', 'TWO ', 'THREE ']);
    await expect(client.request(Buffer.from([0xff]))).rejects.toMatchObject({ code: 'INTERNAL' });
    const meta = { tenant: 'acme' };
    expect((await client.request('with meta', { meta })).toString()).toBe('WITH META');
  });

  test.skipIf(missing)('the backend answers a ping, a cancel, a split frame, and closes at garbage', async () => {
    const { port } = await startBackend();
    const peer = await RmpPeer.connect(port);
    cleanUps.push(() => peer.destroy());
    peer.send({ kind: 1, id: 7, payload: 'first' }, { kind: 3, id: 7 });
    expect(await peer.next()).toMatchObject({ kind: 2, id: 7, arg: 1 });
    expect(await peer.untilPong()).toEqual([]);
    peer.send({ kind: 1, id: 7, payload: 'again' });
    expect((await peer.next()).payload.toString()).toBe('AGAIN');
    peer.socket.write(Buffer.from([0, 0, 0, 3]));
    peer.socket.write(Buffer.alloc(12));
    await peer.closed;
  });

  test.skipIf(missing)('the backend goes away on SIGTERM, finishes, and ends with status 0', async () => {
    const { child, client } = await start();
    expect((await client.request('a')).toString()).toBe('A');
    const ended = once(child, 'close');
    child.kill('SIGTERM');
    expect(await ended).toEqual([0, null]);
  });

  test.skipIf(missing)(
    'the backend finishes a stream after SIGTERM, and refuses what crossed its going-away',
    async () => {
      const { child, port } = await startBackend();
      const peer = await RmpPeer.connect(port);
      cleanUps.push(() => peer.destroy());
      const word = 'w'.repeat(100_000);
      const words = 150;
      peer.send({ kind: 1, id: 1, payload: `stream ${`${word} `.repeat(words)}` });
      expect((await peer.next()).id).toBe(1);
      const ended = once(child, 'close');
      // Of 15 MB the kernel takes less: the stream is in flight.
      peer.socket.pause();
      child.kill('SIGTERM');
      await expect
        .poll(() =>
          RmpPeer.connect(port).then(
            (other) => other.destroy(),
            () => 'refused',
          ),
        )
        .toBe('refused');
      peer.send({ kind: 1, id: 2, payload: 'crossed' });
      peer.socket.resume();
      const kinds: number[] = [];
      let partials = 1;
      for (let open = 2; open > 0; ) {
        const { kind, flags, id, arg } = await peer.next();
        if (kind === 6) peer.send({ kind: 7, id });
        if (kind !== 2) kinds.push(kind);
        else if (flags === 1) partials++;
        else {
          expect([id, flags, arg]).toEqual(id === 1 ? [1, 0, 0] : [2, 8, 14]);
          open--;
        }
      }
      expect(kinds).toEqual([8, 6]);
      expect(partials).toBe(words);
      expect(await ended).toEqual([0, null]);
    },
  );

  test.skipIf(missing)('the client prints its answers', async () => {
    const { running } = await start();
    const child = spawn('python3', [`${FOLDER}client.py`, String(running.rmpPort), 'one', 'two'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const chunks: Buffer[] = [];
    child.stdout.on('data', (chunk: Buffer) => chunks.push(chunk));
    expect(await once(child, 'close')).toEqual([0, null]);
    expect(Buffer.concat(chunks).toString().trim().split('\n').sort()).toEqual(['ONE', 'TWO']);
  });
});

test.skipIf(missing).each([
  [[], 'usage: python3 client.py PORT TEXT...'],
  [['9101'], 'usage: python3 client.py PORT TEXT...'],
  [['here', 'text'], 'usage: python3 client.py PORT TEXT...'],
  [['1', 'text'], 'no connection to port 1: Connection refused'],
])('the client called with %j says in one line what is wrong', (args, line) => {
  const { status, stdout, stderr } = spawnSync('python3', [`${FOLDER}client.py`, ...args], { encoding: 'utf8' });
  expect({ status, stdout, stderr }).toEqual({ status: 1, stdout: '', stderr: `${line}\n` });
});
