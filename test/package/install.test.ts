// The tarball, installed with scripts off in an empty project, on every Node that is supported: no compiler, no npm on the path.
import { describe, expect, inject, test } from 'vitest';
import { createNativeEngine } from '../../src/engine/create-native-engine.js';
import { runNode, TRAFFIC, writeProgram } from './programs.js';

const { project = '', missing, nodes } = inject('installed');

/** What this machine's kernel allows; a driver that runs from the clone must run from the package. */
const drivers = ['io_uring', 'epoll', 'portable'].filter((kind) => {
  if (kind === 'portable') return true;
  const tried = createNativeEngine({ kind: kind as 'io_uring' | 'epoll', reactors: 0 });
  if (tried.reason === undefined) void tried.engine.close();
  else console.log(`not tested on ${kind}: ${tried.reason}`);
  return tried.reason === undefined;
});

describe.each(nodes)('the package on Node $major', ({ binary = '', missing: noNode }) => {
  const testHere = test.skipIf(missing !== undefined || noNode !== undefined);

  testHere('moves traffic on every engine, in the main loop and on threads', () => {
    const file = writeProgram(project, 'traffic.mjs', TRAFFIC);
    const runs = drivers.flatMap((engine) =>
      engine === 'portable'
        ? [[engine, 0]]
        : [
            [engine, 0],
            [engine, 2],
          ],
    );
    const args = runs.map(([engine, threads]) => `${engine}:${threads}`);
    const outcome = runNode(binary, [file, ...args], { cwd: project });
    expect(outcome).toMatchObject({ stderr: '', status: 0 });
    const lines = outcome.stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(lines).toEqual(runs.map(([engine, threads]) => ({ engine, threads, echo: true, gateway: 'ONE TWO THREE' })));
  });

  testHere('gives CommonJS the same names, without a warning', () => {
    const names = `
      import('ringway').then((imported) => {
        const required = require('ringway');
        const differ = Object.keys(imported).filter((name) => imported[name] !== required[name]);
        const engine = required.createEngine('epoll');
        const net = typeof require('ringway/net').createServer;
        console.log(JSON.stringify({ count: Object.keys(imported).length, differ, engine: engine.name, net }));
        return engine.close();
      });`;
    const outcome = runNode(binary, [writeProgram(project, 'names.cjs', names)], { cwd: project });
    expect(outcome).toMatchObject({ stderr: '', status: 0 });
    const { count, ...found } = JSON.parse(outcome.stdout);
    expect(count).toBeGreaterThan(10);
    expect(found).toEqual({ differ: [], engine: 'epoll', net: 'function' });
  });

  testHere('has the command, whose doctor finds the prebuilt engine', () => {
    const { status, stdout } = runNode(binary, ['node_modules/ringway/bin/ringway', 'doctor'], { cwd: project });
    expect(status).toBe(0);
    expect(stdout).toMatch(/^engine +(io_uring|epoll): \S/m);
  });
});
