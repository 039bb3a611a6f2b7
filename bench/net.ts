/**
 * What a socket costs: the same echo server, `socket.on('data', (chunk) => socket.write(chunk))`, on `node:net` and on
 * `ringway/net`. CPU-µs per message of the server's process, medians of interleaved rounds; its memory per idle connection;
 * and how long a lone small message takes beside connections that stream.
 *
 *     node dist-tools/bench/net.js [--rounds N] [--seconds N] [--shape CxDxB,…] [--no-stream] [--no-idle] [--no-beside] [--engines A,B]
 *
 * A shape is connections × in flight × bytes: `500x1x64`. The load is `ringway-load`, which checks every byte.
 */
import { type ChildProcess, execFile, fork } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import nodeNet, { type AddressInfo } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { descriptorLimit, SPARE_DESCRIPTORS } from './descriptors.js';
import { root } from './root.js';

const STREAM_BYTES = 2 ** 30;
const IDLE_CONNECTIONS = 9_000;
/** Open before the first look: code is compiled, tables have grown. */
const EARLIER_CONNECTIONS = 200;
const IDLE_ROUNDS = 3;
/** V8's young generation grows by up to 48 MB while connections are opened, more than all of them take: here it stays at 3 MB. */
const IDLE_ARGV = ['--max-semi-space-size=1'];
/** Who streams beside the lone connection. */
const BESIDE = { connections: 40, depth: 16, bytes: 65_536 };
const MUST: Record<string, number> = { '500x1x64': 0.85 };
const MUST_OTHERWISE = 1.05;
const MUST_IDLE = 1;

/** `node`, or the engine under `ringway/net`. */
type Kind = string;

interface Server {
  readonly kind: Kind;
  readonly child: ChildProcess;
  readonly port: number;
}

// --- the server

async function serve(kind: Kind): Promise<void> {
  const net = kind === 'node' ? nodeNet : (await import('../src/net/index.js')).default;
  const server = net.createServer({ noDelay: true }, (socket) => {
    socket.on('data', (chunk) => socket.write(chunk));
    socket.on('error', () => socket.destroy());
  });
  server.listen({ port: 0, host: '127.0.0.1', backlog: 8192 }, () => {
    process.send?.({ port: (server.address() as AddressInfo).port });
  });
  process.on('message', () => {
    globalThis.gc?.();
    process.send?.({ cpuUs: cpuUs() });
  });
  process.on('disconnect', () => process.exit());
}

function cpuUs(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

async function start(kind: Kind, argv: readonly string[] = []): Promise<Server> {
  const env = kind === 'node' ? process.env : { ...process.env, RINGWAY_ENGINE: kind };
  const child = fork(fileURLToPath(import.meta.url), ['--serve', kind], {
    env,
    execArgv: ['--expose-gc', ...argv],
  });
  const [{ port }] = (await once(child, 'message')) as [{ port: number }];
  return { kind, child, port };
}

/** Behind a full garbage collection. */
async function ask({ child }: Server): Promise<{ cpuUs: number }> {
  const answer = once(child, 'message') as Promise<[{ cpuUs: number }]>;
  child.send('look');
  return (await answer)[0];
}

// --- loads

/** What `ringway-load` prints. */
interface Loaded {
  readonly messages: number;
  readonly latency_us: { readonly p50: number };
  readonly cpu: readonly { readonly cpuUs: number }[];
}

async function load(server: Server, shape: string, seconds: number, warmupSeconds = 0.3): Promise<Loaded> {
  const [connections, depth, size] = shape.split('x');
  const { stdout } = await promisify(execFile)(join(root, 'build-native/bin/ringway-load'), [
    ...['--port', String(server.port), '--connections', connections, '--depth', depth, '--size', size],
    ...['--seconds', String(seconds), '--warmup-seconds', String(warmupSeconds), '--pid', String(server.child.pid)],
  ]);
  return JSON.parse(stdout) as Loaded;
}

async function loadShape(server: Server, shape: string, seconds: number): Promise<number> {
  const { cpu, messages } = await load(server, shape, seconds);
  return cpu[0].cpuUs / messages;
}

/** Median µs of one small message at a time, while others stream; they begin earlier and end later. */
async function loadBeside(server: Server, seconds: number): Promise<number> {
  const { connections, depth, bytes } = BESIDE;
  const streams = load(server, `${connections}x${depth}x${bytes}`, seconds + 1);
  const lone = await load(server, '1x1x64', seconds, 0.8);
  await streams;
  return lone.latency_us.p50;
}

/** One connection, so many bytes there and back. CPU-µs per MB. */
async function loadStream(server: Server): Promise<number> {
  const before = await ask(server);
  const child = fork(fileURLToPath(import.meta.url), [], {
    env: { ...process.env, RINGWAY_BENCH_STREAM_PORT: String(server.port) },
  });
  const [status] = await once(child, 'exit');
  if (status !== 0) throw new Error(`the stream through ${server.kind} ended with ${status}`);
  return ((await ask(server)).cpuUs - before.cpuUs) / (STREAM_BYTES / 2 ** 20);
}

async function stream(port: number): Promise<void> {
  const socket = nodeNet.connect({ port, host: '127.0.0.1' });
  const chunk = Buffer.alloc(65_536, 'stream');
  let sent = 0;
  let received = 0;
  const send = () => {
    while (sent < STREAM_BYTES) {
      sent += chunk.length;
      if (!socket.write(chunk)) return;
    }
    socket.end();
  };
  socket.on('drain', send);
  socket.on('data', (data) => {
    received += data.length;
  });
  send();
  await once(socket, 'close');
  process.exit(received === STREAM_BYTES ? 0 : 1);
}

/** Memory per connection that was opened and is idle. */
async function idleBytes(kind: Kind): Promise<number> {
  const server = await start(kind, IDLE_ARGV);
  const sockets: nodeNet.Socket[] = [];
  const open = async (count: number) => {
    for (let i = 0; i < count; i++) {
      const socket = nodeNet.connect(server.port, '127.0.0.1');
      await once(socket, 'connect');
      sockets.push(socket);
    }
    // The kernel connects before the server accepts; the last one's answer says that it has accepted all.
    const last = sockets[sockets.length - 1];
    last.write('x');
    await once(last, 'data');
    await ask(server);
    return anonymousBytes(server);
  };
  const before = await open(EARLIER_CONNECTIONS);
  const after = await open(IDLE_CONNECTIONS);
  server.child.disconnect();
  for (const socket of sockets) socket.destroy();
  await once(server.child, 'exit');
  return (after - before) / IDLE_CONNECTIONS;
}

/** Resident, but for what is mapped from files: how much of Node's own binary was touched says nothing about sockets. */
function anonymousBytes({ child }: Server): number {
  const kilobytes = readFileSync(`/proc/${child.pid}/status`, 'utf8').match(/^RssAnon:\s+(\d+) kB$/m)?.[1];
  return Number(kilobytes) * 1024;
}

// --- the table

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1];
}

function row(name: string, costs: ReadonlyMap<Kind, number[]>, must = Infinity, decimals = 2): string {
  const node = median(costs.get('node') ?? []);
  const cells = [...costs].map(([kind, values]) => {
    const ratio = median(values) / node;
    const verdict = kind === 'node' ? '' : ` = ${ratio.toFixed(2)}${ratio <= must ? '' : ' MISSED'}`;
    const [middle, least, most] = [median(values), Math.min(...values), Math.max(...values)].map((value) => {
      return value.toFixed(decimals);
    });
    return `${kind} ${middle} (${least}–${most})${verdict}`;
  });
  return `${name.padEnd(14)} ${must === Infinity ? 'shown    ' : `must ${must}`}  ${cells.join('  ')}`;
}

async function measure(shapes: readonly string[], kinds: readonly Kind[], rounds: number, seconds: number) {
  const servers = await Promise.all(kinds.map((kind) => start(kind)));
  for (const server of servers) await loadShape(server, '50x16x64', 2);
  const cases = [...shapes, ...(values.stream ? ['stream'] : [])];
  for (const name of cases) {
    const costs = new Map<Kind, number[]>(kinds.map((kind) => [kind, []]));
    for (let round = 0; round < rounds; round++) {
      for (let i = 0; i < servers.length; i++) {
        const server = servers[(i + round) % servers.length];
        const cost = name === 'stream' ? await loadStream(server) : await loadShape(server, name, seconds);
        costs.get(server.kind)?.push(cost);
      }
    }
    console.log(row(name, costs, MUST[name] ?? MUST_OTHERWISE));
  }
  if (values.beside) {
    const waits = new Map<Kind, number[]>(kinds.map((kind) => [kind, []]));
    for (let round = 0; round < rounds; round++) {
      for (const server of servers) waits.get(server.kind)?.push(await loadBeside(server, seconds));
    }
    console.log(row('beside, µs', waits, undefined, 0));
  }
  for (const { child } of servers) child.disconnect();
}

async function measureIdle(kinds: readonly Kind[]) {
  const wanted = EARLIER_CONNECTIONS + IDLE_CONNECTIONS + SPARE_DESCRIPTORS;
  if (descriptorLimit() < wanted) {
    console.log(`idle: left out, it takes ${wanted} descriptors (ulimit -n ${wanted})`);
    return;
  }
  const bytes = new Map<Kind, number[]>(kinds.map((kind) => [kind, []]));
  for (let round = 0; round < IDLE_ROUNDS; round++) {
    for (let i = 0; i < kinds.length; i++) {
      const kind = kinds[(i + round) % kinds.length];
      bytes.get(kind)?.push(await idleBytes(kind));
    }
  }
  console.log(row('idle', bytes, MUST_IDLE, 0));
}

const SHAPES = ['1', '50', '500'].flatMap((connections) =>
  ['1', '16'].flatMap((depth) => ['64', '4096', '65536'].map((size) => `${connections}x${depth}x${size}`)),
);
const { values } = parseArgs({
  allowNegative: true,
  options: {
    serve: { type: 'string' },
    stream: { type: 'boolean', default: true },
    idle: { type: 'boolean', default: true },
    beside: { type: 'boolean', default: true },
    shape: { type: 'string' },
    engines: { type: 'string', default: 'io_uring,epoll' },
    rounds: { type: 'string', default: '5' },
    seconds: { type: 'string', default: '1' },
  },
});
const streamPort = process.env.RINGWAY_BENCH_STREAM_PORT;
if (streamPort !== undefined) {
  await stream(Number(streamPort));
} else if (values.serve !== undefined) {
  await serve(values.serve);
} else {
  console.log(
    `${process.version}, ${readFileSync('/proc/sys/kernel/osrelease', 'utf8').trim()}; CPU-µs per message, stream: per MB; idle: bytes per connection`,
  );
  const kinds = ['node', ...values.engines.split(',')];
  await measure(values.shape?.split(',') ?? SHAPES, kinds, Number(values.rounds), Number(values.seconds));
  if (values.idle) await measureIdle(kinds);
}
