// A server without clients keeps what V8 compiled for them: it must not be slow again for those who come next. In processes of their
// own, on dist/: V8 tells which code it throws away because a class has no object any more.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';
import { describeEngines } from '../support/engines.js';

const dist = (file: string) => new URL(`../../dist/${file}`, import.meta.url).href;
// Compiled at once, not beside the program: what is ready must not depend on how busy the machine is.
const COMPILES = ['--trace-opt', '--trace-deopt', '--no-concurrent-recompilation', '--expose-gc'];
const FLAGS = [...COMPILES, '--allow-natives-syntax', '--input-type=module', '-e'];
const COMPILED = /completed (?:compiling|optimizing) .*<JSFunction (?:get )?([^ >]*).*TURBOFAN/;
const THROWN_AWAY = /marking dependent code .*<SharedFunctionInfo ([^>]*)>.*reason: [^,]*weak objects/;

const ROUNDS = 8;

const CONTROL = 'control';
/** The way of a frame, and of a task. What only opens and closes connections is no matter. */
const HOT = [
  '#takeFrom',
  'frame',
  'send',
  'sendNow',
  'sendFrame',
  'submit',
  '#send',
  'answered',
  'answer',
  '#final',
  '#write',
];

/**
 * Traffic until V8 has compiled it; then all clients go, and garbage is collected. The clients are sockets of node:net, as Ringway's
 * would be compiled with the server.
 */
const program = (engine: string, begin: string) => `
  import { once } from 'node:events';
  import { connect } from 'node:net';
  import { createEngine, createGateway, createServer, serve } from '${dist('index.js')}';
  import { checkConfig } from '${dist('config/load-config.js')}';

  const kind = '${engine}';
  const plainFrame = Buffer.alloc(68);
  plainFrame.writeUInt32BE(64);
  const rmpFrame = (id) => {
    const frame = Buffer.alloc(80);
    frame.writeUInt32BE(76);
    frame[4] = 1;
    frame.writeUInt32BE(id, 8);
    return frame;
  };

  /** Clients one after another, 8 requests in flight each, each answer sent back as the next request. */
  async function framesTo(port, frames, ask = (answers) => answers) {
    for (let i = 0; i < 4; i++) {
      const socket = connect(port, '127.0.0.1', () => socket.write(Buffer.concat(frames)));
      let bytes = 0;
      socket.on('data', (answers) => {
        bytes += answers.length;
        if (bytes < 80_000) socket.write(ask(answers, bytes - answers.length));
        else socket.destroy();
      });
      await once(socket, 'close');
    }
  }
  /** Responses become requests. */
  const asRequests = (answers, before) => {
    for (let at = 4 - (before % 80); at < answers.length; at += 80) if (at >= 0) answers[at] = 1;
    return answers;
  };

  const traffic = ${begin};
  for (let round = 0; round < ${ROUNDS}; round++) await traffic();
  // The control: code for a class of which no object is left.
  class Gone {
    constructor() { this.value = 1; }
  }
  function control(object) { return object.value; }
  %PrepareFunctionForOptimization(control);
  control(new Gone());
  control(new Gone());
  %OptimizeFunctionOnNextCall(control);
  control(new Gone());
  console.log('over');
  for (let i = 0; i < 5; i++) {
    gc();
    await new Promise(setImmediate);
  }
  process.exit(0);
`;

/** @returns the names of what was compiled, and of what was thrown away after the traffic, of `HOT` and the control alone. */
async function run(source: string): Promise<{ compiled: Set<string>; thrownAway: Set<string> }> {
  const { stdout } = await promisify(execFile)(process.execPath, [...FLAGS, source], { maxBuffer: 1 << 26 });
  const lines = stdout.split('\n');
  const over = lines.indexOf('over');
  expect(over).toBeGreaterThan(0);
  const namesOf = (some: string[], pattern: RegExp) =>
    some.flatMap((line) => pattern.exec(line)?.[1] ?? []).filter((name) => HOT.includes(name) || name === CONTROL);
  return {
    compiled: new Set(namesOf(lines.slice(0, over), COMPILED)),
    thrownAway: new Set(namesOf(lines.slice(over), THROWN_AWAY)),
  };
}

async function expectKept(source: string): Promise<void> {
  const { compiled, thrownAway } = await run(source);
  expect(compiled.size).toBeGreaterThan(2);
  expect(thrownAway).toContain(CONTROL);
  // One may go for a reason of its own; without a spare four to eight do.
  expect(thrownAway.size).toBeLessThan(3);
}

describeEngines('an idle server', (engine) => {
  if (engine === 'portable') {
    console.log("an idle server: not run on portable: what is compiled for Node's sockets goes with the last of them");
  }
  test.skipIf(engine === 'portable')('of frames keeps its compiled code', async () => {
    const begin = `await (async () => {
      const server = createServer({ framing: 'length', engine: kind }, { frame: (client, frame) => client.send(frame) });
      const { port } = await server.listen();
      return () => framesTo(port, new Array(8).fill(plainFrame));
    })()`;
    await expectKept(program(engine, begin));
  });

  test.skipIf(engine === 'portable')('of tasks keeps its compiled code', async () => {
    const begin = `await (async () => {
      const backend = await serve({ port: 0, engine: kind }, { handle: (task) => task.payload });
      const servers = [{ address: '127.0.0.1:' + backend.address.port }];
      const listeners = ['plain', 'rmp'].map((protocol) => ({ name: protocol, port: 0, protocol }));
      const config = checkConfig({ listeners, pools: { echo: { servers } }, routes: [{ route: 0, pool: 'echo' }] });
      const gateway = createGateway(config, { engine: createEngine({ kind }) });
      await gateway.start();
      const [plain, rmp] = gateway.addresses.map(({ address }) => address.port);
      return async () => {
        await framesTo(plain, new Array(8).fill(plainFrame));
        await framesTo(rmp, [1, 2, 3, 4, 5, 6, 7, 8].map(rmpFrame), asRequests);
      };
    })()`;
    await expectKept(program(engine, begin));
  });
});
