import { afterEach, describe, expect, it } from 'vitest';
import { endAll, runCli } from '../support/cli-process.js';

afterEach(endAll);

const COMMANDS = ['start', 'echo', 'backend', 'request', 'doctor', 'build'];

describe('ringway', () => {
  it('lists its commands with --help, and its version', async () => {
    const help = await runCli(['--help']);
    expect(help.status).toBe(0);
    for (const command of COMMANDS) expect(help.stdout).toMatch(new RegExp(`^  ${command}\\b`, 'm'));
    const version = await runCli(['--version']);
    expect(version).toMatchObject({ status: 0, stderr: '' });
    expect(version.stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });

  it.each(COMMANDS)('%s has --help', async (command) => {
    const { status, stdout } = await runCli([command, '--help']);
    expect(status).toBe(0);
    expect(stdout).toContain(`Usage: ringway ${command}`);
  });

  it.each([
    [[], /Usage: ringway/],
    [['frobnicate'], /unknown command 'frobnicate'/],
    [['start'], /'--config <file>' not specified/],
    [['start', '--config', 'x', '--colour'], /unknown option '--colour'/],
    [['start', 'extra', '--config', 'x'], /too many arguments/],
    [['echo'], /'--port <port>' not specified/],
    [['echo', '--port', '70000'], /'70000' is invalid. It is not a port: 0 to 65535/],
    [['echo', '--port', '0', '--engine', 'kqueue'], /Allowed choices are io_uring, epoll, portable, auto/],
    [['echo', '--port', '0', '--framing', 'xml'], /Allowed choices are length, line, raw/],
    [['echo', '--port', '0', '--reactors', '-1'], /is invalid/],
    [['backend', '--port', '0'], /exactly one of '--echo' and '--handler <module>'/],
    [['backend', '--echo'], /exactly one of '--port <port>' and '--path <path>'/],
    [['backend', '--port', '0', '--handler', './no-such-module.mjs'], /no-such-module/],
    [['backend', '--port', '0', '--echo', '--delay-ms', 'soon'], /It is not a time in ms/],
    [['request', 'text'], /exactly one of '--port <port>' and '--path <path>'/],
    [['request', '--port', '1'], /missing required argument 'text'/],
    [['request', '--port', '1', '--route', '65536', 'text'], /It is not a route: 0 to 65535/],
    [['doctor', 'extra'], /too many arguments/],
  ])('%j: exit status 2 and a reason', async (args, reason) => {
    const { status, stdout, stderr } = await runCli(args as string[]);
    expect(stderr).toMatch(reason as RegExp);
    expect(stdout).toBe('');
    expect(status).toBe(2);
  });
});

describe('ringway doctor', () => {
  it('tells engine, kernel and limits', async () => {
    const { status, stdout } = await runCli(['doctor']);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^engine +(io_uring|epoll|portable): \S/m);
    expect(stdout).toMatch(/^ {2}portable +yes$/m);
    expect(stdout).toMatch(/^kernel +\S/m);
    expect(stdout).toMatch(/^open files +\S/m);
    expect(stdout).toMatch(/^locked memory +\S/m);
    expect(stdout).toMatch(/^(nothing to change|to change:)$/m);
  });
});
