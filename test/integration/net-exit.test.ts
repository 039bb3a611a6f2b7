// When a program is over: what holds the process with Node holds it here, and nothing else does.
import { describe, expect, test } from 'vitest';
import { builtNet, runNetProgram } from '../support/net-programs.js';

/** The other end, in a thread that holds nothing: `serve(peer)` there, `client(port)` here. */
function withPeer(serve: string, client: string): string {
  const worker = `
    const { parentPort, workerData: taken } = require('node:worker_threads');
    const server = require('node:net').createServer({ allowHalfOpen: true }, (peer) => {
      peer.on('error', () => {});
      ${serve}
    });
    server.listen(0, '127.0.0.1', () => parentPort.postMessage(server.address().port));`;
  return `
    import { Worker } from 'node:worker_threads';
    const taken = new Int32Array(new SharedArrayBuffer(4));
    const worker = new Worker(${JSON.stringify(worker)}, { eval: true, execArgv: [], workerData: taken });
    worker.once('message', (port) => { worker.unref(); ${client} });
    process.on('exit', (code) => console.log('exit', code));`;
}

const PROGRAMS: Record<string, string> = {
  'who reads, and hears late': withPeer(
    `setTimeout(() => peer.end('at last'), 200);`,
    `net.connect(port, '127.0.0.1').on('data', (chunk) => console.log(String(chunk)));`,
  ),
  'a half that is open after the end': withPeer(
    `peer.end('x');`,
    `net.connect({ port, host: '127.0.0.1', allowHalfOpen: true }).resume().on('end', () => console.log('end'));`,
  ),
  'who consumes nothing, and has enough': withPeer(
    `peer.write(Buffer.alloc(1 << 20));`,
    `net.connect(port, '127.0.0.1', () => console.log('open'));`,
  ),
  'who pauses in the connect listener': withPeer(
    '',
    `const client = net.connect(port, '127.0.0.1', () => { client.pause(); console.log('open'); });`,
  ),
  'who paused, and has ended': withPeer(
    'peer.resume();',
    `const client = net.connect(port, '127.0.0.1', () => { client.end(); client.pause(); console.log('open'); });`,
  ),
  'an onread callback that says false': withPeer(
    `peer.write('abc');`,
    `net.connect({ port, host: '127.0.0.1', onread: { buffer: Buffer.alloc(8), callback: (count) => console.log(count) ?? false } });`,
  ),
  'a paused connection of a server that has closed': `
    import { Worker } from 'node:worker_threads';
    const server = net.createServer({ pauseOnConnect: true }, (peer) => { console.log('connection'); server.close(); });
    server.listen(0, '127.0.0.1', () => {
      new Worker("require('node:net').connect(" + server.address().port + ", '127.0.0.1')", { eval: true, execArgv: [] }).unref();
    });`,
  'what a paused socket writes to a slow reader': withPeer(
    `peer.pause();
      setTimeout(() => peer.resume(), 200);
      peer.on('data', (chunk) => { Atomics.add(taken, 0, chunk.length); peer.pause(); setImmediate(() => peer.resume()); });`,
    `const client = net.connect(port, '127.0.0.1', () => { client.pause(); client.write(Buffer.alloc(20_000_000)); });
     process.on('exit', () => {
       const late = Date.now() + 10_000;
       while (Atomics.load(taken, 0) < 20_000_000 && Date.now() < late);
       console.log('taken', Atomics.load(taken, 0));
     });`,
  ),
};

for (const engine of ['io_uring', 'epoll']) {
  describe(`net: exit on ${engine}`, () => {
    test.each(Object.entries(PROGRAMS))('%s', async (_name, program) => {
      const expected = await runNetProgram('node:net', engine, program);
      expect(expected, 'Node ends').toMatchObject({ code: 0, stderr: '' });
      expect(await runNetProgram(builtNet, engine, program)).toEqual(expected);
    });
  });
}
