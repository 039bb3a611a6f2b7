// `ringway/register` on every Node: 20 has other hooks than 22 and 24. Its mechanism with a stand-in, and the whole.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, inject, test } from 'vitest';
import { REPLACED, WHICH_NET, writeRegisterProgram } from '../support/register-program.js';
import { bareEnvironment, runNode, writeProgram } from './programs.js';

const { project = '', missing, nodes } = inject('installed');

/** node:net with other functions: it needs the real one, and lies in a folder that gets it. */
const STAND_IN = `
  import real from 'node:net';
  export class Socket extends real.Socket {}
  export const createServer = (...args) => real.createServer(...args);
  export const { connect, createConnection, Server, isIP } = real;
  export default { ...real, Socket, createServer };`;

const PRELOAD = (replaceNet: string) => `
  import { replaceNet } from ${JSON.stringify(replaceNet)};
  import net from './own/net.mjs';
  replaceNet({
    exports: net,
    url: new URL('./own/net.mjs', import.meta.url).href,
    own: new URL('./own/', import.meta.url).href,
  });`;

describe.each(nodes)('a replaced net on Node $major', ({ major, binary = '', missing: noNode }) => {
  const testHere = test.skipIf(missing !== undefined || noNode !== undefined);

  testHere('is what every import and every require gets, in libraries and workers too', () => {
    const folder = join(project, `register-${major}`);
    const app = writeRegisterProgram(folder);
    mkdirSync(join(folder, 'own'));
    const net = writeProgram(join(folder, 'own'), 'net.mjs', STAND_IN);
    const which = writeProgram(folder, 'which.mjs', WHICH_NET(net));
    const dist = join(project, 'node_modules/ringway/dist');
    const preload = writeProgram(folder, 'preload.mjs', PRELOAD(join(dist, 'register/replace-net.js')));
    const outcome = runNode(binary, ['--import', which, '--import', preload, app], { cwd: folder });
    expect(outcome).toMatchObject({ stderr: '', status: 0 });
    expect(JSON.parse(outcome.stdout)).toMatchObject(REPLACED);
  });

  testHere('is what `--import ringway/register` makes of ringway/net', () => {
    const folder = join(project, `registered-${major}`);
    const app = writeRegisterProgram(folder);
    const dist = join(project, 'node_modules/ringway/dist');
    const which = writeProgram(folder, 'which.mjs', WHICH_NET(join(dist, 'net/index.js')));
    const args = ['--import', which, '--import', 'ringway/register', app];
    const outcome = runNode(binary, args, { cwd: folder, env: bareEnvironment({ RINGWAY_ENGINE: 'epoll' }) });
    expect(outcome).toMatchObject({ stderr: '', status: 0 });
    expect(JSON.parse(outcome.stdout)).toMatchObject(REPLACED);
  });
});
