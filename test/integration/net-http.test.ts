// http.Server fed with sockets of ringway/net: bodies in both directions, with a handler that pauses. On dist/, in a process of
// its own: which engine runs under ringway/net is decided when it is loaded.
import { spawnSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { describeEngines } from '../support/engines.js';

const NET = new URL('../../dist/net/index.js', import.meta.url).href;

const PROGRAM = `
  import http from 'node:http';
  import { createHash } from 'node:crypto';
  import net, { engine } from '${NET}';

  const web = http.createServer((request, response) => {
    // A handler that is not ready yet: the body must wait in the kernel.
    request.pause();
    setTimeout(() => request.pipe(response), 20);
  });
  const server = net.createServer((socket) => web.emit('connection', socket));
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));

  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  const hash = (bytes) => createHash('sha256').update(bytes).digest('hex');
  function post(body) {
    return new Promise((resolve, reject) => {
      const request = http.request({ port: server.address().port, method: 'POST', agent }, async (response) => {
        const chunks = [];
        for await (const chunk of response) chunks.push(chunk);
        resolve(hash(Buffer.concat(chunks)) === hash(body));
      });
      request.on('error', reject).end(body);
    });
  }
  const answers = [];
  for (const length of [0, 1, 70_000, 3_000_000]) answers.push(await post(Buffer.alloc(length, 'abcdefg')));
  console.log(JSON.stringify({ engine: engine.name, answers }));
  process.exit(0);
`;

describeEngines('http.Server fed by ringway/net', (driver) => {
  test('bodies go both ways on one connection, and wait for a handler that pauses', () => {
    const env = { ...process.env, RINGWAY_ENGINE: driver };
    const args = ['--input-type=module', '-e', PROGRAM];
    const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', env, timeout: 20_000 });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(JSON.parse(stdout)).toEqual({ engine: driver, answers: [true, true, true, true] });
  });
});
