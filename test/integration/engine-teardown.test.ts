import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { describeEngines } from '../support/engines.js';

const SELECT_ENGINE = new URL('../../dist/engine/select-engine.js', import.meta.url).href;

/** An echo in a worker, terminated while a socket of the main thread keeps it busy; then the same in the main thread and process.exit. */
const program = (kind: string, reactors: number | string) => `
  import net from 'node:net';
  import { isMainThread, parentPort, Worker } from 'node:worker_threads';
  import { createEngine } from '${SELECT_ENGINE}';

  async function echo() {
    const engine = createEngine({ kind: '${kind}', reactors: ${JSON.stringify(reactors)} });
    const handler = { frame: (connection, bytes, start, end) => connection.sendFrame(bytes, 0, bytes, start, end) };
    return (await engine.listen({ port: 0, framing: { format: 'raw' } }, handler)).address.port;
  }
  /** Resolves when a hundred answers came; the traffic goes on. */
  function traffic(port) {
    return new Promise((resolve) => {
      let answers = 0;
      const socket = net.connect(port, '127.0.0.1', () => socket.write('x'.repeat(1000)));
      socket.on('error', () => {});
      socket.on('data', (data) => {
        socket.write(data);
        if (++answers === 100) resolve();
      });
    });
  }

  if (isMainThread) {
    const worker = new Worker(new URL(import.meta.url));
    await traffic(await new Promise((resolve) => worker.once('message', resolve)));
    await worker.terminate();
    await traffic(await echo());
    process.exit(7);
  }
  parentPort.postMessage(await echo());
`;

describeEngines(
  'engine: teardown',
  (driver, run) => {
    test('a worker that is terminated and process.exit, both under traffic, end without a crash', async () => {
      const source = `data:text/javascript,${encodeURIComponent(program(driver, run.reactors))}`;
      const child = promisify(execFile)(process.execPath, [
        '--input-type=module',
        '-e',
        `import ${JSON.stringify(source)}`,
      ]);
      await expect(child).rejects.toMatchObject({ code: 7, signal: null, stderr: '' });
    });
  },
  { reactors: [0, 2] },
);
