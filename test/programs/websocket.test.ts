import http from 'node:http';
import { expect } from 'vitest';
import { WebSocket, WebSocketServer } from 'ws';
import { describeProgram, once, type Stage } from './programs.js';

async function serveWebSockets(stage: Stage, onSocket: (socket: WebSocket) => void): Promise<number> {
  const server = http.createServer();
  const webSockets = new WebSocketServer({ server, perMessageDeflate: true });
  stage.atEnd(() => webSockets.close());
  webSockets.on('connection', onSocket);
  return (await stage.serve((socket) => server.emit('connection', socket))).port;
}

function open(stage: Stage, port: number): WebSocket {
  const socket = new WebSocket(`ws://127.0.0.1:${port}`, { createConnection: () => stage.connect(port) });
  stage.atEnd(() => socket.terminate());
  return socket;
}

describeProgram('ws', (play) => {
  play('echoes texts and bytes of many sizes, compressed, in order', async (stage) => {
    const port = await serveWebSockets(stage, (socket) => {
      socket.on('message', (data, isBinary) => socket.send(data as Buffer, { binary: isBinary }));
    });
    const socket = open(stage, port);
    await once(socket, 'open');
    const sizes = [0, 1, 125, 126, 65_535, 65_536, 1_000_000];
    const received: Buffer[] = [];
    socket.on('message', (data) => received.push(data as Buffer));
    const sent = sizes.map((size) => Buffer.alloc(size, `message of ${size} `));
    for (const message of sent) socket.send(message);
    while (received.length < sent.length) await once(socket, 'message');
    for (const [i, message] of sent.entries()) expect(received[i].equals(message)).toBe(true);
  });

  play('broadcasts to 100 clients, and tells codes and reasons of closing', async (stage) => {
    const clients = new Set<WebSocket>();
    const port = await serveWebSockets(stage, (socket) => clients.add(socket));
    const sockets = Array.from({ length: 100 }, () => open(stage, port));
    await Promise.all(sockets.map((socket) => once(socket, 'open')));
    const heard = sockets.map((socket) => once(socket, 'message'));
    for (const client of clients) client.send('to all');
    for (const [data] of await Promise.all(heard)) expect(String(data)).toBe('to all');
    const closed = sockets.map((socket) => once(socket, 'close'));
    for (const client of clients) client.close(4001, 'the show is over');
    for (const [code, reason] of await Promise.all(closed)) {
      expect([code, String(reason)]).toEqual([4001, 'the show is over']);
    }
  });

  play('answers pings, and ends a client that breaks the protocol without harm to another', async (stage) => {
    const errors: string[] = [];
    const port = await serveWebSockets(stage, (socket) => {
      socket.on('error', (error: NodeJS.ErrnoException) => errors.push(String(error.code)));
      socket.on('message', (data) => socket.send(data as Buffer));
    });
    const good = open(stage, port);
    const bad = open(stage, port);
    await Promise.all([once(good, 'open'), once(bad, 'open')]);
    const pong = once(good, 'pong');
    good.ping('are you there');
    expect(String((await pong)[0])).toBe('are you there');
    // A client's frame must be masked.
    (bad as unknown as { _socket: { write(bytes: Buffer): void } })._socket.write(Buffer.from([0x81, 0x01, 0x41]));
    const [code] = await once(bad, 'close');
    expect([code, errors]).toEqual([1002, ['WS_ERR_EXPECTED_MASK']]);
    const echo = once(good, 'message');
    good.send('still well');
    expect(String((await echo)[0])).toBe('still well');
  });
});
