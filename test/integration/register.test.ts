// `node --import ringway/register`: an unchanged program on Ringway's sockets. Needs dist/, which `npm test` builds first.
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { describeEngines } from '../support/engines.js';
import { REPLACED, WHICH_NET, writeRegisterProgram } from '../support/register-program.js';

const REGISTER = fileURLToPath(new URL('../../dist/register.js', import.meta.url));
const NET = fileURLToPath(new URL('../../dist/net/index.js', import.meta.url));
let folder: string;
let app: string;
let which: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'ringway-register-'));
  app = writeRegisterProgram(folder);
  which = join(folder, 'which.mjs');
  writeFileSync(which, WHICH_NET(NET));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describeEngines('ringway/register', (driver) => {
  const env = { ...process.env, RINGWAY_ENGINE: driver };

  test.each(['--import', '-r'])('an unchanged program with %s', (flag) => {
    const args = ['--import', which, flag, REGISTER, app];
    const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', env });
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    const found = JSON.parse(stdout);
    if (driver !== 'portable') expect(found).toMatchObject(REPLACED);
    else {
      // There is nothing to tell apart: `ringway/net` is `node:net`.
      expect(new Set(Object.values(found.which))).toEqual(new Set(['both']));
      expect(found).toMatchObject({ echoed: REPLACED.echoed, patched: 'here' });
    }
  });

  test("sockets and servers of Node's own modules are instances of what the program has", () => {
    const source = `
      const net = require('net');
      const http = require('http');
      const tls = require('tls');
      const web = http.createServer((request, response) => {
        console.log(request.socket instanceof net.Socket, web instanceof net.Server, web instanceof net.Socket);
        console.log(tls.createServer() instanceof net.Server, new tls.TLSSocket(null) instanceof net.Socket);
        class Mine extends net.Socket {}
        console.log(request.socket instanceof Mine, new Mine() instanceof Mine, {} instanceof net.Socket);
        response.end();
      }).listen(0, '127.0.0.1', () => {
        http.get({ port: web.address().port, agent: false }, (answer) => answer.resume().on('end', () => web.close()));
      });`;
    const { status, stdout } = spawnSync(process.execPath, ['--import', REGISTER, '-e', source], {
      encoding: 'utf8',
      env,
    });
    expect({ status, stdout }).toEqual({ status: 0, stdout: 'true true false\ntrue true\nfalse true false\n' });
  });

  test('the engine runs under it: its own modules have the real net', () => {
    const source = `
      const net = require('net');
      import(${JSON.stringify(NET)}).then(({ engine, default: ringway }) => {
        console.log(engine.name, ringway === net);
      });`;
    const stdout = execFileSync(process.execPath, ['--import', REGISTER, '-e', source], { encoding: 'utf8', env });
    expect(stdout).toBe(`${driver} true\n`);
  });
});
