/** What is played to every HTTP server: http.Server itself, and frameworks on it. */
import http, { type IncomingMessage, type RequestOptions } from 'node:http';
import { PassThrough, Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { expect } from 'vitest';
import { once, PatternCheck, type Play, pattern, type Stage } from './programs.js';

const BODY_BYTES = 64 * 1024 * 1024;
const BINARY = { 'content-type': 'application/octet-stream' };

/** What the server under test answers. */
export interface Site {
  /** Of each request, before it is answered. */
  readonly look?: (request: IncomingMessage) => void;
  readonly get?: (url: string) => string | Promise<string>;
  /** A POST's body, as it comes; the answer's, as it goes. */
  readonly post?: (body: Readable) => Readable;
}

/** Serves it on the stage's net. */
export type ServeSite = (stage: Stage, site: Site) => Promise<{ port: number; server: http.Server }>;

async function text(response: IncomingMessage): Promise<string> {
  let all = '';
  for await (const chunk of response.setEncoding('utf8')) all += chunk;
  return all;
}

export function playHttp(play: Play, serveSite: ServeSite): void {
  play('answers many requests over one kept-alive connection', async (stage) => {
    const ports = new Set<number | undefined>();
    const { port } = await serveSite(stage, {
      look: (request) => ports.add(request.socket.remotePort),
      get: (url) => `you asked for ${url}`,
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
    const turn = () => new Promise(setImmediate);
    const { port } = await serveSite(stage, {
      get: async (url) => {
        // The first takes longest: its answer must still come first.
        if (url !== '/0') return url;
        for (let i = 0; i < 5; i++) await turn();
        return 'slow';
      },
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
    const { port } = await serveSite(stage, {
      look: ({ headers }) => expect(headers['transfer-encoding']).toBe('chunked'),
      post: (body) => {
        body.on('data', (chunk: Buffer) => uploaded.add(chunk));
        const whole = once(body, 'end');
        // Ends behind the request: Node's client takes its drain listener off the socket with the end of a response, and an
        // upload that waits for room then waits for ever (on node:net, too).
        return Readable.from(
          (async function* () {
            yield* pattern(BODY_BYTES);
            await whole;
          })(),
          { objectMode: false },
        );
      },
    });
    const req = request(stage, port, { method: 'POST', headers: BINARY });
    const upload = pipeline(Readable.from(pattern(BODY_BYTES)), req);
    const [response] = (await once(req, 'response')) as [IncomingMessage];
    expect(response.headers['transfer-encoding']).toBe('chunked');
    const downloaded = new PatternCheck(BODY_BYTES);
    for await (const chunk of response) downloaded.add(chunk as Buffer);
    await upload;
    expect([downloaded.bytes, downloaded.wrongAt]).toEqual([BODY_BYTES, -1]);
    expect([uploaded.bytes, uploaded.wrongAt]).toEqual([BODY_BYTES, -1]);
  });

  play('hands the socket over at an upgrade, with the bytes behind the head', async (stage) => {
    const { port, server } = await serveSite(stage, {});
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

  for (const [how, head, body] of [
    ['of a known length', 'Content-Length: 1000000', 'only this'],
    ['in chunks', 'Transfer-Encoding: chunked', '9\r\nonly this\r\n'],
  ] as const) {
    play(`is told when a client goes away in the middle of its body ${how}`, async (stage) => {
      const seen: string[] = [];
      const { port } = await serveSite(stage, {
        look: (req) => {
          req.on('aborted', () => seen.push('aborted'));
          req.on('error', (error: NodeJS.ErrnoException) => seen.push(`error ${error.code}`));
          req.on('close', () => seen.push('close'));
        },
        post: (incoming) => {
          incoming.on('data', () => seen.push('data'));
          incoming.once('data', () => socket.resetAndDestroy());
          return new PassThrough();
        },
      });
      const socket = stage.connect(port);
      socket.write(`POST / HTTP/1.1\r\nHost: x\r\nContent-Type: application/octet-stream\r\n${head}\r\n\r\n${body}`);
      while (!seen.includes('close')) await new Promise(setImmediate);
      expect(seen).toEqual(['data', 'aborted', 'error ECONNRESET', 'close']);
    });
  }
}

function request(stage: Stage, port: number, options: RequestOptions = {}): http.ClientRequest {
  return http.request({ createConnection: () => stage.connect(port), host: '127.0.0.1', ...options });
}
