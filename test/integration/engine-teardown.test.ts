// How engines end with what they run in: threads, processes, crashes. Each program runs in a process of its own, on dist/.
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { describeEngines } from '../support/engines.js';

const SELECT_ENGINE = new URL('../../dist/engine/select-engine.js', import.meta.url).href;

/** What the programs have in common: an echo on an engine, and traffic that goes on until the process ends. */
const common = (kind: string, reactors: number | string) => `
  import net from 'node:net';
  import { once } from 'node:events';
  import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads';
  import { createEngine } from '${SELECT_ENGINE}';

  const startEngine = () => createEngine({ kind: '${kind}', reactors: ${JSON.stringify(reactors)} });

  async function echo(engine = startEngine(), onFrame = () => {}) {
    const frame = (connection, bytes, start, end) => {
      connection.sendFrame(bytes, 0, bytes, start, end);
      onFrame();
    };
    return (await engine.listen({ port: 0, framing: { format: 'raw' } }, { frame })).address.port;
  }

  /** Resolves when a hundred answers came, and every byte of them was right; the traffic goes on. */
  function traffic(port, sent = 'x'.repeat(1000)) {
    return new Promise((resolve, reject) => {
      let answers = 0;
      const socket = net.connect(port, '127.0.0.1', () => socket.write(sent));
      socket.on('error', () => {});
      socket.on('data', (data) => {
        if (data.some((byte) => byte !== sent.charCodeAt(0))) reject(new Error('bytes of somebody else'));
        socket.write(data);
        if (++answers === 100) resolve(socket);
      });
    });
  }

  const thread = (data) => new Worker(new URL(import.meta.url), { workerData: data });
  const message = async (worker) => (await once(worker, 'message'))[0];
`;

interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

const folder = mkdtempSync(join(tmpdir(), 'ringway-teardown-'));
let programs = 0;
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** Runs a program to its end. */
function run(source: string): Promise<Ended> {
  const file = join(folder, `program-${++programs}.mjs`);
  writeFileSync(file, source);
  return new Promise((resolve) => {
    const child = execFile(process.execPath, [file], (_error, stdout, stderr) => {
      resolve({ code: child.exitCode, signal: child.signalCode, stdout, stderr });
    });
  });
}

describeEngines(
  'engine: teardown',
  (driver, engineRun) => {
    const program = (source: string) => run(common(driver, engineRun.reactors) + source);

    test('a worker that is terminated and process.exit, both under traffic, end without a crash', async () => {
      const ended = await program(`
        if (!isMainThread) parentPort.postMessage(await echo());
        else {
          const worker = thread();
          await traffic(await message(worker));
          await worker.terminate();
          await traffic(await echo());
          process.exit(7);
        }`);
      expect(ended).toMatchObject({ code: 7, signal: null, stderr: '' });
    });

    test('four threads and two engines beside them move bytes at once, and end in order', async () => {
      const ended = await program(`
        if (!isMainThread) {
          const engine = startEngine();
          parentPort.postMessage(await echo(engine));
          parentPort.once('message', async () => {
            await engine.close();
            parentPort.postMessage('closed');
          });
        } else {
          const workers = ['a', 'b', 'c', 'd'].map(thread);
          const engines = [startEngine(), startEngine()];
          const ports = await Promise.all([...workers.map(message), ...engines.map((engine) => echo(engine))]);
          const sockets = await Promise.all(ports.map((port, index) => traffic(port, 'abcdef'[index].repeat(999))));
          const closed = Promise.all(workers.map(message));
          for (const worker of workers) worker.postMessage('close');
          await Promise.all([closed, ...engines.map((engine) => engine.close())]);
          for (const socket of sockets) socket.destroy();
          console.log(new Set(ports).size);
        }`);
      expect(ended).toMatchObject({ code: 0, signal: null, stdout: '6\n', stderr: '' });
    });

    test('loaded and unloaded by one thread after another, under traffic from the first to the last', async () => {
      // The main thread has no engine: with each worker's end the addon's last user is gone, and Node unloads it.
      const ended = await program(`
        if (!isMainThread) parentPort.postMessage(await echo());
        else {
          for (let round = 0; round < 5; round++) {
            const worker = thread();
            await traffic(await message(worker));
            await worker.terminate();
          }
          console.log('done');
        }`);
      expect(ended).toMatchObject({ code: 0, signal: null, stdout: 'done\n', stderr: '' });
    });

    test('a handler may call process.exit in the middle of a batch', async () => {
      const ended = await program(`
        let frames = 0;
        const port = await echo(startEngine(), () => ++frames === 50 && process.exit(5));
        await traffic(port);`);
      expect(ended).toMatchObject({ code: 5, signal: null, stderr: '' });
    });

    test('a worker may call process.exit in a handler: it alone ends', async () => {
      const ended = await program(`
        if (!isMainThread) {
          let frames = 0;
          parentPort.postMessage(await echo(startEngine(), () => ++frames === 50 && process.exit(9)));
        } else {
          const worker = thread();
          const port = await echo();
          void traffic(await message(worker));
          const [status] = await once(worker, 'exit');
          await traffic(port);
          console.log(status);
          process.exit(0);
        }`);
      expect(ended).toMatchObject({ code: 0, signal: null, stdout: '9\n', stderr: '' });
    });

    test('an exception nobody catches ends the process as it ends any other, with its stack', async () => {
      const ended = await program(`
        let frames = 0;
        const port = await echo(startEngine(), () => {
          if (++frames === 50) throw new Error('of the handler');
        });
        await traffic(port);`);
      expect(ended).toMatchObject({ code: 1, signal: null });
      expect(ended.stderr).toMatch(/Error: of the handler\n +at .*program-\d+\.mjs:\d+/);
    });

    test('an exception nobody catches in a worker reaches the main thread, which goes on', async () => {
      const ended = await program(`
        if (!isMainThread) {
          let frames = 0;
          parentPort.postMessage(
            await echo(startEngine(), () => {
              if (++frames === 50) throw new Error('of the worker');
            }),
          );
        } else {
          const worker = thread();
          const failed = once(worker, 'error');
          const port = await echo();
          void traffic(await message(worker));
          const [error] = await failed;
          await traffic(port);
          console.log(error.message);
          process.exit(0);
        }`);
      expect(ended).toMatchObject({ code: 0, signal: null, stdout: 'of the worker\n', stderr: '' });
    });

    test('a crash under traffic is the crash that it is: nothing hangs and nothing hides it', async () => {
      const ended = await program(`
        await traffic(await echo());
        process.kill(process.pid, 'SIGSEGV');
        setInterval(() => {}, 1000);`);
      expect(ended).toMatchObject({ code: null, signal: 'SIGSEGV' });
    });

    test('an engine that its owner forgot ends with the process, once nothing keeps it alive', async () => {
      const ended = await program(`
        const engine = startEngine();
        const listener = await engine.listen({ port: 0, framing: { format: 'raw' } }, { frame() {} });
        listener.unref();
        console.log('at its end');`);
      expect(ended).toMatchObject({ code: 0, signal: null, stdout: 'at its end\n', stderr: '' });
    });
  },
  { reactors: [0, 2] },
);
