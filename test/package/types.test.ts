// The types as consumers resolve them: publint, arethetypeswrong, and programs compiled against the installed package.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { checkPackage, createPackageFromTarballData } from '@arethetypeswrong/core';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';
import { describe, expect, inject, test } from 'vitest';
import { packageJson, ROOT } from './installed.js';

const { tarball, project = '', missing } = inject('installed');

test('publint finds nothing', async () => {
  const bytes = readFileSync(tarball);
  const data = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length) as ArrayBuffer;
  const { messages, pkg } = await publint({ pack: { tarball: data }, strict: true });
  expect(messages.map((message) => formatMessage(message, pkg as never))).toEqual([]);
});

/**
 * The package is ESM alone. Every Node it supports can `require` it (install.test.ts does), and TypeScript knows that under
 * `module: nodenext` and `node20`; arethetypeswrong asks for older ones: node16, where CommonJS must `import()` it, and
 * node10, which knows no `exports`.
 */
const OLDER = ['node10', 'node16-cjs'];

test('arethetypeswrong finds nothing that TypeScript of this day would stumble over', async () => {
  const result = await checkPackage(createPackageFromTarballData(new Uint8Array(readFileSync(tarball))));
  if (result.types === false) throw new Error('no types at all');
  const problems = result.problems.filter(
    (problem) => !('resolutionKind' in problem) || !OLDER.includes(problem.resolutionKind),
  );
  expect(problems).toEqual([]);
  const untyped = Object.keys(packageJson().exports)
    .filter((name) => name !== './package.json')
    .filter((name) => !result.entrypoints[name]?.resolutions['node16-esm'].resolution?.isTypeScript);
  expect(untyped).toEqual([]);
});

const PROGRAM = `
import { createServer, RingwayError, type FrameServer, type Log, type GatewayDrainReport } from 'ringway';
const server: FrameServer = createServer({ framing: 'length', port: 0 }, { frame: (c, frame) => void c.send(frame) });
export const log: Log = (level, event, fields) => console.log(level, event, fields);
export const cut = (report: GatewayDrainReport): number => report.cut;
server.listen().catch((error: unknown) => {
  if (error instanceof RingwayError) console.log(error.code);
});
// @ts-expect-error: the types are there, so this is a mistake
createServer({ framing: 'xml' }, {});
`;

/** What programs write on `node:net`, with the import changed: values, types by each way of importing, heirs. */
const NET_PROGRAM = `
import 'ringway/register';
import net, { type AddressInfo, connect, createServer, engine, type NetEngine, Server, Socket } from 'ringway/net';
import * as all from 'ringway/net';
class Heir extends Socket {
  readonly heard: Buffer[] = [];
}
const server: net.Server = createServer({ noDelay: true }, (socket) => void socket.end(socket.remoteAddress ?? ''));
server.on('drop', (data?: net.DropArgument) => console.log(data?.remotePort));
server.listen({ port: 0, host: '127.0.0.1' } satisfies net.ListenOptions, () => {
  const { port } = server.address() as AddressInfo;
  const options: net.NetConnectOpts = { port };
  const client: all.Socket = net.connect(options, () => client.setKeepAlive(true, 1_000));
  const other: Socket = connect(port).on('data', (chunk) => new Heir().heard.push(chunk));
  other.resetAndDestroy();
});
export const isServer = (one: unknown): one is Server => one instanceof Server;
export const lists: [all.BlockList, net.BlockList] = [new all.BlockList(), new net.BlockList()];
export const address: all.SocketAddress = new net.SocketAddress({ port: 1 } satisfies all.SocketAddressInitOptions);
export const running: NetEngine = engine;
export const name: 'io_uring' | 'epoll' | 'portable' = engine.name;
// @ts-expect-error: the types are there, so this is a mistake
connect({ port: 1, host: 1 });
// @ts-expect-error: an option of another type
createServer({ noDelay: 'yes' });
// @ts-expect-error: the default export is like Node's, which has no engine
net.engine;
`;

describe.skipIf(missing !== undefined)('a TypeScript program compiles', () => {
  test.each([
    ['as ESM, nodenext', 'module', { module: 'nodenext' }],
    ['as ESM, node16', 'module', { module: 'node16' }],
    ['as CommonJS, nodenext', 'commonjs', { module: 'nodenext' }],
    ['as CommonJS, node20', 'commonjs', { module: 'node20' }],
    ['for a bundler', 'module', { module: 'esnext', moduleResolution: 'bundler' }],
  ])('%s', (name, type, options) => {
    const folder = join(project, 'types', name.replace(/\W+/g, '-'));
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'package.json'), JSON.stringify({ type }));
    writeFileSync(join(folder, 'program.ts'), PROGRAM);
    writeFileSync(join(folder, 'net-program.ts'), NET_PROGRAM);
    const compilerOptions = {
      ...options,
      target: 'es2023',
      strict: true,
      noEmit: true,
      types: ['node'],
      // Node's types are the consumer's own; these are the ones that the package was compiled with.
      typeRoots: [join(ROOT, 'node_modules/@types')],
    };
    writeFileSync(
      join(folder, 'tsconfig.json'),
      JSON.stringify({ compilerOptions, files: ['program.ts', 'net-program.ts'] }),
    );
    const tsc = join(ROOT, 'node_modules/typescript/bin/tsc');
    const { status, stdout } = spawnSync(process.execPath, [tsc, '-p', folder], { encoding: 'utf8' });
    expect({ status, stdout }).toEqual({ status: 0, stdout: '' });
  });
});
