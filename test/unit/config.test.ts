import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parse } from 'yaml';
import { isHost, parseAddress } from '../../src/config/address.js';
import { effectiveConfig } from '../../src/config/effective-config.js';
import { ConfigError, checkConfig, loadConfig, loadConfigFile } from '../../src/config/load-config.js';
import { nearest } from '../../src/config/nearest.js';
import { formatPath } from '../../src/config/problem.js';
import { engineObject, schema } from '../../src/config/schema.js';

const EXAMPLE = new URL('../../examples/gateway.yaml', import.meta.url);

const LEAST = `
listeners: [{ port: 9320, protocol: plain }]
pools: { echo: { servers: [{ address: "127.0.0.1:9101" }, { address: "127.0.0.1:9102", weight: 2 }] } }
routes: [{ route: 0, pool: echo }]
`;

/** A configuration that works, with some of it replaced. */
function withParts(parts: Record<string, unknown>): unknown {
  return {
    listeners: [{ port: 8080 }],
    pools: { echo: { servers: [{ address: '127.0.0.1:9101' }] } },
    routes: [{ route: 0, pool: 'echo' }],
    ...parts,
  };
}

const withListener = (listener: object): unknown => withParts({ listeners: [listener] });
const withPool = (pool: object): unknown => {
  return withParts({ pools: { echo: { servers: [{ address: '127.0.0.1:9101' }], ...pool } } });
};

/** The lines of what is wrong. */
function problems(load: () => unknown): string[] {
  try {
    load();
  } catch (error) {
    if (error instanceof ConfigError) return error.message.split('\n');
    throw error;
  }
  return [];
}

describe('loadConfig', () => {
  it('fills in every default of the least that works', () => {
    const config = loadConfig(LEAST);
    expect(config.engine).toMatchObject({ kind: 'auto', reactors: 'auto' });
    expect(config.drainGraceMs).toBe(30_000);
    expect(config.admin).toBeUndefined();
    expect(config.log).toEqual({ level: 'info' });
    expect(config.listeners[0]).toMatchObject({
      name: 'listener-0',
      host: '127.0.0.1',
      port: 9320,
      protocol: 'plain',
      route: 0,
      errorReply: 'close',
      maxFrameLength: 16_777_216,
      maxConnections: 10_000,
      idleTimeoutMs: 300_000,
      partialFrameTimeoutMs: 30_000,
      maxQueuedPerClient: 100,
    });
    expect(config.listeners[0].maxConnectionsPerIp).toBeUndefined();
    expect(config.pools[0]).toMatchObject({
      name: 'echo',
      strategy: 'least-outstanding-p2c',
      deadlineMs: 10_000,
      maxInFlight: 1024,
      links: { min: 1, max: 4 },
      health: { pingIntervalMs: 5000, consecutiveFailures: 5, ejectMs: 10_000 },
      retries: { ratio: 0.2, windowMs: 10_000, minPerSecond: 10 },
    });
    expect(config.pools[0].servers).toEqual([
      { address: '127.0.0.1:9101', host: '127.0.0.1', port: 9101, weight: 1 },
      { address: '127.0.0.1:9102', host: '127.0.0.1', port: 9102, weight: 2 },
    ]);
    expect(config.routes).toEqual([{ route: 0, pool: 'echo', orderBy: 'none' }]);
  });

  it('reads JSON as well', () => {
    expect(loadConfig(JSON.stringify(withParts({}))).listeners[0].port).toBe(8080);
  });

  it('takes a bare name for an engine', () => {
    expect(checkConfig(withParts({ engine: 'epoll' })).engine).toMatchObject({ kind: 'epoll', reactors: 'auto' });
    expect(checkConfig(withParts({ engine: { reactors: 0 } })).engine).toMatchObject({ kind: 'auto', reactors: 0 });
  });

  it('answers failures as text on lines, where nothing else is said', () => {
    expect(checkConfig(withListener({ port: 1, protocol: 'lines' })).listeners[0].errorReply).toBe('text');
    const closing = checkConfig(withListener({ port: 1, protocol: 'lines', errorReply: 'close' }));
    expect(closing.listeners[0].errorReply).toBe('close');
  });

  it('takes unix sockets and IPv6 on both sides', () => {
    const config = checkConfig(
      withParts({
        listeners: [{ path: '/run/x.sock' }, { host: '::1', port: 1 }],
        pools: {
          echo: {
            servers: [{ address: 'unix:/run/b.sock' }, { address: '[::1]:9101' }, { address: 'model.internal:1' }],
          },
        },
      }),
    );
    expect(config.listeners[0]).toMatchObject({ path: '/run/x.sock' });
    expect(config.listeners[0]).not.toHaveProperty('port');
    expect(config.pools[0].servers).toMatchObject([
      { path: '/run/b.sock' },
      { host: '::1', port: 9101 },
      { host: 'model.internal', port: 1 },
    ]);
  });

  it('listens on localhost at its address', () => {
    const config = checkConfig({
      ...(withListener({ host: 'localhost', port: 1 }) as object),
      admin: { host: 'localhost', port: 2 },
    });
    expect(config.listeners[0].host).toBe('127.0.0.1');
    expect(config.admin?.host).toBe('127.0.0.1');
  });

  it('tells the line of a problem', () => {
    expect(problems(() => loadConfig(LEAST.replace('9320', '70000')))).toEqual([
      'listeners[0].port: 70000 is not a port: 0 to 65535 (line 2)',
    ]);
    expect(problems(() => loadConfig(`${LEAST}drainGrace: 5\n`))).toEqual([
      'drainGrace: unknown key: did you mean drainGraceMs? (line 5)',
    ]);
  });

  it('tells every problem, one line each', () => {
    const text = 'listeners: [{ prot: 1, port: x }]\npools: {}\nroutes: [{ route: -1, pool: 3 }]\n';
    expect(problems(() => loadConfig(text))).toEqual([
      'listeners[0].port: "x" is not a port: 0 to 65535 (line 1)',
      'listeners[0].prot: unknown key: did you mean port? (line 1)',
      'routes[0].route: -1 is not a route: 0 to 65535 (line 3)',
      'routes[0].pool: 3 is not the name of a pool: one of those under pools (line 3)',
    ]);
  });

  it('says what is missing from an empty file', () => {
    expect(problems(() => loadConfig('')).map((line) => line.split(',')[0])).toEqual([
      'listeners: missing: a list of listeners',
      'pools: missing: pools',
      'routes: missing: a list of routes',
    ]);
  });

  it('refuses what is not YAML, and keys that stand twice', () => {
    expect(problems(() => loadConfig('a: [1'))[0]).toMatch(/^not YAML: .*\(line 1\)$/);
    expect(problems(() => loadConfig('drainGraceMs: 1\ndrainGraceMs: 2'))[0]).toMatch(
      /^not YAML: Map keys must be unique \(line 2\)$/,
    );
    const two = 'a second document begins here: a configuration is one (line 2)';
    expect(problems(() => loadConfig('a: 1\n---\nb: 2'))[0]).toBe(two);
  });

  it('refuses a file of aliases that would grow without bound', () => {
    const lines = ['a0: &a0 [x, x, x, x, x, x, x, x, x, x]'];
    for (let i = 1; i < 9; i++)
      lines.push(`a${i}: &a${i} [${Array.from({ length: 10 }, () => `*a${i - 1}`).join(', ')}]`);
    expect(problems(() => loadConfig(lines.join('\n')))[0]).toMatch(/^not YAML: Excessive alias count/);
  });

  it('never throws anything but a ConfigError, whatever it is given', () => {
    const keys = fc.constantFrom(
      'listeners',
      'pools',
      'routes',
      'engine',
      'admin',
      'log',
      'servers',
      'port',
      'address',
      'x',
    );
    const value = fc.letrec((tie) => ({
      any: fc.oneof(
        { maxDepth: 4 },
        fc.anything({ maxDepth: 0 }),
        fc.array(tie('any'), { maxLength: 3 }),
        fc.dictionary(keys, tie('any'), { maxKeys: 4 }),
      ),
    })).any;
    fc.assert(
      fc.property(value, (input) => {
        for (const line of problems(() => checkConfig(input))) expect(line).not.toBe('');
      }),
      { numRuns: 500 },
    );
    fc.assert(
      fc.property(fc.string(), (text) => {
        problems(() => loadConfig(text));
      }),
    );
  });
});

describe('each impossible value is refused with its path, the value and what would be right', () => {
  const cases: [string, unknown, string][] = [
    [
      'an engine',
      withParts({ engine: 'epol' }),
      'engine: "epol" is not an engine: did you mean epoll? It is one of io_uring, epoll, portable or auto',
    ],
    [
      'reactors',
      withParts({ engine: { reactors: -1 } }),
      'engine.reactors: -1 is not a number of reactors: 0 (inside the main loop) to 64, or auto',
    ],
    ['a key of engine', withParts({ engine: { reactor: 1 } }), 'engine.reactor: unknown key: did you mean reactors?'],
    ['a key of nothing alike', withParts({ log: { zzz: 1 } }), 'log.zzz: unknown key; known are level'],
    [
      'a level',
      withParts({ log: { level: 'loud' } }),
      'log.level: "loud" is not a level: trace, debug, info, warn, error, fatal or silent',
    ],
    ['no number', withParts({ drainGraceMs: Number.NaN }), 'drainGraceMs: NaN is not a time in ms: 0 to 2147483647'],
    ['a time', withParts({ drainGraceMs: -5 }), 'drainGraceMs: -5 is not a time in ms: 0 to 2147483647'],
    [
      'no listener',
      withParts({ listeners: [] }),
      'listeners: [] is not a list of listeners: at least one, such as [{ port: 8080, protocol: rmp }]',
    ],
    ['no port', withListener({}), 'listeners[0].port: missing: a port (0 to 65535), or a path for a unix socket'],
    ['a fraction', withListener({ port: 1.5 }), 'listeners[0].port: 1.5 is not a port: 0 to 65535'],
    [
      'a host name',
      withListener({ port: 1, host: 'example.org' }),
      'listeners[0].host: "example.org" is not an IP address to listen on: "127.0.0.1", "::1", "0.0.0.0" for every interface',
    ],
    [
      'port and path',
      withListener({ port: 1, path: '/x' }),
      'listeners[0].port: 1 stands beside path: a listener has a port or a path',
    ],
    [
      'reusePort of a unix socket',
      withListener({ path: '/x', reusePort: true }),
      'listeners[0].reusePort: true does not exist for unix sockets: false',
    ],
    [
      'a long path',
      withListener({ path: `/${'x'.repeat(120)}` }),
      `listeners[0].path: "/${'x'.repeat(58)}… has a path of 121 bytes: at most 107`,
    ],
    [
      'a protocol',
      withListener({ port: 1, protocol: 'http' }),
      'listeners[0].protocol: "http" is not a protocol: rmp, plain or lines',
    ],
    [
      'errorReply with rmp',
      withListener({ port: 1, errorReply: 'text' }),
      'listeners[0].errorReply: "text" has no meaning with protocol rmp: it has a status for every error',
    ],
    [
      'route with rmp',
      withListener({ port: 1, route: 0 }),
      'listeners[0].route: 0 has no meaning with protocol rmp: each request brings its route',
    ],
    [
      'a route nobody has',
      withListener({ port: 1, protocol: 'lines', route: 7 }),
      'listeners[0].route: 7 is not among routes: 0',
    ],
    [
      'a frame over the buffer',
      withListener({ port: 1, maxBufferedBytes: 1000, maxFrameLength: 2000 }),
      'listeners[0].maxFrameLength: 2000 is more than maxBufferedBytes: at most 1000',
    ],
    [
      'a frame beyond all measure',
      withListener({ port: 1, maxFrameLength: 2 ** 31 }),
      'listeners[0].maxFrameLength: 2147483648 is not a number of bytes: 1 to 1073741824',
    ],
    [
      'a switch',
      withListener({ port: 1, reusePort: 'yes' }),
      'listeners[0].reusePort: "yes" is not a switch: true or false',
    ],
    [
      'an address twice',
      withParts({ listeners: [{ port: 5 }, { host: 'localhost', port: 5 }] }),
      'listeners[1].port: 127.0.0.1:5 is already that of listeners[0]',
    ],
    [
      'every address of a port and one of them',
      withParts({ listeners: [{ port: 5 }, { port: 5, host: '0.0.0.0' }] }),
      'listeners[1].port: 0.0.0.0:5 includes 127.0.0.1:5, and listeners[0] listens there',
    ],
    [
      'every address of a port and that of the admin',
      withParts({ listeners: [{ port: 5, host: '::' }], admin: { port: 5, host: '::1' } }),
      'admin.port: [::]:5 includes [::1]:5, and listeners[0] listens there',
    ],
    [
      'every address of a port, of both kinds, and an IPv4 one',
      withParts({ listeners: [{ port: 5, host: '::' }, { port: 5 }] }),
      'listeners[1].port: [::]:5 includes 127.0.0.1:5, and listeners[0] listens there',
    ],
    [
      'every address of a port, of both kinds, and every IPv4 one',
      withParts({ listeners: [{ port: 5, host: '0.0.0.0' }], admin: { port: 5, host: '::' } }),
      'admin.port: [::]:5 includes 0.0.0.0:5, and listeners[0] listens there',
    ],
    [
      'an address twice, spelled otherwise',
      withParts({
        listeners: [
          { port: 5, host: '::1' },
          { port: 5, host: '0:0:0:0:0:0:0:1' },
        ],
      }),
      'listeners[1].port: [::1]:5 is already that of listeners[0]',
    ],
    [
      'an IPv4 address twice, once in IPv6 dress',
      withParts({ listeners: [{ port: 5 }, { port: 5, host: '::ffff:127.0.0.1' }] }),
      'listeners[1].port: 127.0.0.1:5 is already that of listeners[0]',
    ],
    [
      'a name twice',
      withParts({
        listeners: [
          { name: 'a', port: 5 },
          { name: 'a', port: 6 },
        ],
      }),
      'listeners[1].name: "a" is already that of listeners[0]',
    ],
    [
      'the admin on a listener',
      withParts({ admin: { port: 8080 } }),
      'admin.port: 127.0.0.1:8080 is already that of listeners[0]',
    ],
    ['an admin without a port', withParts({ admin: {} }), 'admin.port: missing: a port, 0 to 65535'],
    [
      'a pool name',
      withParts({ pools: { 'a b': { servers: [{ address: 'x:1' }] } } }),
      'pools: "a b" is not a name: 1 to 64 letters, digits, ".", "_" or "-"',
    ],
    [
      'no server',
      withPool({ servers: [] }),
      'pools.echo.servers: [] is not a list of servers: at least one, such as [{ address: "127.0.0.1:9101" }]',
    ],
    [
      'an address without port',
      withPool({ servers: [{ address: '127.0.0.1' }] }),
      'pools.echo.servers[0].address: "127.0.0.1" is not an address: "host:port", "[v6]:port" or "unix:/path"',
    ],
    [
      'a server twice',
      withPool({ servers: [{ address: 'a:1' }, { address: 'a:1' }] }),
      'pools.echo.servers[1].address: "a:1" is already that of servers[0]',
    ],
    [
      'a weight',
      withPool({ servers: [{ address: 'a:1', weight: 0 }] }),
      'pools.echo.servers[0].weight: 0 is not a weight: 0.01 to 1000',
    ],
    [
      'a strategy',
      withPool({ strategy: 'round-robbin' }),
      'pools.echo.strategy: "round-robbin" is not a strategy: did you mean round-robin? It is one of round-robin, weighted-round-robin, random, least-outstanding-p2c, least-outstanding, weighted-least-outstanding, peak-ewma or consistent-hash',
    ],
    [
      'a bound without hashing',
      withPool({ boundFactor: 2 }),
      'pools.echo.boundFactor: 2 has no meaning with strategy least-outstanding-p2c: only with consistent-hash',
    ],
    ['links', withPool({ links: { min: 5 } }), 'pools.echo.links.min: 5 is more than max: at most 4'],
    ['a deadline', withPool({ deadlineMs: 0 }), 'pools.echo.deadlineMs: 0 is not a time in ms: 1 to 2147483647'],
    [
      'a pool nobody has',
      withParts({ routes: [{ route: 0, pool: 'chat' }] }),
      'routes[0].pool: "chat" is not among pools: echo',
    ],
    [
      'a route twice',
      withParts({
        routes: [
          { route: 0, pool: 'echo' },
          { route: 0, pool: 'echo' },
        ],
      }),
      'routes[1].route: 0 is already that of routes[0]',
    ],
    [
      'an order',
      withParts({ routes: [{ route: 0, pool: 'echo', orderBy: 'clients' }] }),
      'routes[0].orderBy: "clients" is not an order: did you mean client? It is one of none, client or key',
    ],
    [
      'a list for a whole',
      [],
      '[] is not a configuration: an object with engine, drainGraceMs, maxQueuedTotal, log, admin, listeners, pools, routes',
    ],
  ];

  it.each(cases)('%s', (_what, input, line) => {
    expect(problems(() => checkConfig(input))).toEqual([line]);
  });
});

describe('effectiveConfig', () => {
  it('loads again to the same configuration', async () => {
    for (const config of [loadConfig(LEAST), await loadConfigFile(EXAMPLE)]) {
      const again = loadConfig(effectiveConfig(config));
      expect(JSON.parse(JSON.stringify(again))).toEqual(JSON.parse(JSON.stringify(config)));
    }
  });

  it('says how many connections an address may have where that is no value: loopback is exempt', async () => {
    const note = /^ {2,4}# maxConnectionsPerIp: 1000, loopback exempt$/gm;
    expect(effectiveConfig(loadConfig(LEAST)).match(note)).toHaveLength(1);
    const written = withParts({ listeners: [{ port: 1, protocol: 'plain', maxConnectionsPerIp: 5 }] });
    const text = effectiveConfig(checkConfig(written));
    expect(text).toMatch(/^ {4}maxConnectionsPerIp: 5$/m);
    expect(text).not.toMatch(note);
  });

  it('writes no anchors and no empty keys', async () => {
    const text = effectiveConfig(await loadConfigFile(EXAMPLE));
    expect(text).not.toMatch(/[&*]a\d|null/);
  });
});

describe('the example', () => {
  const text = readFileSync(EXAMPLE, 'utf8');

  it('is right, and names defaults where it does not say otherwise', () => {
    const config = loadConfig(text);
    const least = loadConfig(LEAST);
    expect(config.pools.map(({ name }) => name)).toEqual(['chat', 'sessions']);
    expect({ ...config.pools[0], name: '', servers: [] }).toEqual({ ...least.pools[0], name: '', servers: [] });
    const { name, port, protocol } = least.listeners[0];
    expect({ ...config.listeners[0], name, port, protocol, maxConnectionsPerIp: undefined }).toEqual(
      least.listeners[0],
    );
    expect(config.engine).toEqual(least.engine);
    expect(config.drainGraceMs).toBe(least.drainGraceMs);
    expect(config.maxQueuedTotal).toBe(least.maxQueuedTotal);
    expect(config.log).toEqual(least.log);
  });

  it('has every option there is', () => {
    const there = keysOf(parse(text) as object);
    const missing = optionsOf(schema).filter((option) => !there.has(option));
    // A listener has a port or a path, and this one's path is only told of.
    expect(missing).toEqual(['listeners.path']);
    expect(text).toMatch(/^ +# path: \//m);
  });
});

/** Of every option: its keys, dotted; lists and names of pools count for nothing. */
function optionsOf(type: unknown, path: readonly string[] = []): string[] {
  const { def } = type as { def: Record<string, unknown> & { type: string } };
  if (path.length === 1 && path[0] === 'engine' && def.type !== 'object') return optionsOf(engineObject, path);
  if (def.type === 'object') {
    const shape = def.shape as Record<string, unknown>;
    return Object.entries(shape).flatMap(([key, inner]) => optionsOf(inner, [...path, key]));
  }
  const inner = def.innerType ?? def.element ?? def.valueType;
  return inner === undefined ? [path.join('.')] : optionsOf(inner, path);
}

function keysOf(value: unknown, path: readonly string[] = [], keys = new Set<string>()): Set<string> {
  if (Array.isArray(value)) for (const item of value) keysOf(item, path, keys);
  else if (typeof value !== 'object' || value === null) keys.add(path.join('.'));
  else {
    for (const [key, item] of Object.entries(value)) {
      const isPools = path.length === 0 && key === 'pools';
      keysOf(isPools ? Object.values(item) : item, [...path, key], keys);
    }
  }
  return keys;
}

describe('addresses', () => {
  it.each([
    ['127.0.0.1:80', { host: '127.0.0.1', port: 80 }],
    ['[::1]:80', { host: '::1', port: 80 }],
    ['a-b.c_d.example:65535', { host: 'a-b.c_d.example', port: 65535 }],
    ['unix:/run/x', { path: '/run/x' }],
  ])('%s', (text, address) => {
    expect(parseAddress(text)).toEqual(address);
  });

  it.each([
    '',
    ':80',
    'a',
    'a:',
    'a:0',
    'a:65536',
    'a:-1',
    'a:1e3',
    '::1',
    '::1:80',
    '[::1]',
    '[1.2.3.4]:5',
    '1.2.3:80',
    '999.1.1.1:80',
    'a..b:1',
    '-a:1',
    'a b:1',
    'unix:',
    'http://a:1',
  ])('refuses "%s"', (text) => {
    expect(typeof parseAddress(text)).toBe('string');
  });

  it('knows names from mistyped numbers', () => {
    expect(isHost('10.0.0.300')).toBe(false);
    expect(isHost('node-1.cluster.')).toBe(true);
    expect(isHost('x'.repeat(300))).toBe(false);
  });
});

describe('words and paths', () => {
  it('finds the nearest known word, or none', () => {
    expect(nearest('prot', ['protocol', 'port', 'path'])).toBe('port');
    expect(nearest('MAXINFLIGHT', ['maxInFlight'])).toBe('maxInFlight');
    expect(nearest('colour', ['port', 'path'])).toBeUndefined();
  });

  it('writes paths as one would in a program', () => {
    expect(formatPath(['pools', 'a.b', 'servers', 0, 'weight'])).toBe('pools["a.b"].servers[0].weight');
  });
});
