// The gateway on node:net that the relay rows compare with: its answers, and the bounds it claims.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, describe, expect, it } from 'vitest';
import { HEADER_BYTES } from '../../src/protocol/rmp.js';
import { endBenchPrograms, load, startBenchServer, whyNoBenchPrograms } from '../support/bench-programs.js';
import { lengthPrefixed, TcpPeer } from '../support/tcp-peer.js';

const RESPONSE = 2;
const RESOURCE_EXHAUSTED = 8;

const children: ChildProcess[] = [];
const peers: TcpPeer[] = [];

afterEach(async () => {
  for (const peer of peers.splice(0)) peer.destroy();
  const ended = children.splice(0).map((child) => {
    child.kill('SIGKILL');
    return once(child, 'close');
  });
  await Promise.all(ended);
  await endBenchPrograms();
});

/** In front of native backends with these arguments. */
async function gateway(protocol: 'plain' | 'rmp', ...backendArgs: (string | number)[]): Promise<number> {
  const backends = await Promise.all(
    [0, 1].map(() => startBenchServer('ringway-echo-backend', '--protocol', 'rmp', ...backendArgs)),
  );
  const ports = backends.map((one) => (typeof one === 'string' ? Promise.reject(new Error(one)) : one.port));
  const route = (await Promise.all(ports)).map((port) => `127.0.0.1:${port}`).join(',');
  const args = [
    'bench/peers/node-net-gateway.mjs',
    '--protocol',
    protocol,
    '--max-in-flight',
    '8192',
    `--route=0=${route}`,
  ];
  const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  let said = '';
  for await (const chunk of child.stdout) {
    said += chunk;
    const ready = /listening on \S+:(\d+) /.exec(said);
    if (ready !== null) return Number(ready[1]);
  }
  throw new Error(`the gateway ended: ${said}`);
}

async function connect(port: number): Promise<TcpPeer> {
  const peer = await TcpPeer.connect({ host: '127.0.0.1', port });
  peers.push(peer);
  return peer;
}

describe.skipIf(whyNoBenchPrograms !== undefined)('the gateway on node:net', () => {
  it.each(['plain', 'rmp'] as const)('answers %s clients right, whatever the sizes', async (protocol) => {
    const port = await gateway(protocol);
    for (const args of [
      ['--connections', 100, '--depth', 16],
      ['--connections', 20, '--depth', 8, '--size', '64:70,3000:20,16384:9,262144:1'],
    ]) {
      expect(await load(port, '--protocol', protocol, ...args)).toMatchObject({ status: 0, errors: 0 });
    }
  });

  it('does not read on from a plain client with 1,024 open requests, and answers all of them', async () => {
    const peer = await connect(await gateway('plain', '--delay-ms', 50));
    const count = 5_000;
    const all = Buffer.concat(
      Array.from({ length: count }, (_, index) => lengthPrefixed(`${index}`.padStart(200, '.'))),
    );
    peer.write(all);
    expect((await peer.bytes(all.length)).equals(all)).toBe(true);
  });

  it('refuses an rmp client its 1,025th open request', async () => {
    const peer = await connect(await gateway('rmp', '--delay-ms', 300));
    const request = (id: number) => {
      const frame = Buffer.alloc(HEADER_BYTES);
      frame.writeUInt32BE(HEADER_BYTES - 4, 0);
      frame[4] = 1;
      frame.writeUInt32BE(id, 8);
      return frame;
    };
    peer.write(Buffer.concat(Array.from({ length: 1_025 }, (_, id) => request(id))));
    const answer = await peer.bytes(HEADER_BYTES);
    expect([answer[4], answer.readUInt32BE(8), answer.readUInt32BE(12)]).toEqual([RESPONSE, 1_024, RESOURCE_EXHAUSTED]);
  });
});
