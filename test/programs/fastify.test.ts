import { fastify } from 'fastify';
import http from 'node:http';
import type { Readable } from 'node:stream';
import { expect } from 'vitest';
import { playHttp, type Site } from './http-plays.js';
import { describeProgram, type Stage } from './programs.js';

async function serveFastify(stage: Stage, { look, get, post }: Site): Promise<{ port: number; server: http.Server }> {
  const server = http.createServer();
  const app = fastify({
    serverFactory: (handler) => server.on('request', handler),
  });
  stage.atEnd(() => app.close());
  stage.atEnd(() => server.closeAllConnections());
  app.addHook('onRequest', async ({ raw }) => look?.(raw));
  // Handed on as it comes.
  app.addContentTypeParser('application/octet-stream', (_, body, done) => done(null, body));
  app.get('/*', async ({ url }) => get?.(url));
  app.post('/*', (request, reply) => reply.send(post?.(request.body as Readable)));
  await app.ready();
  const { port } = await stage.serve((socket) => server.emit('connection', socket), { allowHalfOpen: true });
  return { port, server };
}

async function call(stage: Stage, port: number, method: string, path: string, body?: unknown): Promise<unknown> {
  const payload = body === undefined ? '' : JSON.stringify(body);
  const headers = { host: 'x', 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) };
  const request = http.request({ createConnection: () => stage.connect(port), method, path, headers });
  request.end(payload);
  const response = await new Promise<http.IncomingMessage>((resolve, reject) => {
    request.on('response', resolve);
    request.on('error', reject);
  });
  let text = '';
  for await (const chunk of response) text += chunk;
  return { status: response.statusCode, body: JSON.parse(text) };
}

describeProgram('fastify', (play) => {
  playHttp(play, serveFastify);

  play('routes, parses and validates', async (stage) => {
    let server: http.Server | undefined;
    const app = fastify({
      serverFactory: (handler) => {
        server = http.createServer(handler);
        return server;
      },
    });
    stage.atEnd(() => app.close());
    app.post('/sum', { schema: { body: { type: 'array', items: { type: 'number' } } } }, async (request) => ({
      sum: (request.body as number[]).reduce((sum, value) => sum + value, 0),
    }));
    app.get('/who', async (request) => ({ ip: request.ip }));
    await app.ready();
    const { port } = await stage.serve((socket) => server!.emit('connection', socket));
    expect(await call(stage, port, 'POST', '/sum', [1, 2, 39])).toEqual({ status: 200, body: { sum: 42 } });
    expect(await call(stage, port, 'POST', '/sum', ['no number'])).toMatchObject({ status: 400 });
    expect(await call(stage, port, 'GET', '/who')).toEqual({ status: 200, body: { ip: '127.0.0.1' } });
    expect(await call(stage, port, 'GET', '/nowhere')).toMatchObject({ status: 404 });
    const many = Array.from({ length: 200 }, (_, i) => call(stage, port, 'POST', '/sum', [i, i]));
    expect(await Promise.all(many)).toEqual(many.map((_, i) => ({ status: 200, body: { sum: 2 * i } })));
  });
});
