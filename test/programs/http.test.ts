import http from 'node:http';
import { pipeline } from 'node:stream';
import { playHttp, type Site } from './http-plays.js';
import { describeProgram, type Stage } from './programs.js';

async function serveHttp(stage: Stage, { look, get, post }: Site): Promise<{ port: number; server: http.Server }> {
  const server = http.createServer((req, res) => {
    look?.(req);
    if (req.method === 'POST' && post !== undefined) {
      // A client that left: the request tells.
      pipeline(post(req), res, () => {});
    } else {
      void Promise.resolve(get?.(req.url ?? '')).then((answer) => res.end(answer));
    }
  });
  stage.atEnd(() => server.closeAllConnections());
  // As http.Server's own listener: a client may end its half and still be answered.
  const { port } = await stage.serve((socket) => server.emit('connection', socket), { allowHalfOpen: true });
  return { port, server };
}

describeProgram('http.Server', (play) => playHttp(play, serveHttp));
