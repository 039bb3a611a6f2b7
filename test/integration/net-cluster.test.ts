// Under `cluster` a worker of Node's listens through the primary; one of ours listens for itself.
import { describe, expect, test } from 'vitest';
import { builtNet, runNetFile } from '../support/net-programs.js';

/** Of this process alone, so that a port which is free there stays free. Linux has all of 127.0.0.0/8 on its loopback. */
const HOST = `127.${1 + (process.pid % 250)}.${(process.pid >> 8) % 256}.1`;

const [MAJOR, MINOR] = process.versions.node.split('.').map(Number);
const NODE_DROPS = MAJOR > 22 || (MAJOR === 22 && MINOR >= 12);

/**
 * A primary and workers that do what they are told. `primary` tells what happened; it has `begin()`, a further worker, which
 * `does(what, data)` and answers, `freePort()`, and `asks(port)`: what a server there says to a connection until it ends.
 * In `worker` there is `server`, `answer(data)`, and what the primary asked for.
 */
function program(primary: string, worker: string): string {
  return `
    import cluster from 'node:cluster';
    import { once } from 'node:events';
    import nodeNet from 'node:net';
    const host = ${JSON.stringify(HOST)};
    const tell = (...what) => console.log(...what);

    async function freePort() {
      const server = nodeNet.createServer().listen(0, host);
      await once(server, 'listening');
      const { port } = server.address();
      await new Promise((resolve) => server.close(resolve));
      return port;
    }

    async function begin() {
      const worker = cluster.fork();
      await once(worker, 'message');
      worker.does = async (what, data) => {
        const answered = once(worker, 'message');
        worker.send({ what, data });
        return (await answered)[0];
      };
      return worker;
    }

    async function asks(port) {
      const socket = nodeNet.connect(port, host);
      let said = '';
      for await (const chunk of socket) said += chunk;
      return said;
    }

    if (cluster.isPrimary) {
      ${primary}
      process.exit();
    } else {
      const { id } = cluster.worker;
      const answer = (data) => process.send(data);
      const server = net.createServer((socket) => socket.end('worker ' + id));
      const listen = (options) => {
        server.once('error', ({ code, syscall }) => answer([code, syscall]));
        // What is told to the primary by other ways comes before it.
        server.listen({ host, ...options }, () => setImmediate(answer, server.address().port));
      };
      process.on('message', ({ what, data }) => { ${worker} });
      answer('ready');
    }`;
}

const EACH_LISTENS = `if (what === 'listen') listen(data);`;

/** Each with what Node tells, and what we tell where that is something else. */
const PROGRAMS: Record<string, { program: string; node: string; ours?: string }> = {
  'workers that listen on the same port': {
    program: program(
      `const port = await freePort();
       const [one, other] = [await begin(), await begin()];
       tell('first:', await one.does('listen', { port }) === port);
       const second = await other.does('listen', { port });
       tell('second:', second === port || second.join(' '));
       tell('served by:', (await asks(port)).replace(/\\d/, 'N'));`,
      EACH_LISTENS,
    ),
    node: 'first: true\nsecond: true\nserved by: worker N\n',
    ours: 'first: true\nsecond: EADDRINUSE listen\nserved by: worker N\n',
  },
  'exclusive, which each of ours is': {
    program: program(
      `const port = await freePort();
       const [one, other] = [await begin(), await begin()];
       tell('first:', await one.does('listen', { port, exclusive: true }) === port);
       const second = await other.does('listen', { port, exclusive: true });
       tell('second:', second === port || second[0]);`,
      EACH_LISTENS,
    ),
    node: 'first: true\nsecond: EADDRINUSE\n',
  },
  'workers that listen on the same port with reusePort share its connections': {
    program: program(
      `const port = await freePort();
       for (const worker of [await begin(), await begin()]) {
         tell('listens:', await worker.does('listen', { port, reusePort: true }) === port);
       }
       const served = new Set();
       // The kernel draws one of the two for each connection: that it takes the same one 200 times does not happen.
       for (let i = 0; i < 200 && served.size < 2; i++) served.add(await asks(port));
       tell('served by:', [...served].sort().join(', '));`,
      EACH_LISTENS,
    ),
    node: 'listens: true\nlistens: true\nserved by: worker 1, worker 2\n',
  },
  'workers that listen on port 0': {
    program: program(
      `const [one, other] = [await begin(), await begin()];
       const [first, second] = [await one.does('listen', { port: 0 }), await other.does('listen', { port: 0 })];
       tell('the same:', first === second);
       if (first !== second) tell(await asks(first), await asks(second));`,
      EACH_LISTENS,
    ),
    node: 'the same: true\n',
    ours: 'the same: false\nworker 1 worker 2\n',
  },
  'the primary hears of a worker that listens': {
    program: program(
      `let heard = 0;
       cluster.on('listening', () => heard++);
       const worker = await begin();
       await worker.does('listen', { port: 0 });
       tell('heard:', heard, worker.isConnected());`,
      EACH_LISTENS,
    ),
    node: 'heard: 1 true\n',
    ours: 'heard: 0 true\n',
  },
  'the servers of a worker that is disconnected': {
    program: program(
      `const worker = await begin();
       const port = await worker.does('listen', { port: 0 });
       const ended = once(worker, 'exit');
       worker.disconnect();
       await once(worker, 'disconnect');
       tell('served by:', await asks(port).catch(({ code }) => code));
       tell('exit:', ...(await ended));`,
      `if (what === 'listen') {
         listen(data);
         server.on('connection', () => server.close());
       }`,
    ),
    node: 'served by: ECONNREFUSED\nexit: 0 null\n',
    ours: 'served by: worker 1\nexit: 0 null\n',
  },
};

for (const engine of ['io_uring', 'epoll']) {
  describe(`net: cluster on ${engine}`, () => {
    test.each(Object.entries(PROGRAMS))('%s', async (_name, { program, node, ours = node }) => {
      expect(await runNetFile('node:net', engine, program)).toEqual({ code: 0, stderr: '', stdout: node });
      expect(await runNetFile(builtNet, engine, program)).toEqual({ code: 0, stderr: '', stdout: ours });
    });

    test.each(['undefined', 'false', 'true'])(
      'connections over the limit, with dropMaxConnection %s',
      async (drops) => {
        const limited = program(
          `const worker = await begin();
         const port = await worker.does('listen', { port: 0 });
         const first = nodeNet.connect(port, host);
         tell('first:', String((await once(first, 'data'))[0]));
         const dropped = once(worker, 'message');
         const second = nodeNet.connect(port, host);
         const names = ['end', 'error', 'close'];
         for (const name of names) second.on(name, () => tell('second:', name));
         second.resume();
         await once(second, 'close');
         tell('worker:', ...(await dropped)[0]);
         first.destroy();`,
          `if (what === 'listen') {
           server.removeAllListeners('connection').on('connection', (socket) => socket.write('worker ' + id));
           server.maxConnections = 1;
           server.dropMaxConnection = ${drops};
           server.on('drop', (data) => answer(['drops', Object.keys(data).length, String(server.dropMaxConnection)]));
           listen(data);
         }`,
        );
        const stdout = `first: worker 1\nsecond: end\nsecond: close\nworker: drops 6 ${drops}\n`;
        // Without it, and before 22.12, Node asks the workers for ever who takes the second one.
        if (drops === 'true' && NODE_DROPS) {
          expect(await runNetFile('node:net', engine, limited)).toEqual({ code: 0, stderr: '', stdout });
        }
        expect(await runNetFile(builtNet, engine, limited)).toEqual({ code: 0, stderr: '', stdout });
      },
    );
  });
}
