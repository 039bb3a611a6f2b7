// serve in a program of its own: what SIGTERM does with handleSignals, and without. It needs dist/, which `npm test` builds first.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterEach, expect, test } from 'vitest';
import { connectClient } from '../../src/client/connect-client.js';
import type { Client } from '../../src/client/types.js';
import { describeEngines } from '../support/engines.js';

const RINGWAY = new URL('../../dist/index.js', import.meta.url).href;

describeEngines('serve and SIGTERM', (engine) => {
  const cleanUps: (() => unknown)[] = [];
  afterEach(async () => {
    for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
  });

  /** A backend that tells when it begins a task, and answers with what it is told then. */
  async function start(options: object): Promise<{ child: ChildProcess; client: Client }> {
    const program = `
      import { serve } from ${JSON.stringify(RINGWAY)};
      const handle = () => {
        process.send('begun');
        return new Promise((resolve) => process.once('message', resolve));
      };
      const options = ${JSON.stringify({ port: 0, engine, ...options })};
      const server = await serve(options, { handle });
      process.channel.unref();
      process.send(server.port);`;
    const child = spawn(process.execPath, ['--input-type=module', '-e', program], {
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    });
    cleanUps.push(() => child.kill('SIGKILL'));
    const [port] = (await once(child, 'message')) as [number];
    const client = connectClient(`rmp://127.0.0.1:${port}`, { engine, waitForReady: false });
    cleanUps.push(() => client.close());
    return { child, client };
  }

  test('handleSignals: what is in flight is finished, and the exit status is 0', async () => {
    const { child, client } = await start({ handleSignals: true });
    const answer = client.request('in flight');
    await once(child, 'message');
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    await expect(refused(client)).resolves.toBe('UNAVAILABLE');
    child.send('late, but whole');
    expect((await answer).toString()).toBe('late, but whole');
    expect(await ended).toEqual([0, null]);
  });

  test('without it the signal is the program’s, and by default its end', async () => {
    const { child, client } = await start({});
    const answer = client.request('in flight');
    await once(child, 'message');
    const ended = once(child, 'exit');
    child.kill('SIGTERM');
    await expect(answer).rejects.toMatchObject({ code: 'UNAVAILABLE', notExecuted: false });
    expect(await ended).toEqual([null, 'SIGTERM']);
  });

  /** Requests are refused, or find nobody who listens, once the backend drains. */
  async function refused(client: Client): Promise<string> {
    for (;;) {
      const outcome = await client.request('new', { deadlineMs: 200 }).then(
        () => 'answered',
        ({ code }: { code: string }) => code,
      );
      if (outcome !== 'DEADLINE_EXCEEDED') return outcome;
    }
  }
});
