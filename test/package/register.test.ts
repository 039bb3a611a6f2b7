// The mechanism of `ringway/register`, with a stand-in for `ringway/net`, on every Node: 20 has other hooks than 22 and 24.
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, inject, test } from 'vitest';
import { REPLACED, writeRegisterProgram } from '../support/register-program.js';
import { runNode } from './programs.js';

const { project = '', missing, nodes } = inject('installed');

/** node:net with other functions: it needs the real one, and lies in a folder that gets it. */
const STAND_IN = `
  import real from 'node:net';
  export class Socket extends real.Socket {}
  export const createServer = (...args) => real.createServer(...args);
  export const { connect, createConnection, Server, isIP } = real;
  export default { ...real, Socket, createServer };`;

const PRELOAD = (replaceNet: string) => `
  import real from 'node:net';
  import { replaceNet } from ${JSON.stringify(replaceNet)};
  import net from './own/net.mjs';
  globalThis.whichNet = (found = {}) => {
    const name = found.createServer ? 'createServer' : 'Socket';
    return found[name] === net[name] ? 'ringway' : found[name] === real[name] ? 'node' : 'mixed';
  };
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
    writeFileSync(join(folder, 'own', 'net.mjs'), STAND_IN);
    const preload = join(folder, 'preload.mjs');
    writeFileSync(preload, PRELOAD(join(project, 'node_modules/ringway/dist/register/replace-net.js')));
    const outcome = runNode(binary, ['--import', preload, app], { cwd: folder });
    expect(outcome).toMatchObject({ stderr: '', status: 0 });
    expect(JSON.parse(outcome.stdout)).toMatchObject(REPLACED);
  });
});
