// The package's entries as programs get at them: by import and by require, on every Node, and through a bundler.
import { join } from 'node:path';
import { type OutputChunk, rolldown } from 'rolldown';
import { describe, expect, inject, test } from 'vitest';
import { bareEnvironment, runNode, writeProgram } from './programs.js';

const { project = '', missing, nodes } = inject('installed');

/** A server and a client of this net say something to each other. */
const TALK = `
  const talk = ({ createServer, connect }) => new Promise((resolve, reject) => {
    const server = createServer((socket) => socket.pipe(socket)).listen(0, '127.0.0.1', () => {
      const client = connect(server.address().port, '127.0.0.1', () => client.end('spoken'));
      let heard = '';
      client.setEncoding('utf8').on('data', (chunk) => (heard += chunk)).on('error', reject);
      client.on('close', () => server.close(() => resolve(heard)));
    });
  });
  const print = (found) => console.log(JSON.stringify(found));`;

/** What each program prints where the engine is a native one. */
const PROGRAMS: Record<string, { name: string; source: string; prints: object; portable: object }> = {
  'import ringway/net': {
    name: 'net.mjs',
    source: `
      import net, { connect, createServer, engine, Socket } from 'ringway/net';
      import * as all from 'ringway/net';
      import nodeNet from 'node:net';
      import { createRequire } from 'node:module';
      ${TALK}
      const required = createRequire(import.meta.url)('ringway/net');
      const same = [net.connect === connect, net.Socket === Socket, all.createServer === createServer,
        required.createServer === createServer, required.default === net, required.engine === engine];
      const heard = [await talk(net), await talk({ connect, createServer }), await talk(required)];
      print({ engine: engine.name, isNodes: net === nodeNet, same, heard, names: 'engine' in net });`,
    prints: { engine: 'epoll', isNodes: false, names: false },
    portable: { engine: 'portable', isNodes: true, names: false },
  },
  'require ringway/net': {
    name: 'net.cjs',
    source: `
      const net = require('ringway/net');
      ${TALK}
      import('ringway/net').then(async (imported) => {
        const same = Object.keys(imported).map((name) => imported[name] === net[name]);
        print({ engine: net.engine.name, isNodes: net.default === require('net'), same, heard: [await talk(net)] });
      });`,
    prints: { engine: 'epoll', isNodes: false },
    portable: { engine: 'portable', isNodes: true },
  },
  'import ringway/register': {
    name: 'register.mjs',
    source: `
      import 'ringway/register';
      import ringwayNet from 'ringway/net';
      import { createRequire } from 'node:module';
      ${TALK}
      const require = createRequire(import.meta.url);
      const { default: net } = await import('node:net');
      const same = [net === ringwayNet, require('net') === net, require('node:net') === net];
      print({ isNodes: net === process.getBuiltinModule?.('net'), same, heard: [await talk(net)] });`,
    prints: { isNodes: false },
    portable: {},
  },
  'require ringway/register': {
    name: 'register.cjs',
    source: `
      const before = require('net');
      require('ringway/register');
      const net = require('net');
      ${TALK}
      import('net').then(async (imported) => {
        const same = [imported.default === net, require('ringway/net').default === net];
        print({ isNodes: net === before, same, heard: [await talk(net)] });
      });`,
    prints: { isNodes: false },
    portable: { isNodes: true },
  },
};

describe.each(nodes)('the entries on Node $major', ({ binary = '', missing: noNode }) => {
  const testHere = test.skipIf(missing !== undefined || noNode !== undefined);

  for (const [title, { name, source, prints, portable }] of Object.entries(PROGRAMS)) {
    testHere(title, () => {
      const file = writeProgram(project, `exports-${name}`, source);
      for (const [engine, expected] of Object.entries({ epoll: prints, portable })) {
        const env = bareEnvironment({ RINGWAY_ENGINE: engine });
        const { status, stdout, stderr } = runNode(binary, [file], { cwd: project, env });
        expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
        const { same, heard, ...found } = JSON.parse(stdout);
        expect(found).toMatchObject(expected);
        expect(new Set(same)).toEqual(new Set([true]));
        expect(new Set(heard)).toEqual(new Set(['spoken']));
      }
    });
  }

  testHere('nothing else of it can be had', () => {
    const source = `
      const paths = ['ringway/dist/net/index.js', 'ringway/net/index.js', 'ringway/src/index.ts', 'ringway/nothing'];
      const tried = paths.map((path) => import(path).then(() => path, ({ code }) => code));
      Promise.all(tried).then((found) => console.log(found.join(' ')));`;
    const outcome = runNode(binary, [writeProgram(project, 'deep.cjs', source)], { cwd: project });
    const refused = Array(4).fill('ERR_PACKAGE_PATH_NOT_EXPORTED').join(' ');
    expect(outcome).toMatchObject({ status: 0, stderr: '', stdout: `${refused}\n` });
  });
});

describe.skipIf(missing !== undefined)('a bundle', () => {
  /** Which files of the package's dist/ are in the bundle of this program. */
  async function bundled(source: string): Promise<string[]> {
    const input = writeProgram(project, 'bundled.mjs', `${source}\nconsole.log('the program');`);
    const bundle = await rolldown({ input, cwd: project, platform: 'node', external: [/^node:/], logLevel: 'silent' });
    const { output } = await bundle.generate();
    await bundle.close();
    const dist = join('node_modules', 'ringway', 'dist');
    return output
      .filter((one): one is OutputChunk => one.type === 'chunk')
      .flatMap(({ moduleIds }) => moduleIds)
      .filter((id) => id.includes(dist))
      .map((id) => id.slice(id.indexOf(dist) + dist.length + 1));
  }

  test('leaves out what is imported and not used', async () => {
    expect(await bundled(`import 'ringway';\nimport 'ringway/net';`)).toEqual([]);
    expect(await bundled(`import { connect } from 'ringway';\nimport net, { Socket } from 'ringway/net';`)).toEqual([]);
  });

  test('keeps what is used', async () => {
    const files = await bundled(`import { isIP } from 'ringway/net';\nimport 'ringway';\nconsole.log(isIP('::1'));`);
    expect(files).toContain('net/index.js');
    expect(files).not.toContain('index.js');
    expect(files).not.toContain('register.js');
  });

  test('keeps ringway/register, which is there for its effect', async () => {
    const files = await bundled(`import 'ringway/register';`);
    expect(files).toEqual(expect.arrayContaining(['register.js', 'register/replace-net.js', 'net/index.js']));
  });
});
