/** Programs that the tests write into a project which has the package installed, and how they run them. */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Outcome {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Nothing but Node: no compiler, no npm, nothing that this repository's environment asks for. */
export function bareEnvironment(more: NodeJS.ProcessEnv = {}): NodeJS.ProcessEnv {
  return { PATH: '/nonexistent', HOME: process.env.HOME, TMPDIR: process.env.TMPDIR, ...more };
}

export function runNode(
  binary: string,
  args: readonly string[],
  options: { cwd: string; env?: NodeJS.ProcessEnv },
): Outcome {
  const { status, signal, stdout, stderr } = spawnSync(binary, args, {
    env: bareEnvironment(),
    encoding: 'utf8',
    timeout: 50_000,
    ...options,
  });
  return { status, signal, stdout, stderr };
}

export function writeProgram(project: string, name: string, source: string): string {
  const file = join(project, name);
  writeFileSync(file, source);
  return file;
}

/** Real traffic on each engine named: an echo of small and large frames, and requests through a gateway. Prints what ran. */
export const TRAFFIC = `
import { connect, connectClient, createEngine, createGateway, createServer, loadConfig, serve } from 'ringway';

async function echo(engine) {
  const server = createServer({ framing: 'length', port: 0, engine }, { frame: (c, frame) => void c.send(frame) });
  const { port } = await server.listen();
  const sent = ['hello', 'x'.repeat(100), 'y'.repeat(300_000)];
  const received = [];
  await new Promise((resolve, reject) => {
    const connection = connect({ framing: 'length', port, engine }, {
      open: () => sent.forEach((text) => connection.send(Buffer.from(text))),
      frame: (_, frame) => {
        received.push(frame.toString());
        if (received.length === sent.length) resolve();
      },
      close: (_, info) => reject(new Error(info.message)),
    });
  });
  await server.close();
  return received.every((text, index) => text === sent[index]);
}

async function gateway(engine) {
  const backend = await serve({ port: 0, engine }, { handle: (task) => task.payload.toString().toUpperCase() });
  const config = loadConfig(\`
listeners: [{ port: 0, protocol: rmp }]
pools: { shout: { servers: [{ address: "127.0.0.1:\${backend.port}" }] } }
routes: [{ route: 0, pool: shout }]
\`);
  const gateway = createGateway(config, { engine });
  await gateway.start();
  const [{ address }] = gateway.addresses;
  const client = connectClient(\`rmp://127.0.0.1:\${address.port}\`, { engine });
  const answers = await Promise.all(['one', 'two', 'three'].map((text) => client.request(text)));
  await client.close();
  await gateway.close();
  await backend.close();
  return answers.join(' ');
}

// In Node's own loop, and on threads: a kind, or kind:threads.
for (const asked of process.argv.slice(2)) {
  const [kind, reactors] = asked.split(':');
  const engine = createEngine({ kind, ...(reactors && { reactors: Number(reactors) }) });
  const { name, reactors: threads } = engine;
  console.log(JSON.stringify({ engine: name, threads, echo: await echo(engine), gateway: await gateway(engine) }));
  await engine.close();
}
`;
