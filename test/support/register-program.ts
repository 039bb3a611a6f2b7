/**
 * An unchanged program that gets at `net` in every way there is, itself and in a library, and talks through what it got. It
 * prints which `net` each way gave: 'ringway', 'node', 'mixed', or 'both' where they are one (`WHICH_NET` tells).
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const FILES: Record<string, string> = {
  'package.json': '{ "type": "module" }',
  'node_modules/cjs-library/package.json': '{ "name": "cjs-library" }',
  'node_modules/cjs-library/index.js': `
    const net = require('net');
    exports.net = net;
    exports.nodeNet = require('node:net');
    exports.listen = () => new Promise((resolve) => {
      const server = net.createServer((socket) => socket.pipe(socket));
      server.listen(0, '127.0.0.1', () => resolve(server));
    });`,
  'node_modules/esm-library/package.json': '{ "name": "esm-library", "type": "module", "exports": "./index.js" }',
  'node_modules/esm-library/index.js': `
    export { default as net, createServer } from 'net';
    export * as all from 'node:net';`,
  'app.mjs': `
    import bare, { createServer, Socket } from 'net';
    import prefixed, { connect } from 'node:net';
    import * as all from 'node:net';
    import { createRequire } from 'node:module';
    import http from 'node:http';
    import { fork } from 'node:child_process';
    import { Worker } from 'node:worker_threads';
    import * as cjs from 'cjs-library';
    import * as esm from 'esm-library';
    const require = createRequire(import.meta.url);
    const required = require('./required.cjs');
    const dynamic = await import('node:net');

    const which = {
      bare: whichNet(bare), prefixed: whichNet(prefixed), named: whichNet({ createServer }), all: whichNet(all),
      required: whichNet(required.net), created: whichNet(require('node:net')), dynamic: whichNet(dynamic),
      cjsLibrary: whichNet(cjs.net), esmLibrary: whichNet(esm.net), esmNamed: whichNet(esm), esmAll: whichNet(esm.all),
      builtin: whichNet(process.getBuiltinModule?.('net')),
    };
    const same = [bare === prefixed, bare === required.net, bare === cjs.net, bare === cjs.nodeNet, bare === esm.net,
      all.default === bare, Socket === bare.Socket, new Socket() instanceof required.net.Socket];

    // A program may patch what it required, and sees it.
    required.net.patched = 'here';
    const patched = require('net').patched;

    // Traffic through a library's server.
    const server = await cjs.listen();
    const echoed = await new Promise((resolve, reject) => {
      const socket = connect(server.address().port, '127.0.0.1', () => socket.end('through the library'));
      let text = '';
      socket.setEncoding('utf8').on('data', (data) => (text += data)).on('end', () => resolve(text)).on('error', reject);
    });
    await new Promise((resolve) => server.close(resolve));

    // Node's http has its own net, and works.
    const web = http.createServer((request, response) => response.end(whichNet({ Socket: request.socket.constructor })));
    await new Promise((resolve) => web.listen(0, '127.0.0.1', resolve));
    const httpSocket = await (await fetch('http://127.0.0.1:' + web.address().port)).text();
    await new Promise((resolve) => web.close(resolve) && web.closeAllConnections());

    const worker = await new Promise((resolve, reject) => {
      new Worker(new URL('worker.cjs', import.meta.url)).on('message', resolve).on('error', reject);
    });
    const forked = await new Promise((resolve) => fork(new URL('forked.cjs', import.meta.url)).on('message', resolve));
    console.log(JSON.stringify({ which, same, patched, echoed, httpSocket, worker, forked }));`,
  'forked.cjs': `process.send(whichNet(require('net')));`,
  'required.cjs': `exports.net = require('net');`,
  'worker.cjs': `
    const { parentPort } = require('node:worker_threads');
    import('node:net').then((imported) => {
      parentPort.postMessage([whichNet(require('net')), whichNet(imported.default)]);
    });`,
};

/** A preload, before the one that replaces: `whichNet(module)`, by its `createServer`, or its `Socket` where it has no other. */
export const WHICH_NET = (ringwayNet: string) => `
  const real = process.getBuiltinModule('net');
  import ringway from ${JSON.stringify(ringwayNet)};
  globalThis.whichNet = (found = {}) => {
    const name = found.createServer ? 'createServer' : 'Socket';
    if (real[name] === ringway[name]) return found[name] === real[name] ? 'both' : 'mixed';
    return found[name] === ringway[name] ? 'ringway' : found[name] === real[name] ? 'node' : 'mixed';
  };`;

/** Writes the program into a folder. @returns what to run */
export function writeRegisterProgram(folder: string): string {
  for (const [name, text] of Object.entries(FILES)) {
    const file = join(folder, name);
    mkdirSync(join(file, '..'), { recursive: true });
    writeFileSync(file, text);
  }
  return join(folder, 'app.mjs');
}

/** What it prints where every way gives the replacement. */
export const REPLACED = {
  which: {
    bare: 'ringway',
    prefixed: 'ringway',
    named: 'ringway',
    all: 'ringway',
    required: 'ringway',
    created: 'ringway',
    dynamic: 'ringway',
    cjsLibrary: 'ringway',
    esmLibrary: 'ringway',
    esmNamed: 'ringway',
    esmAll: 'ringway',
    builtin: 'node',
  },
  same: Array(8).fill(true),
  patched: 'here',
  echoed: 'through the library',
  httpSocket: 'node',
  worker: ['ringway', 'ringway'],
  forked: 'ringway',
};
