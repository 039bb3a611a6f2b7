import { describe, expect, it } from 'vitest';
import { advise } from '../../src/cli/advise.js';
import { explainError } from '../../src/cli/explain-error.js';
import { type MachineFacts, machineFacts } from '../../src/cli/machine-facts.js';
import { port, wholeNumber } from '../../src/cli/parse-arguments.js';
import { describeEngine, isLoopback, readyLine } from '../../src/cli/ready-line.js';
import { ConfigError } from '../../src/config/problem.js';

const LIMITS = `Limit                     Soft Limit           Hard Limit           Units
Max locked memory         8388608              unlimited            bytes
Max open files            1024                 1048576              files
`;

const FILES: Record<string, string> = {
  '/proc/self/limits': LIMITS,
  '/proc/self/status': 'Name:\tnode\nSeccomp:\t2\nSeccomp_filters:\t1\n',
  '/proc/sys/kernel/io_uring_disabled': '0\n',
  '/proc/sys/net/core/somaxconn': '4096\n',
};

const GOOD: MachineFacts = {
  platform: 'linux x64',
  kernel: '6.1.0-13-amd64',
  node: 'v20.19.0',
  openFiles: { soft: 1e6, hard: 1e6 },
  lockedMemory: { soft: 8_388_608, hard: 8_388_608 },
  ioUringDisabled: 0,
  somaxconn: 4096,
  seccomp: 0,
};

const URING = { name: 'io_uring', reason: 'it works' } as const;
const EPOLL = { name: 'epoll', reason: 'io_uring is refused' } as const;

describe('machineFacts', () => {
  it('reads limits and switches', () => {
    expect(machineFacts((path) => FILES[path])).toMatchObject({
      openFiles: { soft: 1024, hard: 1_048_576 },
      lockedMemory: { soft: 8_388_608, hard: Infinity },
      ioUringDisabled: 0,
      somaxconn: 4096,
      seccomp: 2,
    });
  });

  it('knows nothing where there is no /proc', () => {
    expect(machineFacts(() => undefined)).toMatchObject({
      openFiles: undefined,
      lockedMemory: undefined,
      ioUringDisabled: undefined,
      somaxconn: undefined,
      seccomp: undefined,
    });
  });
});

describe('advise', () => {
  it('finds nothing to change on a good machine', () => {
    expect(advise(GOOD, URING)).toEqual([]);
  });

  it.each([
    ['a sysctl', { ioUringDisabled: 2 }, EPOLL, /kernel\.io_uring_disabled = 2/],
    ['a seccomp profile', { seccomp: 2 }, EPOLL, /seccomp profile/],
    ['no addon', {}, { name: 'portable', reason: 'none' } as const, /npx ringway build/],
    ['few files, raised by the user', { openFiles: { soft: 1024, hard: 1e6 } }, URING, /1024 open files.*ulimit -n/],
    ['few files, and no right to more', { openFiles: { soft: 1024, hard: 4096 } }, URING, /hard limit is 4096/],
    [
      'little locked memory on an old kernel',
      { kernel: '5.10.0', lockedMemory: { soft: 65_536, hard: 65_536 } },
      URING,
      /ulimit -l/,
    ],
    ['a short backlog', { somaxconn: 128 }, URING, /somaxconn is 128/],
  ])('%s', (_what, parts, engine, advice) => {
    const lines = advise({ ...GOOD, ...parts }, engine);
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(advice);
  });

  it('does not speak of locked memory where it does not matter, nor of the addon elsewhere than on Linux', () => {
    expect(advise({ ...GOOD, lockedMemory: { soft: 0, hard: 0 } }, URING)).toEqual([]);
    expect(advise({ ...GOOD, platform: 'darwin arm64' }, { name: 'portable', reason: '' })).toEqual([]);
  });
});

describe('readyLine', () => {
  const engine = { name: 'io_uring', reactors: 1, reason: 'a ring sent real bytes' } as const;

  it('says where, which engine, and why', () => {
    expect(readyLine(engine, [{ host: '127.0.0.1', port: 8080 }])).toBe(
      'listening on 127.0.0.1:8080 (io_uring, 1 reactor: a ring sent real bytes)',
    );
  });

  it('names several addresses, the admin, and what other machines can reach', () => {
    const line = readyLine({ ...engine, reactors: 2 }, [{ host: '::', port: 1 }, { path: '/run/x' }], {
      host: '127.0.0.1',
      port: 2,
    });
    expect(line).toBe(
      'listening on [::]:1, unix:/run/x, admin on 127.0.0.1:2 (io_uring, 2 reactors: a ring sent real bytes; reachable from other machines: [::]:1)',
    );
  });

  it('tells engines without threads as what they are', () => {
    expect(describeEngine({ ...engine, reactors: 0 })).toBe('io_uring, in the main loop: a ring sent real bytes');
    expect(describeEngine({ name: 'portable', reactors: 0, reason: 'asked for' })).toBe('portable: asked for');
  });

  it('knows loopback', () => {
    expect(['127.0.0.1', '127.9.9.9', '::1'].every((host) => isLoopback({ host, port: 1 }))).toBe(true);
    expect(['0.0.0.0', '::', '10.0.0.1'].some((host) => isLoopback({ host, port: 1 }))).toBe(false);
  });
});

describe('explainError', () => {
  const systemError = (code: string, fields: object = {}): Error =>
    Object.assign(new Error(`${code}: message`), { code, ...fields });

  it.each([
    [systemError('EADDRINUSE', { address: '127.0.0.1', port: 80 }), '127.0.0.1:80 is already in use'],
    [
      systemError('EADDRINUSE', { address: '/run/x' }),
      '/run/x is already there: stop the program that listens on it, or remove',
    ],
    [systemError('EACCES', { address: '::', port: 80 }), 'not allowed to listen on [::]:80: ports below 1024'],
    [systemError('EMFILE'), 'too few file descriptors'],
    [systemError('ENOENT', { path: 'gateway.yaml' }), 'gateway.yaml: no such file'],
    [new ConfigError([{ path: ['a'], message: 'wrong' }]), 'a: wrong'],
  ])('%s', (error, start) => {
    const line = explainError(error);
    expect(line).toBeDefined();
    expect(line!.startsWith(start)).toBe(true);
    expect(line).not.toContain('\n');
  });

  it('leaves alone what nobody expected', () => {
    expect(explainError(new TypeError('x is not a function'))).toBeUndefined();
    expect(explainError('text')).toBeUndefined();
  });
});

describe('arguments', () => {
  it('takes whole numbers in range and nothing else', () => {
    expect(port('0')).toBe(0);
    expect(port('65535')).toBe(65_535);
    for (const text of ['', '-1', '65536', '1.5', '1e3', '0x10', ' 1', 'a']) {
      expect(() => port(text)).toThrow('It is not a port: 0 to 65535.');
    }
    expect(() => wholeNumber('a count', 2, 3)('1')).toThrow('It is not a count: 2 to 3.');
  });
});
