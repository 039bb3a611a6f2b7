/**
 * What `http.Server` costs on Node's sockets and fed with Ringway's: CPU-µs per request of the server's process, medians of
 * interleaved rounds. Node's own has a private path from socket to parser, which no other stream can take; that is why
 * `ringway/register` leaves `http` alone.
 *
 *     node dist-tools/bench/http-sockets.js [--connections N] [--bytes N] [--upload N] [--seconds N] [--rounds N]
 *
 * `--bytes` are those of the answer's body, `--upload` those of the request's.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import nodeNet from 'node:net';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const KINDS = ['node', 'ringway'] as const;
type Kind = (typeof KINDS)[number];

interface Shape {
  readonly connections: number;
  /** Of the answer's body. */
  readonly bytes: number;
  /** Of the request's. */
  readonly upload: number;
}

async function serve(kind: Kind, bytes: number): Promise<void> {
  const body = Buffer.alloc(bytes, 'x');
  const web = http.createServer((request, response) => {
    response.setHeader('Content-Type', 'text/plain');
    if (request.method === 'GET') response.end(body);
    else request.on('data', () => {}).on('end', () => response.end(body));
  });
  let server: nodeNet.Server = web;
  if (kind === 'ringway') {
    const { default: net, engine } = await import('../src/net/index.js');
    if (engine.name === 'portable') throw new Error(`no engine to measure: ${engine.reason}`);
    // As Node's own does it: no delay.
    server = net.createServer({ noDelay: true }, (socket) => void web.emit('connection', socket));
  }
  server.listen(0, '127.0.0.1', () => process.send?.({ port: (server.address() as nodeNet.AddressInfo).port }));
  process.on('message', () => process.send?.({ cpuUs: cpuUs() }));
  process.on('disconnect', () => process.exit());
}

function cpuUs(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

interface Server {
  readonly child: ChildProcess;
  readonly port: number;
}

async function start(kind: Kind, bytes: number): Promise<Server> {
  const child = fork(fileURLToPath(import.meta.url), ['--serve', kind, '--bytes', String(bytes)]);
  const gone = once(child, 'exit').then(([status]) => Promise.reject(new Error(`the ${kind} server ended: ${status}`)));
  gone.catch(() => {});
  const [{ port }] = (await Promise.race([once(child, 'message'), gone])) as [{ port: number }];
  return { child, port };
}

async function askCpuUs({ child }: Server): Promise<number> {
  const answer = once(child, 'message') as Promise<[{ cpuUs: number }]>;
  child.send('cpu');
  return (await answer)[0].cpuUs;
}

function requestOf(upload: number): Buffer {
  const head = upload === 0 ? 'GET / HTTP/1.1\r\n' : `POST / HTTP/1.1\r\nContent-Length: ${upload}\r\n`;
  return Buffer.concat([Buffer.from(`${head}Host: localhost\r\nAccept: */*\r\n\r\n`), Buffer.alloc(upload, 'y')]);
}

/** Keeps one request in flight on each connection. @returns a function that ends it and gives the count of answers */
async function load(port: number, { connections, bytes, upload }: Shape): Promise<() => number> {
  const request = requestOf(upload);
  let answers = 0;
  const sockets = await Promise.all(
    Array.from({ length: connections }, async () => {
      const socket = nodeNet.connect(port, '127.0.0.1').setNoDelay(true);
      await once(socket, 'connect');
      let missing = 0;
      socket.on('data', (data: Buffer) => {
        if (missing === 0) missing = data.indexOf('\r\n\r\n') + 4 + bytes;
        missing -= data.length;
        if (missing < 0) throw new Error(`${-missing} bytes nobody asked for`);
        if (missing > 0) return;
        answers++;
        socket.write(request);
      });
      socket.write(request);
      return socket;
    }),
  );
  return () => {
    for (const socket of sockets) socket.destroy();
    return answers;
  };
}

const pause = (seconds: number) => new Promise((resolve) => setTimeout(resolve, seconds * 1000));

async function round(server: Server, shape: Shape, seconds: number): Promise<number> {
  const before = await askCpuUs(server);
  const end = await load(server.port, shape);
  await pause(seconds);
  const answers = end();
  return ((await askCpuUs(server)) - before) / answers;
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1];
}

async function measure(shape: Shape, seconds: number, rounds: number): Promise<void> {
  const servers = new Map(
    await Promise.all(KINDS.map(async (kind) => [kind, await start(kind, shape.bytes)] as const)),
  );
  const costs = new Map<Kind, number[]>(KINDS.map((kind) => [kind, []]));
  // The first round of each warms it up and is not counted.
  for (let turn = 0; turn <= rounds; turn++) {
    for (const [kind, server] of servers) {
      const cost = await round(server, shape, seconds);
      if (turn > 0) costs.get(kind)?.push(cost);
    }
  }
  for (const { child } of servers.values()) child.disconnect();
  const [node, ringway] = KINDS.map((kind) => median(costs.get(kind) ?? []));
  for (const [kind, values] of costs) {
    const spread = values.map((value) => value.toFixed(1)).join(' ');
    console.log(`${kind.padEnd(8)} ${median(values).toFixed(2)} CPU-µs per request (${spread})`);
  }
  const { connections, bytes, upload } = shape;
  const what = `${connections} connections × 1 in flight, ${upload} bytes up, ${bytes} down`;
  console.log(`${what}: ringway ${(ringway / node).toFixed(2)} of node`);
}

const { values } = parseArgs({
  options: {
    serve: { type: 'string' },
    connections: { type: 'string', default: '50' },
    bytes: { type: 'string', default: '64' },
    upload: { type: 'string', default: '0' },
    seconds: { type: 'string', default: '3' },
    rounds: { type: 'string', default: '5' },
  },
});
const shape = {
  connections: Number(values.connections),
  bytes: Number(values.bytes),
  upload: Number(values.upload),
};
if (values.serve !== undefined) await serve(values.serve as Kind, shape.bytes);
else await measure(shape, Number(values.seconds), Number(values.rounds));
