// Sockets and listeners that another process opened: `new Socket({ fd })` and `listen({ fd })`.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

const built = fileURLToPath(new URL('../../dist/net/index.js', import.meta.url));

/** A process whose descriptor 3 is this; answers what it printed. */
async function run(module: string, engine: string, descriptor: number, program: string): Promise<string> {
  const source = `import * as net from ${JSON.stringify(module)};\n${program}`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', source], {
    stdio: ['ignore', 'pipe', 'inherit', descriptor],
    env: { ...process.env, RINGWAY_ENGINE: engine },
  });
  return text(child.stdout as NonNullable<typeof child.stdout>);
}

function descriptorOf(one: Server | Socket): number {
  return (one as unknown as { _handle: { fd: number } })._handle.fd;
}

for (const engine of ['io_uring', 'epoll']) {
  describe(`net: descriptors on ${engine}`, () => {
    test('a connected socket', async () => {
      const program = `const socket = new net.Socket({ fd: 3 });
        socket.on('data', (chunk) => {
          console.log('names', socket.remoteFamily, socket.localPort > 0);
          socket.end('got ' + chunk);
        });
        socket.on('close', (hadError) => console.log('close', hadError));`;
      for (const module of ['node:net', built]) {
        const server = createServer().listen(0, '127.0.0.1');
        await once(server, 'listening');
        const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
        const [peer] = (await once(server, 'connection')) as [Socket];
        const ran = run(module, engine, descriptorOf(client), program);
        client.destroy();
        peer.end('hello');
        expect(await text(peer)).toBe('got hello');
        expect(await ran).toBe('names IPv4 true\nclose false\n');
        server.close();
      }
    });

    test('a connected socket is known to be of TCP, which can be reset', async () => {
      const program = `const socket = new net.Socket({ fd: 3 });
        socket.on('data', () => socket.resetAndDestroy());
        socket.on('close', (hadError) => console.log('close', hadError));`;
      for (const module of ['node:net', built]) {
        const server = createServer().listen(0, '127.0.0.1');
        await once(server, 'listening');
        const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
        const [peer] = (await once(server, 'connection')) as [Socket];
        const ran = run(module, engine, descriptorOf(client), program);
        client.destroy();
        peer.write('hello');
        const [error] = await once(peer, 'error');
        expect(error).toMatchObject({ code: 'ECONNRESET' });
        expect(await ran).toBe('close false\n');
        server.close();
      }
    });

    test('a listening socket', async () => {
      const program = `const server = net.createServer((socket) => { socket.end('served'); server.close(); });
        server.listen({ fd: 3 }, () => console.log(server.listening, server.address().address));
        server.on('close', () => console.log('close'));`;
      for (const module of ['node:net', built]) {
        const server = createServer().listen(0, '127.0.0.1');
        await once(server, 'listening');
        const { port } = server.address() as AddressInfo;
        const ran = run(module, engine, descriptorOf(server), program);
        server.close();
        const client = connect(port, '127.0.0.1');
        expect(await text(client)).toBe('served');
        expect(await ran).toBe('true 127.0.0.1\nclose\n');
      }
    });
  });
}
