import http, { type IncomingMessage, type RequestOptions } from 'node:http';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { expect } from 'vitest';
import { describeProgram, once, PatternCheck, pattern, type Stage } from './programs.js';

const BODY_BYTES = 64 * 1024 * 1024;

async function serveHttp(stage: Stage, handler: http.RequestListener): Promise<{ port: number; server: http.Server }> {
  const server = http.createServer(handler);
  stage.atEnd(() => server.closeAllConnections());
  // As http.Server's own listener: a client may end its half and still be answered.
  const { port } = await stage.serve((socket) => server.emit('connection', socket), { allowHalfOpen: true });
  return { port, server };
}

function request(stage: Stage, port: number, options: RequestOptions = {}): http.ClientRequest {
  return http.request({ createConnection: () => stage.connect(port), host: '127.0.0.1', ...options });
}

async function text(response: IncomingMessage): Promise<string> {
  let all = '';
  for await (const chunk of response.setEncoding('utf8')) all += chunk;
  return all;
}

describeProgram('http.Server', (play) => {
  play('answers many requests over one kept-alive connection', async (stage) => {
    const ports = new Set<number | undefined>();
    const { port } = await serveHttp(stage, (req, res) => {
      ports.add(req.socket.remotePort);
      res.end(`you asked for ${req.url}`);
    });
    let connections = 0;
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    agent.createConnection = (() => {
      connections++;
      return stage.connect(port);
    }) as never;
    stage.atEnd(() => agent.destroy());
    for (let i = 0; i < 50; i++) {
      const req = http.get({ agent, path: `/${i}` });
      const [response] = (await once(req, 'response')) as [IncomingMessage];
      expect(await text(response)).toBe(`you asked for /${i}`);
    }
    expect([connections, ports.size]).toEqual([1, 1]);
  });

  play('answers pipelined requests in their order', async (stage) => {
    const { port } = await serveHttp(stage, (req, res) => {
      // The first takes longest: its answer must still come first.
      if (req.url === '/0') setImmediate(() => setImmediate(() => res.end('slow')));
      else res.end(req.url);
    });
    const socket = stage.connect(port);
    let requests = '';
    for (let i = 0; i < 20; i++) {
      requests += `GET /${i} HTTP/1.1\r\nHost: x\r\n${i === 19 ? 'Connection: close\r\n' : ''}\r\n`;
    }
    socket.write(requests);
    let answers = '';
    for await (const chunk of socket) answers += chunk;
    const bodies = answers.split(/HTTP\/1\.1 200 OK\r\n/).slice(1);
    expect(bodies.map((body) => body.split('\r\n\r\n')[1])).toEqual([
      'slow',
      ...Array.from({ length: 19 }, (_, i) => `/${i + 1}`),
    ]);
  });

  play('takes and gives chunked bodies of 64 MB at once, whole', async (stage) => {
    const uploaded = new PatternCheck(BODY_BYTES);
    let allUploaded = (): void => {};
    const uploadEnd = new Promise<void>((resolve) => {
      allUploaded = resolve;
    });
    const { port } = await serveHttp(stage, (req, res) => {
      expect(req.headers['transfer-encoding']).toBe('chunked');
      req.on('data', (chunk: Buffer) => uploaded.add(chunk));
      req.on('end', () => allUploaded());
      // Ends behind the request: Node's client takes its drain listener off the socket with the end of a response, and an
      // upload that waits for room then waits for ever (on node:net, too).
      void pipeline(Readable.from(pattern(BODY_BYTES)), res, { end: false })
        .then(() => uploadEnd)
        .then(() => res.end());
    });
    const req = request(stage, port, { method: 'POST' });
    const upload = pipeline(Readable.from(pattern(BODY_BYTES)), req);
    const [response] = (await once(req, 'response')) as [IncomingMessage];
    expect(response.headers['transfer-encoding']).toBe('chunked');
    const downloaded = new PatternCheck(BODY_BYTES);
    for await (const chunk of response) downloaded.add(chunk as Buffer);
    await Promise.all([upload, uploadEnd]);
    expect([downloaded.bytes, downloaded.wrongAt]).toEqual([BODY_BYTES, -1]);
    expect([uploaded.bytes, uploaded.wrongAt]).toEqual([BODY_BYTES, -1]);
  });

  play('hands the socket over at an upgrade, with the bytes behind the head', async (stage) => {
    const { port, server } = await serveHttp(stage, (_, res) => res.end());
    server.on('upgrade', (_, socket, head) => {
      socket.write('HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\n');
      socket.on('data', (chunk: Buffer) => socket.write(chunk.toString().toUpperCase()));
      socket.on('end', () => socket.end());
      if (head.length > 0) socket.unshift(head);
    });
    const socket = stage.connect(port);
    socket.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\nfirst,');
    let received = '';
    socket.on('data', (chunk) => {
      received += chunk;
      if (received.endsWith('FIRST,')) socket.end('second');
    });
    await once(socket, 'close');
    expect(received.split('\r\n\r\n')[1]).toBe('FIRST,SECOND');
  });

  play('is told when a client goes away in the middle of its body', async (stage) => {
    const seen: string[] = [];
    const { port } = await serveHttp(stage, (req) => {
      req.on('data', () => seen.push('data'));
      req.on('aborted', () => seen.push('aborted'));
      req.on('error', (error: NodeJS.ErrnoException) => seen.push(`error ${error.code}`));
      req.on('close', () => seen.push('close'));
      req.once('data', () => socket.resetAndDestroy());
    });
    const socket = stage.connect(port);
    socket.write('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nonly this');
    while (!seen.includes('close')) await new Promise(setImmediate);
    expect(seen).toEqual(['data', 'aborted', 'error ECONNRESET', 'close']);
  });
});
