// Bad input to the commands, as processes on each engine: addresses that cannot be had, descriptors that run out, what a drain cuts.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { readdirSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { type CliProcess, endAll, runCli, startCli } from '../support/cli-process.js';
import { describeEngines } from '../support/engines.js';
import { TcpPeer } from '../support/tcp-peer.js';

let folder: string;
const peers: TcpPeer[] = [];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ringway-bad-'));
});

afterEach(async () => {
  for (const peer of peers.splice(0)) peer.destroy();
  await endAll();
  await rm(folder, { recursive: true, force: true });
});

async function configFile(engine: string, listener: string, backendPort = 9): Promise<string> {
  const file = join(folder, 'gateway.yaml');
  const lines = [
    `engine: ${engine}`,
    'admin: { port: 0 }',
    'drainGraceMs: 50',
    `listeners: [${listener}]`,
    `pools: { echo: { servers: [{ address: "127.0.0.1:${backendPort}" }] } }`,
    'routes: [{ route: 0, pool: echo }]',
  ];
  await writeFile(file, lines.join('\n'));
  return file;
}

async function connect(port: number): Promise<TcpPeer> {
  const peer = await TcpPeer.connect({ host: '127.0.0.1', port });
  peers.push(peer);
  return peer;
}

const descriptors = (command: CliProcess): number => readdirSync(`/proc/${command.child.pid}/fd`).length;

async function metric(admin: string, name: string): Promise<number> {
  const text = await (await fetch(`http://${admin}/metrics`)).text();
  return Number(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, 'm').exec(text)?.[1]);
}

describeEngines('bad input to commands', (engine) => {
  const start = async (listener: string) => runCli(['start', '--config', await configFile(engine, listener)]);

  test('a port in use: one line, status 1', async () => {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const { port } = server.address() as { port: number };
    const { status, stdout, stderr } = await start(`{ port: ${port} }`);
    server.close();
    expect({ status, stdout }).toEqual({ status: 1, stdout: '' });
    expect(stderr.trimEnd().split('\n').at(-1)).toBe(
      `ringway: 127.0.0.1:${port} is already in use by another program: stop it or choose another port`,
    );
  });

  test('a socket that a killed program left behind: said as what it may be, and left alone', async () => {
    const path = join(folder, 'left.sock');
    const args = ['backend', '--echo', '--path', path, '--engine', engine];
    const first = startCli(args);
    await first.match(/listening/);
    first.signal('SIGKILL');
    await first.ended;
    expect(readdirSync(folder)).toContain('left.sock');
    const { status, stderr } = await runCli(args);
    expect(status).toBe(1);
    expect(stderr).toBe(
      `ringway: ${path} is already there: stop the program that listens on it, or remove what a killed one left behind\n`,
    );
  });

  test('a socket in a folder that is not there', async () => {
    const path = join(folder, 'none', 'a.sock');
    const { status, stderr } = await runCli(['backend', '--echo', '--path', path, '--engine', engine]);
    expect(status).toBe(1);
    expect(stderr).toBe(`ringway: ${path}: no such file\n`);
  });

  test('an address of another machine', async () => {
    const { status, stderr } = await start('{ host: 192.0.2.1, port: 4 }');
    expect(status).toBe(1);
    expect(stderr).toMatch(/^ringway: 192\.0\.2\.1(:4)? is not an address of this machine$/m);
  });

  test.skipIf(process.platform !== 'linux')(
    'descriptors run out: who is connected goes on, who comes then waits or is closed, and later ones are served',
    async () => {
      const backend = startCli(['backend', '--port', '0', '--echo', '--engine', 'portable']);
      const file = await configFile(engine, '{ port: 0, protocol: lines }', await backend.port());
      const command = ['sh', '-c', 'ulimit -n 120; exec "$@"', 'sh'];
      const gateway = startCli(['start', '--config', file], { command });
      const [, port, admin] = await gateway.match(/^listening on 127\.0\.0\.1:(\d+), admin on (\S+) /m);
      const good = await connect(Number(port));
      const ask = async (text: string) => {
        const before = good.receivedBytes;
        good.write(`${text}\n`);
        const received = await good.bytes(before + text.length + 1);
        expect(received.subarray(before).toString()).toBe(`${text}\n`);
      };
      await ask('before');
      const atStart = descriptors(gateway);

      const crowd: TcpPeer[] = [];
      for (let i = 0; i < 300; i++) crowd.push(await connect(Number(port)));
      await expect.poll(() => descriptors(gateway), { timeout: 10_000 }).toBeGreaterThan(110);
      for (let i = 0; i < 20; i++) await ask(`meanwhile ${i}`);

      for (const peer of crowd) peer.destroy();
      await expect.poll(() => descriptors(gateway), { timeout: 10_000 }).toBeLessThanOrEqual(atStart);
      await ask('afterwards');
      const late = await connect(Number(port));
      late.write('late\n');
      expect((await late.bytes(5)).toString()).toBe('late\n');
      // libuv closes what it cannot accept, and tells nobody.
      const errors = await metric(admin, 'ringway_engine_accept_errors_total');
      if (engine === 'portable') expect(errors).toBe(0);
      else expect(errors).toBeGreaterThan(0);
      gateway.signal('SIGTERM');
      expect(await gateway.ended).toMatchObject({ status: 0 });
    },
  );

  test('what a drain cuts is told: in the log, and in one line', async () => {
    const module = join(folder, 'hang.mjs');
    await writeFile(module, `export default () => { console.log('a task is here'); return new Promise(() => {}); };`);
    const backend = startCli([
      'backend',
      '--port',
      '0',
      '--handler',
      module,
      '--engine',
      engine,
      '--drain-grace-ms',
      '1',
    ]);
    const file = await configFile(engine, '{ port: 0, protocol: lines }', await backend.port());
    const gateway = startCli(['start', '--config', file]);
    const client = await connect(await gateway.port());
    client.write('never answered\n');
    await backend.match(/a task is here/);
    gateway.signal('SIGTERM');
    await client.end();
    expect(client.received.toString()).toBe('ERR UNAVAILABLE the gateway shut down before the backend answered\n');
    const { status, stderr } = await gateway.ended;
    expect(status).toBe(1);
    const lines = stderr.split('\n');
    const drained = lines.find((line) => line.includes('"gateway.drained"')) ?? '{}';
    expect(JSON.parse(drained)).toMatchObject({ level: 'warn', cut: 1, finished: 0 });
    expect(lines).toContain('ringway: the grace period cut 1 request');
  });
});
