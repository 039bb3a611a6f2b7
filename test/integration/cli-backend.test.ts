import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { endAll, runCli, startCli } from '../support/cli-process.js';
import { describeEngines } from '../support/engines.js';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ringway-cli-'));
});

afterEach(async () => {
  await endAll();
  await rm(folder, { recursive: true, force: true });
});

const STATUS_ERROR = new URL('../../dist/index.js', import.meta.url).href;

async function writeModule(text: string): Promise<string> {
  const file = join(folder, 'handler.mjs');
  await writeFile(file, text);
  return file;
}

const request = (port: number, ...args: string[]) => runCli(['request', '--port', String(port), ...args]);

describeEngines('ringway backend and request', (engine) => {
  it('echoes, says where it listens and with which engine, and drains on SIGTERM', async () => {
    const backend = startCli(['backend', '--port', '0', '--echo', '--engine', engine]);
    const [line] = await backend.match(/^listening on .*$/m);
    expect(line).toMatch(new RegExp(`^listening on 127\\.0\\.0\\.1:\\d+ \\(${engine}\\W.+\\)$`));
    const answer = await request(await backend.port(), 'hello, wörld');
    expect(answer).toEqual({ status: 0, signal: null, stdout: 'hello, wörld\n', stderr: '' });
    backend.signal('SIGTERM');
    expect(await backend.ended).toMatchObject({
      status: 0,
      stderr: 'ringway: SIGTERM: draining; a second signal aborts\n',
    });
  });

  it('runs a handler from a module, streams its parts and passes the route on', async () => {
    const handler = await writeModule(`
      export default async (task, { partial }) => {
        await partial('route ' + task.route + ', ');
        return task.payload.toString().toUpperCase();
      };`);
    const backend = startCli(['backend', '--port', '0', '--handler', handler, '--engine', engine]);
    const answer = await request(await backend.port(), '--route', '7', 'loud');
    expect(answer).toMatchObject({ status: 0, stdout: 'route 7, LOUD\n' });
  });

  it('takes a module that exports handle by name', async () => {
    const handler = await writeModule(`export const handle = (task) => 'named ' + task.payload;`);
    const backend = startCli(['backend', '--port', '0', '--handler', handler, '--engine', engine]);
    expect(await request(await backend.port(), 'x')).toMatchObject({ stdout: 'named x\n' });
  });

  it('refuses a module without a handler', async () => {
    const handler = await writeModule('export const answer = 42;');
    const { status, stderr } = await runCli(['backend', '--port', '0', '--handler', handler]);
    expect(status).toBe(2);
    expect(stderr).toMatch(/exports no function/);
  });

  it('exits with 10 + the status, its sentence on stderr', async () => {
    const handler = await writeModule(`export default () => { throw new Error('the model is on fire'); };`);
    const backend = startCli(['backend', '--port', '0', '--handler', handler, '--engine', engine]);
    const answer = await request(await backend.port(), 'x');
    expect(answer.status).toBe(23);
    expect(answer.stdout).toBe('');
    expect(answer.stderr).toBe('ringway: INTERNAL: the model is on fire\n');
  });

  it('exits with 255 for a status that no exit status can hold', async () => {
    const handler = await writeModule(`
      import { StatusError } from ${JSON.stringify(STATUS_ERROR)};
      export default ({ payload }) => { throw new StatusError(Number(payload), 'so'); };`);
    const backend = startCli(['backend', '--port', '0', '--handler', handler, '--engine', engine]);
    const port = await backend.port();
    for (const [sent, status] of [
      [244, 254],
      [245, 255],
      [246, 255],
      [4_000_000_000, 255],
    ]) {
      expect(await request(port, String(sent))).toMatchObject({ status, stderr: `ringway: STATUS_${sent}: so\n` });
    }
  });

  it('waits before it answers, but not beyond the deadline', async () => {
    const backend = startCli(['backend', '--port', '0', '--echo', '--delay-ms', '60000', '--engine', engine]);
    const answer = await request(await backend.port(), '--deadline', '1000', 'x');
    expect(answer.status).toBe(14);
    expect(answer.stderr).toMatch(/^ringway: DEADLINE_EXCEEDED: /);
    backend.signal('SIGINT');
    expect(await backend.ended).toMatchObject({ status: 0 });
  });

  const HANGING = `export default () => {
    console.log('a task is here');
    return new Promise(() => {});
  };`;

  /** A backend with a task in flight that never ends. */
  async function startHanging(...args: string[]) {
    const handler = await writeModule(HANGING);
    const backend = startCli(['backend', '--port', '0', '--handler', handler, '--engine', engine, ...args]);
    const client = startCli(['request', '--port', String(await backend.port()), '--deadline', '600000', 'x']);
    await backend.match(/a task is here/);
    return { backend, client };
  }

  it('exits with 1 when the grace period cut work, which is answered UNAVAILABLE', async () => {
    const { backend, client } = await startHanging('--drain-grace-ms', '1');
    backend.signal('SIGTERM');
    expect(await backend.ended).toMatchObject({ status: 1 });
    expect(await client.ended).toMatchObject({ status: 24 });
  });

  it('exits at once on a second signal', async () => {
    const { backend } = await startHanging('--drain-grace-ms', '600000');
    backend.signal('SIGINT');
    await backend.match(/draining/, 'stderr');
    backend.signal('SIGINT');
    expect(await backend.ended).toMatchObject({ status: 1 });
  });

  it('listens on a unix socket', async () => {
    const path = join(folder, 'b.sock');
    const backend = startCli(['backend', '--path', path, '--echo', '--engine', engine]);
    const [line] = await backend.match(/^listening on .*$/m);
    expect(line).toContain(`listening on unix:${path} (`);
    expect(await runCli(['request', '--path', path, 'local'])).toMatchObject({ status: 0, stdout: 'local\n' });
  });

  it('takes the payload from stdin', async () => {
    const backend = startCli(['backend', '--port', '0', '--echo', '--engine', engine]);
    const client = startCli(['request', '--port', String(await backend.port()), '-']);
    client.child.stdin!.end('piped');
    expect(await client.ended).toMatchObject({ status: 0, stdout: 'piped\n' });
  });

  it('tells that an address is in use in one line', async () => {
    const first = startCli(['backend', '--port', '0', '--echo', '--engine', engine]);
    const port = await first.port();
    const second = await runCli(['backend', '--port', String(port), '--echo', '--engine', engine]);
    expect(second.status).toBe(1);
    expect(second.stderr).toMatch(new RegExp(`^ringway: 127\\.0\\.0\\.1:${port} is already in use[^\\n]*\\n$`));
  });

  it('tells at once that nobody listens', async () => {
    const backend = startCli(['backend', '--port', '0', '--echo', '--engine', engine]);
    const port = await backend.port();
    backend.signal('SIGTERM');
    await backend.ended;
    const { status, stderr } = await request(port, '--deadline', '600000', 'x');
    expect(status).toBe(24);
    expect(stderr).toMatch(/^ringway: UNAVAILABLE: 127\.0\.0\.1:\d+/);
  });
});
