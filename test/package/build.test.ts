// Where the package brings no engine for the platform: it runs portable and says so, and `npx ringway build` compiles one.
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { existsSync, mkdirSync, readdirSync, symlinkSync } from 'node:fs';
import { cp, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import { startCli } from '../support/cli-process.js';
import { npm } from './installed.js';
import { bareEnvironment, runNode, TRAFFIC, writeProgram } from './programs.js';

const { project: whole = '', missing } = inject('installed');
const project = `${whole}-without-prebuild`;
const linuxTest = test.skipIf(process.platform !== 'linux');
if (process.platform !== 'linux') console.log('not tested: `ringway build`, which is for Linux');
const installed = join(project, 'node_modules/ringway');
const doctor = () => runNode(process.execPath, [join(installed, 'bin/ringway'), 'doctor'], { cwd: project });

/** In order: the last test makes what the first ones do without. */
describe.skipIf(missing !== undefined)('a package without an engine for this platform', () => {
  beforeAll(async () => {
    await cp(whole, project, { recursive: true, verbatimSymlinks: true });
    await rm(join(installed, 'prebuilds'), { recursive: true });
  });
  afterAll(() => rm(project, { recursive: true, force: true }));

  test('doctor says that it runs portable, why, and what to do', () => {
    const { status, stdout } = doctor();
    expect(status).toBe(0);
    expect(stdout).toMatch(/^engine +portable: neither io_uring nor epoll can run here: no native engine for \w+ \w+/m);
    expect(stdout).toMatch(/^- the native engine did not load: `npx ringway build` compiles it/m);
  });

  test('the start line says so too, and traffic flows', async () => {
    const command = startCli(['echo', '--port', '0'], { bin: join(installed, 'bin/ringway'), env: bareEnvironment() });
    await command.match(/^listening on 127\.0\.0\.1:\d+ \(portable: .*no native engine for .*npx ringway build/m);
    command.signal('SIGTERM');
    expect(await command.ended).toMatchObject({ status: 0 });
    const { stdout } = runNode(process.execPath, [writeProgram(project, 'traffic.mjs', TRAFFIC), 'auto'], {
      cwd: project,
    });
    expect(JSON.parse(stdout)).toEqual({ engine: 'portable', threads: 0, echo: true, gateway: 'ONE TWO THREE' });
  });

  linuxTest('`ringway build` names the tools that are missing, with the command', () => {
    const tools = join(project, 'tools');
    mkdirSync(tools);
    symlinkSync('/bin/true', join(tools, 'python3'));
    const outcome = runNode(process.execPath, [join(installed, 'bin/ringway'), 'build'], {
      cwd: project,
      env: bareEnvironment({ PATH: tools }),
    });
    expect(outcome).toMatchObject({ status: 1, stdout: '' });
    expect(outcome.stderr).toMatch(/^ringway: missing: make g\+\+ \(Debian: apt-get install make g\+\+; .*\n$/);
    expect(existsSync(join(installed, 'build'))).toBe(false);
  });

  linuxTest('`ringway build` that cannot compile says so, and the package still runs', async () => {
    const command = startCli(['build'], {
      bin: join(installed, 'bin/ringway'),
      cwd: project,
      env: { CXXFLAGS: '-include /nonexistent.h' },
    });
    const { status, stderr } = await command.ended;
    expect(status).toBe(1);
    expect(stderr).toMatch(/ringway: the native engine was not built \(above: why\); the portable engine runs\n$/);
    expect(doctor().stdout).toMatch(/^engine +portable/m);
  });

  linuxTest('`npx ringway build` compiles it, and it moves bytes', { timeout: 400_000 }, async () => {
    const [command, ...before] = npm();
    const args = [...before, 'exec', '--offline', '--', 'ringway', 'build'];
    const printed = await promisify(execFile)(command, args, { cwd: project, maxBuffer: 2 ** 26 });
    expect(printed.stdout).toMatch(/^built .*build\/Release\/ringway\.node \((io_uring|epoll), /m);
    expect(readdirSync(join(installed, 'build/Release'))).toEqual(['ringway.node']);
    expect(doctor().stdout).toMatch(/^engine +(io_uring|epoll): /m);
    const { stdout } = runNode(process.execPath, [join(project, 'traffic.mjs'), 'auto'], { cwd: project });
    expect(JSON.parse(stdout)).toMatchObject({
      engine: expect.stringMatching(/io_uring|epoll/),
      gateway: 'ONE TWO THREE',
    });
  });
});
