// What Node throws for, and what it does not: the same names, codes and messages.
import type { Socket } from 'node:net';
import { describeNets, type Net, type World } from '../support/net-worlds.js';

const KNOWN_INSIDE = ['_createServerHandle', '_normalizeArgs', '_setSimultaneousAccepts', '_TransferredBoundSocket'];

const odd: readonly unknown[] = [
  undefined,
  null,
  true,
  false,
  0,
  -1,
  1.5,
  Number.NaN,
  65_536,
  '',
  'text',
  '65536',
  [],
  {},
  () => {},
  Symbol('s'),
];

function eachOdd(world: World, actor: string, values: readonly unknown[], call: (value: never) => unknown): void {
  for (const value of values) {
    world.try(actor, String(value as string), () => call(value as never));
  }
}

function leftOver(socket: Socket): string {
  socket.on('error', () => {});
  socket.destroy();
  return 'taken';
}

describeNets('net: arguments', ({ same }) => {
  same('new Socket', (world) => {
    const { net } = world;
    for (const name of [
      'objectMode',
      'readableObjectMode',
      'writableObjectMode',
      'keepAliveInitialDelay',
      'signal',
      'highWaterMark',
      'allowHalfOpen',
      'noDelay',
      'onread',
      'timeout',
    ]) {
      eachOdd(world, name, odd.slice(0, -1), (value) => leftOver(new net.Socket({ [name]: value })));
    }
  });

  same('new Server', (world) => {
    const { net } = world;
    eachOdd(world, 'options', odd, (value) => new net.Server(value) instanceof net.Server);
    for (const name of [
      'keepAliveInitialDelay',
      'highWaterMark',
      'allowHalfOpen',
      'pauseOnConnect',
      'noDelay',
      'keepAlive',
    ]) {
      eachOdd(world, name, odd.slice(0, -1), (value) => {
        const server = net.createServer({ [name]: value }) as unknown as Record<string, unknown>;
        return { listening: server.listening, maxConnections: server.maxConnections, [name]: server[name] };
      });
    }
  });

  same('connect: port', (world) => {
    eachOdd(world, 'port', [...odd, 70_000, '-1', '1e3x', ' '], (port) => {
      return leftOver(world.net.connect({ port, host: '127.0.0.1' } as never));
    });
  });

  for (const name of [
    'host',
    'localAddress',
    'localPort',
    'lookup',
    'family',
    'hints',
    'autoSelectFamily',
    'autoSelectFamilyAttemptTimeout',
    'path',
    'timeout',
  ]) {
    same(`connect: ${name}`, (world) => {
      // Without a lookup of their own these names would be looked up in vain, long after the test.
      const lookup = name === 'lookup' ? {} : { lookup: () => {} };
      eachOdd(world, name, odd.slice(0, -1), (value) => {
        return leftOver(world.net.connect({ port: 1, host: 'localhost', ...lookup, [name]: value } as never));
      });
    });
  }

  same('connect: forms', (world) => {
    const connect = (...args: unknown[]) => leftOver((world.net.connect as (...given: unknown[]) => Socket)(...args));
    const forms: unknown[][] = [
      [],
      [{}],
      [undefined],
      [null],
      [() => {}],
      [1],
      ['1'],
      [1, '127.0.0.1'],
      [1, () => {}],
      ['/nowhere'],
      [{ path: '/nowhere' }],
      [{ path: 5 }],
      [{ path: '' }],
      [{ port: 1, path: '/nowhere' }],
    ];
    forms.forEach((form, at) => {
      world.try('forms', String(at), () => connect(...form));
    });
  });

  for (const name of ['port', 'host', 'path', 'backlog', 'fd', 'signal', 'ipv6Only', 'exclusive', 'readableAll']) {
    same(`listen: ${name}`, (world) => {
      const rest = name === 'port' || name === 'path' ? {} : { port: 0 };
      eachOdd(world, name, name === 'fd' ? [undefined, null, -1, '5'] : odd.slice(0, -1), (value) => {
        const server = world.net.createServer();
        server.on('error', () => {});
        server.listen({ ...rest, [name]: value } as never);
        server.close();
        return 'taken';
      });
    });
  }

  same('listen: forms', (world) => {
    const forms: unknown[][] = [
      [],
      [{}],
      [undefined],
      [null],
      [() => {}],
      [0],
      ['0'],
      [0, '127.0.0.1'],
      [0, 5],
      [0, '127.0.0.1', 5],
      [0, () => {}],
      ['text'],
      [true],
      [-1],
      [65_536],
      [{ port: undefined }],
      [{ port: null }],
      [{ path: 5 }],
      [{ path: '\0ringway', readableAll: true }],
    ];
    forms.forEach((form, at) => {
      world.try('forms', String(at), () => {
        const server = world.net.createServer();
        server.on('error', () => {});
        const answer = (server.listen as (...given: unknown[]) => unknown).apply(server, form);
        const { listening } = server;
        server.close();
        return [answer === server, listening];
      });
    });
  });

  same('methods of a socket that never connected', (world) => {
    const { net } = world;
    const each: [string, (socket: Socket) => unknown][] = [
      ['address', (socket) => socket.address()],
      ['setNoDelay', (socket) => socket.setNoDelay() === socket],
      ['setKeepAlive', (socket) => socket.setKeepAlive(true, 5_000) === socket],
      ['ref', (socket) => socket.ref() === socket],
      ['unref', (socket) => socket.unref() === socket],
      ['pause', (socket) => socket.pause() === socket],
      ['resume', (socket) => socket.resume() === socket],
      ['setTimeout', (socket) => socket.setTimeout(0) === socket],
      ['end', (socket) => socket.end() === socket],
      ['destroy', (socket) => socket.destroy() === socket],
      ['destroySoon', (socket) => socket.destroySoon()],
      ['pending', (socket) => socket.pending],
      ['connecting', (socket) => socket.connecting],
      ['readyState', (socket) => socket.readyState],
      ['bytesRead', (socket) => socket.bytesRead],
      ['bytesWritten', (socket) => socket.bytesWritten],
      ['remoteAddress', (socket) => [socket.remoteAddress, socket.remotePort, socket.remoteFamily]],
      ['localAddress', (socket) => [socket.localAddress, socket.localPort, socket.localFamily]],
      ['timeout', (socket) => socket.timeout],
      ['allowHalfOpen', (socket) => socket.allowHalfOpen],
      ['read', (socket) => socket.read()],
      ['write', (socket) => socket.write(5 as never)],
      ['write null', (socket) => socket.write(null as never)],
      ['write odd encoding', (socket) => socket.write('text', 'nonsense' as never)],
      ['setEncoding', (socket) => socket.setEncoding('nonsense' as never)],
      ['connect', (socket) => (socket.connect as () => unknown)()],
      [
        'hidden',
        (socket) => [
          (socket as unknown as { _handle: unknown })._handle,
          (socket as unknown as { server: unknown }).server,
        ],
      ],
    ];
    for (const [name, call] of each) {
      const socket = new net.Socket();
      socket.on('error', () => {});
      world.try(name, name, () => call(socket));
      socket.destroy();
    }
  });

  same('setTimeout', (world) => {
    const socket = new world.net.Socket();
    eachOdd(world, 'msecs', [...odd, Number.POSITIVE_INFINITY, '5'], (value) => {
      const answer = socket.setTimeout(value) === socket;
      return [answer, Number.isNaN(socket.timeout) ? 'NaN' : socket.timeout];
    });
    eachOdd(world, 'callback', odd.slice(1), (value) => socket.setTimeout(5, value) === socket);
    eachOdd(world, 'callback at 0', odd.slice(1), (value) => socket.setTimeout(0, value) === socket);
    socket.destroy();
    world.try('destroyed', 'setTimeout', () => socket.setTimeout('odd' as never) === socket);
  });

  same('methods of a server that never listened', async (world) => {
    const server = world.watchServer('server', world.net.createServer());
    world.log('server', 'look', server.listening, server.address(), server.maxConnections, server.connections);
    world.try('server', 'ref', () => server.ref() === server);
    world.try('server', 'unref', () => server.unref() === server);
    await new Promise<void>((resolve) => {
      server.getConnections((error, count) => {
        world.log('server', 'connections', error, count);
        resolve();
      });
    });
    await new Promise<void>((resolve) => {
      server.close((error) => {
        world.log('server', 'closed', error);
        resolve();
      });
    });
  });

  same('with and without new, and as ancestors', (world) => {
    const { net } = world;
    const Socket = net.Socket as unknown as {
      (...args: unknown[]): Socket;
      call(self: unknown): void;
      prototype: object;
    };
    const Server = net.Server as unknown as {
      (...args: unknown[]): unknown;
      call(self: unknown): void;
      prototype: object;
    };
    world.log('without', 'socket', Socket() instanceof net.Socket, Server() instanceof net.Server);
    class MySocket extends net.Socket {}
    class MyServer extends net.Server {}
    world.log('class', 'socket', new MySocket() instanceof net.Socket, new MySocket() instanceof MySocket);
    world.log('class', 'server', new MyServer() instanceof net.Server, new MyServer().listening);
    function Old(this: object) {
      Socket.call(this);
    }
    Object.setPrototypeOf(Old.prototype, Socket.prototype);
    const old = new (Old as unknown as new () => Socket)();
    world.log('old', 'socket', old instanceof net.Socket, old.readyState, old.pending);
    function OldServer(this: object) {
      Server.call(this);
    }
    Object.setPrototypeOf(OldServer.prototype, Server.prototype);
    const oldServer = new (OldServer as unknown as new () => import('node:net').Server)();
    world.log('old', 'server', oldServer instanceof net.Server, oldServer.listening);
    world.log(
      'names',
      net.Socket.name,
      net.Server.name,
      (net as unknown as { Stream: unknown }).Stream === net.Socket,
      Socket.prototype.constructor === net.Socket,
    );
  });

  same('what libraries look for in a socket', (world) => {
    const socket = new world.net.Socket();
    for (const name of ['server', '_server', '_handle', '_parent', '_host', '_sockname', '_pendingData']) {
      world.log('socket', name, name in socket, (socket as unknown as Record<string, unknown>)[name]);
    }
  });

  same('which members a loop over them shows', (world) => {
    const { Socket, Server } = world.net;
    const socket = [
      'address',
      'bytesRead',
      'connect',
      'localPort',
      'pause',
      'ref',
      'setTimeout',
      '_destroy',
      '_unrefTimer',
    ];
    for (const name of [...socket, 'constructor', '_connecting', 'pending', 'readyState', 'bufferSize', '_handle']) {
      world.log('socket', name, Object.prototype.propertyIsEnumerable.call(Socket.prototype, name));
    }
    for (const name of ['listen', 'listening', 'address', 'close', 'ref', '_emitCloseIfDrained', 'constructor']) {
      world.log('server', name, Object.prototype.propertyIsEnumerable.call(Server.prototype, name));
    }
  });

  same('the members of the module', (world) => {
    // A module's names cannot depend on Node's version: what this one has not is undefined, and what a later one has inside, under a
    // name with an underscore, only the default export has.
    const isLater = (name: string) => name.startsWith('_') && !KNOWN_INSIDE.includes(name);
    const names = (net: Net) =>
      Object.keys(net).filter(
        (name) => !['default', 'engine'].includes(name) && !isLater(name) && net[name as keyof Net] !== undefined,
      );
    const { net } = world;
    const whole = (net as unknown as { default?: Net }).default ?? net;
    world.log('names', names(net).sort());
    world.log('default', names(whole).sort());
    for (const name of names(net).sort())
      world.log('kinds', name, typeof net[name as keyof Net], net[name as keyof Net] === whole[name as keyof Net]);
  });
});
