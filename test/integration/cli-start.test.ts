import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type CliProcess, endAll, runCli, startCli } from '../support/cli-process.js';
import { describeEngines } from '../support/engines.js';
import { lengthPrefixed, TcpPeer } from '../support/tcp-peer.js';

const EXAMPLE = fileURLToPath(new URL('../../examples/gateway.yaml', import.meta.url));

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ringway-cli-'));
});

afterEach(async () => {
  await endAll();
  await rm(folder, { recursive: true, force: true });
});

async function write(name: string, text: string): Promise<string> {
  const file = join(folder, name);
  await writeFile(file, text);
  return file;
}

interface Setting {
  readonly engine?: string;
  readonly backends: readonly number[];
  readonly drainGraceMs?: number;
}

/** An rmp listener, a plain one, a lines one and the admin, each on a port that the system chooses. */
async function startGateway({ engine = 'portable', backends, drainGraceMs = 600_000 }: Setting) {
  const file = await write(
    'gateway.yaml',
    `engine: { kind: ${engine} }
drainGraceMs: ${drainGraceMs}
admin: { port: 0 }
listeners: [{ port: 0 }, { port: 0, protocol: plain }, { port: 0, protocol: lines }]
pools: { echo: { servers: [${backends.map((port) => `{ address: "127.0.0.1:${port}" }`).join(', ')}] } }
routes: [{ route: 0, pool: echo }]
`,
  );
  const gateway = startCli(['start', '--config', file]);
  const [line, rmp, plain, lines, admin] = await gateway.match(
    /^listening on 127\.0\.0\.1:(\d+), 127\.0\.0\.1:(\d+), 127\.0\.0\.1:(\d+), admin on (127\.0\.0\.1:\d+) \(.*\)$/m,
  );
  return { gateway, line, rmp: Number(rmp), plain: Number(plain), lines: Number(lines), admin: `http://${admin}` };
}

/** It answers a task when a line comes on its stdin. */
const ON_WORD = `
  const words = [];
  process.stdin.on('data', () => { for (const answer of words.splice(0)) answer('finished'); });
  export default () => {
    console.log('a task is here');
    return new Promise((resolve) => words.push(resolve));
  };`;

async function startPatientBackend(): Promise<CliProcess> {
  const handler = await write('handler.mjs', ON_WORD);
  return startCli(['backend', '--port', '0', '--handler', handler, '--engine', 'portable']);
}

const startEcho = (engine = 'portable') => startCli(['backend', '--port', '0', '--echo', '--engine', engine]);
const request = (port: number, ...args: string[]) =>
  runCli(['request', '--port', String(port), '--deadline', '20000', ...args]);

describeEngines('ringway start', (engine) => {
  it('carries requests of every protocol to its backends, and ends with 0 on SIGTERM', async () => {
    const backends = [startEcho(engine), startEcho(engine)];
    const ports = await Promise.all(backends.map((backend) => backend.port()));
    const { gateway, line, rmp, plain, lines, admin } = await startGateway({ engine, backends: ports });
    expect(line).toMatch(new RegExp(`\\(${engine}\\W`));

    expect(await request(rmp, 'over rmp')).toMatchObject({ status: 0, stdout: 'over rmp\n' });
    const peers = await Promise.all([plain, lines].map((port) => TcpPeer.connect({ host: '127.0.0.1', port })));
    const frame = lengthPrefixed('over plain');
    peers[0].write(frame);
    peers[1].write('over lines\n');
    expect(await peers[0].bytes(frame.length)).toEqual(frame);
    expect((await peers[1].bytes(11)).toString()).toBe('over lines\n');

    const ready = await fetch(`${admin}/ready`);
    expect(ready.status).toBe(200);
    const metrics = await (await fetch(`${admin}/metrics`)).text();
    expect(metrics).toMatch(new RegExp(`^ringway_engine_info\\{engine="${engine}",`, 'm'));
    expect(metrics).toMatch(/^ringway_tasks_total\{outcome="answered"\} 3$/m);
    const { echo } = (await (await fetch(`${admin}/backends`)).json()) as {
      echo: { name: string; successes: number }[];
    };
    expect(echo.map(({ name }) => name)).toEqual(ports.map((port) => `127.0.0.1:${port}`));
    expect(echo.reduce((sum, { successes }) => sum + successes, 0)).toBe(3);

    gateway.signal('SIGTERM');
    await Promise.all(peers.map((peer) => peer.end()));
    for (const peer of peers) peer.fin();
    expect(await gateway.ended).toMatchObject({ status: 0 });
  });
});

describe('ringway start, the end', () => {
  it('finishes what is in flight before it exits with 0; meanwhile it is not ready', async () => {
    const backend = await startPatientBackend();
    const { gateway, rmp, admin } = await startGateway({ backends: [await backend.port()] });
    const answer = request(rmp, 'x');
    await backend.match(/a task is here/);
    gateway.signal('SIGTERM');
    await gateway.match(/gateway\.draining/, 'stderr');
    const ready = await fetch(`${admin}/ready`);
    expect(ready.status).toBe(503);
    expect(await ready.json()).toEqual({ status: 'draining' });
    backend.child.stdin!.write('now\n');
    expect(await answer).toMatchObject({ status: 0, stdout: 'finished\n' });
    expect(await gateway.ended).toMatchObject({ status: 0 });
  });

  it('exits with 1 when the grace period cut something, which is answered UNAVAILABLE', async () => {
    const backend = await startPatientBackend();
    const { gateway, rmp } = await startGateway({ backends: [await backend.port()], drainGraceMs: 1 });
    const answer = request(rmp, 'x');
    await backend.match(/a task is here/);
    gateway.signal('SIGINT');
    expect(await answer).toMatchObject({ status: 24 });
    expect(await gateway.ended).toMatchObject({ status: 1 });
  });

  it('aborts on a second signal', async () => {
    const backend = await startPatientBackend();
    const { gateway, rmp } = await startGateway({ backends: [await backend.port()] });
    void request(rmp, 'x');
    await backend.match(/a task is here/);
    gateway.signal('SIGTERM');
    await gateway.match(/a second signal aborts/, 'stderr');
    gateway.signal('SIGTERM');
    expect(await gateway.ended).toMatchObject({ status: 1 });
  });
});

describe('ringway start, the beginning', () => {
  it('starts without its backends, and says that it is not ready', async () => {
    const gone = startEcho();
    const port = await gone.port();
    gone.signal('SIGTERM');
    await gone.ended;
    const { admin } = await startGateway({ backends: [port] });
    const ready = await fetch(`${admin}/ready`);
    expect(ready.status).toBe(503);
    expect(await ready.json()).toEqual({ status: 'no backend', pools: ['echo'] });
    expect((await fetch(`${admin}/health`)).status).toBe(200);
  });

  it('checks a file and prints it with every default, without starting', async () => {
    const { status, stdout, stderr } = await runCli(['start', '--config', EXAMPLE, '--check']);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toMatch(/^ {4}writeStallTimeoutMs: 30000$/m);
    const file = await write('again.yaml', stdout);
    expect(await runCli(['start', '--config', file, '--check'])).toMatchObject({ status: 0, stdout });
  });

  it('refuses a file that is wrong: a line for each problem, exit status 2', async () => {
    const file = await write('wrong.yaml', 'listeners: [{ port: 70000 }]\npools: {}\nrouts: []\n');
    for (const check of [[], ['--check']]) {
      const { status, stdout, stderr } = await runCli(['start', '--config', file, ...check]);
      expect(status).toBe(2);
      expect(stdout).toBe('');
      expect(stderr.split('\n')).toEqual([
        `ringway: ${file}: listeners[0].port: 70000 is not a port: 0 to 65535 (line 1)`,
        expect.stringContaining(`ringway: ${file}: routes: missing`),
        `ringway: ${file}: routs: unknown key: did you mean routes? (line 3)`,
        '',
      ]);
    }
  });

  it('says in one line that its file is not there', async () => {
    const file = join(folder, 'none.yaml');
    const { status, stderr } = await runCli(['start', '--config', file]);
    expect(status).toBe(2);
    expect(stderr).toBe(`ringway: --config ${file}: no such file\n`);
  });

  it.each(['listener', 'admin'])('says in one line that the address of its %s is in use', async (which) => {
    const other = startEcho();
    const port = await other.port();
    const file = await write(
      'gateway.yaml',
      `engine: portable
log: { level: error }
admin: { port: ${which === 'admin' ? port : 0} }
listeners: [{ port: ${which === 'admin' ? 0 : port} }]
pools: { echo: { servers: [{ address: "127.0.0.1:${port}" }] } }
routes: [{ route: 0, pool: echo }]
`,
    );
    const { status, stdout, stderr } = await runCli(['start', '--config', file]);
    expect(stderr).toMatch(new RegExp(`^ringway: 127\\.0\\.0\\.1:${port} is already in use[^\\n]*\\n$`));
    expect(status).toBe(1);
    expect(stdout).toBe('');
  });

  it('says what other machines can reach', async () => {
    const file = await write(
      'gateway.yaml',
      `engine: portable
listeners: [{ host: 0.0.0.0, port: 0 }]
pools: { echo: { servers: [{ address: "127.0.0.1:9" }] } }
routes: [{ route: 0, pool: echo }]
`,
    );
    const gateway = startCli(['start', '--config', file]);
    await gateway.match(/^listening on (0\.0\.0\.0:\d+) \(.*; reachable from other machines: \1\)$/m);
  });
});

describeEngines('ringway start, too few file descriptors', (engine) => {
  const limited = (count: number) => ({ command: ['sh', '-c', `ulimit -n ${count}; exec "$@"`, 'sh'] });
  const configFor = (port: number) =>
    write(
      'gateway.yaml',
      `engine: ${engine}
listeners: [{ port: 0, maxConnections: 5000 }]
pools: { echo: { servers: [{ address: "127.0.0.1:${port}" }] } }
routes: [{ route: 0, pool: echo }]
`,
    );

  it('too few for its connections: in the log, and it works', async () => {
    const backend = startEcho(engine);
    const gateway = startCli(['start', '--config', await configFor(await backend.port())], limited(200));
    const [, raised] = await gateway.match(/open files are limited to 200: raise the limit to (\d+)/, 'stderr');
    expect(Number(raised)).toBeGreaterThan(5000);
    await gateway.match(new RegExp(`^listening on .* \\(${engine}\\W`, 'm'));
    expect(await request(await gateway.port(), 'still works')).toMatchObject({ stdout: 'still works\n' });
  });

  it('too few to start: one line, wherever they run out', async () => {
    const file = await configFor(9);
    /** What it said, or nothing where it started. */
    const attempt = async (count: number): Promise<string | undefined> => {
      const started = startCli(['start', '--config', file], limited(count));
      const listening = started.match(/^listening on/m).then(
        () => true,
        () => false,
      );
      if (await listening) started.signal('SIGKILL');
      return (await listening) ? undefined : (await started.ended).stderr;
    };
    // What Node itself needs differs by version: the least that is enough, and then what happens just below it.
    let tooFew = 30;
    let enough = 200;
    expect(await attempt(enough)).toBeUndefined();
    const answers: (string | undefined)[] = [];
    while (enough - tooFew > 1) {
      const middle = (tooFew + enough) >> 1;
      const answer = await attempt(middle);
      if (answer === undefined) enough = middle;
      else {
        tooFew = middle;
        answers.push(answer);
      }
    }
    expect(answers.length).toBeGreaterThan(0);
    for (const answer of answers) expect(answer).toMatch(/^ringway: [^\n]*(file descriptors|open files)[^\n]*\n$/);
  });
});
