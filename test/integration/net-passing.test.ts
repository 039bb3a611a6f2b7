// Sockets and servers that go from one process to another: `child.send(message, socket)`.
import { describe, expect, test } from 'vitest';
import { builtNet, runNetFile } from '../support/net-programs.js';

/**
 * A parent and its child. `parent` has `child`, `tell`, `answer()`: what the child says next, and `listen(onConnection)` and
 * `hears(port)` on Node's own net; `child` has `message`, what came with it as `handle`, and `answer(data)`.
 */
function program(parent: string, child: string): string {
  return `
    import { fork } from 'node:child_process';
    import { once } from 'node:events';
    import nodeNet from 'node:net';
    const tell = (...what) => console.log(...what);

    async function listen(module, onConnection) {
      const server = module.createServer(onConnection).listen(0, '127.0.0.1');
      await once(server, 'listening');
      return server;
    }

    async function hears(port) {
      let said = '';
      for await (const chunk of nodeNet.connect(port, '127.0.0.1')) said += chunk;
      return said;
    }

    if (process.argv[2] === 'child') {
      const answer = (data) => process.send(data);
      process.on('disconnect', () => process.exit());
      process.on('message', (message, handle) => { ${child} });
      answer('ready');
    } else {
      const child = fork(process.argv[1], ['child']);
      const answer = async () => (await once(child, 'message'))[0];
      await answer();
      ${parent}
      child.disconnect();
      await once(child, 'exit');
      process.exit();
    }`;
}

const REFUSED = 'TypeError ERR_INVALID_HANDLE_TYPE: This handle type cannot be sent\n';
const TELL_ERROR = `({ name, code, message }) => tell(name, code + ': ' + message)`;

/** What is sent from here: with what Node tells, and what we tell. */
const SENT: Record<string, { program: string; node: string; ours: string }> = {
  'a socket': {
    program: program(
      `const server = await listen(net, (socket) => {
         try {
           child.send('socket', socket);
         } catch (error) {
           (${TELL_ERROR})(error);
           socket.end('the parent');
         }
       });
       tell('heard:', await hears(server.address().port));
       child.send('and on');
       tell('then:', await answer());`,
      `if (handle) handle.end('the child');
       else answer(message);`,
    ),
    node: 'heard: the child\nthen: and on\n',
    ours: `${REFUSED}heard: the parent\nthen: and on\n`,
  },
  'a server': {
    program: program(
      `const server = await listen(net, (socket) => socket.end('the parent'));
       const { port } = server.address();
       try {
         child.send('server', server);
         await answer();
         await new Promise((resolve) => server.close(resolve));
       } catch (error) {
         (${TELL_ERROR})(error);
       }
       tell('heard:', await hears(port));`,
      `handle.on('connection', (socket) => socket.end('the child'));
       answer('listens');`,
    ),
    node: 'heard: the child\n',
    ours: `${REFUSED}heard: the parent\n`,
  },
  'a socket, to the parent': {
    program: program(
      `child.on('message', (message, handle) => handle?.end('the parent'));
       child.send('listen');
       const { port } = await answer();
       const said = answer();
       tell('heard:', await hears(port));
       tell(await said);`,
      `listen(net, (socket) => {
         try {
           process.send('socket', socket);
         } catch (error) {
           answer(error.code);
           socket.end('the child');
         }
       }).then((server) => answer({ port: server.address().port }));`,
    ),
    node: 'heard: the parent\nsocket\n',
    ours: 'heard: the child\nERR_INVALID_HANDLE_TYPE\n',
  },
};

const STDIO = `
  import { spawn } from 'node:child_process';
  const server = net.createServer((socket) => {
    try {
      const args = ['-e', 'console.log("the child")'];
      spawn(process.execPath, args, { stdio: ['ignore', socket, 'inherit'] }).on('exit', () => socket.destroy());
    } catch (error) {
      socket.end(error.code + '\\n');
    }
    server.close();
  });
  server.listen(0, '127.0.0.1', () => {
    net.connect(server.address().port, '127.0.0.1').on('data', (chunk) => console.log(String(chunk)));
  });`;

/** What comes from a parent that has Node's, which is Node's in every module. */
const RECEIVED: Record<string, { program: string; told: string }> = {
  'a socket': {
    program: program(
      `const server = await listen(nodeNet, (socket) => child.send('socket', socket));
       const said = answer();
       tell('heard:', await hears(server.address().port));
       tell(...await said);`,
      `answer([handle.constructor === nodeNet.Socket, handle instanceof net.Socket, handle.remoteFamily]);
       handle.end('the child');`,
    ),
    told: 'heard: the child\ntrue true IPv4\n',
  },
  'a server': {
    program: program(
      `const server = await listen(nodeNet, () => {});
       const { port } = server.address();
       child.send('server', server);
       tell(...await answer());
       await new Promise((resolve) => server.close(resolve));
       const said = answer();
       tell('heard:', await hears(port));
       tell(...await said);`,
      `handle.on('connection', (socket) => {
         answer([socket.constructor === nodeNet.Socket, socket instanceof net.Socket]);
         socket.end('the child');
       });
       answer([handle.constructor === nodeNet.Server, handle instanceof net.Server, handle.listening]);`,
    ),
    told: 'true true true\nheard: the child\ntrue true\n',
  },
  'a handle': {
    program: program(
      `const server = await listen(nodeNet, (socket) => {
         child.send('handle', socket._handle, { keepOpen: true }, () => socket.destroy());
       });
       const said = answer();
       tell('heard:', await hears(server.address().port));
       tell(...await said);`,
      `const socket = new net.Socket({ handle });
       answer([handle.constructor.name, socket.constructor === nodeNet.Socket, socket instanceof net.Socket]);
       socket.end('the child');`,
    ),
    told: 'heard: the child\nTCP true true\n',
  },
};

for (const engine of ['io_uring', 'epoll']) {
  describe(`net: passing on ${engine}`, () => {
    test.each(Object.entries(SENT))('%s that is sent', async (_name, { program, node, ours }) => {
      expect(await runNetFile('node:net', engine, program)).toEqual({ code: 0, stderr: '', stdout: node });
      expect(await runNetFile(builtNet, engine, program)).toEqual({ code: 0, stderr: '', stdout: ours });
    });

    test('a socket that is to be the output of a child', async () => {
      const expected = { code: 0, stderr: '' };
      expect(await runNetFile('node:net', engine, STDIO)).toEqual({ ...expected, stdout: 'the child\n\n' });
      expect(await runNetFile(builtNet, engine, STDIO)).toEqual({ ...expected, stdout: 'ERR_INVALID_ARG_VALUE\n\n' });
    });

    test.each(Object.entries(RECEIVED))('%s that is received', async (_name, { program, told }) => {
      for (const module of ['node:net', builtNet]) {
        expect(await runNetFile(module, engine, program)).toEqual({ code: 0, stderr: '', stdout: told });
      }
    });
  });
}
