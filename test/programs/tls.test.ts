import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import tls from 'node:tls';
import { expect } from 'vitest';
import { cert, key } from './certificate.js';
import { describeProgram, once, PatternCheck, pattern, type Stage } from './programs.js';

const STREAM_BYTES = 16 * 1024 * 1024;

async function serveTls(stage: Stage, onSecure: (socket: tls.TLSSocket) => void): Promise<number> {
  const secureContext = tls.createSecureContext({ key, cert });
  const { port } = await stage.serve((raw) => {
    const socket = new tls.TLSSocket(raw, { isServer: true, secureContext, ALPNProtocols: ['shout', 'echo'] });
    socket.on('error', () => {});
    onSecure(socket);
  });
  return port;
}

function connectTls(stage: Stage, port: number, options: tls.ConnectionOptions = {}): tls.TLSSocket {
  return tls.connect({ socket: stage.connect(port), ca: cert, servername: 'localhost', ...options });
}

describeProgram('tls.TLSSocket', (play) => {
  play('agrees on a protocol, proves who it is, and echoes', async (stage) => {
    const port = await serveTls(stage, (socket) => socket.pipe(socket));
    const socket = connectTls(stage, port, { ALPNProtocols: ['echo'] });
    await once(socket, 'secureConnect');
    expect([socket.authorized, socket.alpnProtocol, socket.getProtocol()]).toEqual([true, 'echo', 'TLSv1.3']);
    socket.end('through the tunnel');
    let text = '';
    for await (const chunk of socket) text += chunk;
    expect(text).toBe('through the tunnel');
  });

  play('streams 16 MB each way at once', async (stage) => {
    const uploaded = new PatternCheck(STREAM_BYTES);
    const port = await serveTls(stage, (socket) => {
      const poured = pipeline(Readable.from(pattern(STREAM_BYTES)), socket, { end: false });
      socket.on('data', (chunk: Buffer) => {
        uploaded.add(chunk);
        // Not before: a socket that may not be half open stops sending when the other end has ended.
        if (uploaded.bytes === STREAM_BYTES) void poured.then(() => socket.end());
      });
    });
    const socket = connectTls(stage, port);
    const upload = pipeline(Readable.from(pattern(STREAM_BYTES)), socket, { end: false });
    const downloaded = new PatternCheck(STREAM_BYTES);
    socket.on('data', (chunk: Buffer) => downloaded.add(chunk));
    await Promise.all([upload, once(socket, 'end')]);
    expect([downloaded.bytes, downloaded.wrongAt]).toEqual([STREAM_BYTES, -1]);
    expect([uploaded.bytes, uploaded.wrongAt]).toEqual([STREAM_BYTES, -1]);
  });

  play('refuses a certificate that nobody vouches for', async (stage) => {
    const port = await serveTls(stage, () => {});
    const socket = connectTls(stage, port, { ca: undefined });
    const [error] = (await once(socket, 'error')) as [NodeJS.ErrnoException];
    expect(error.code).toBe('DEPTH_ZERO_SELF_SIGNED_CERT');
  });

  play('a client that does not speak TLS ends alone', async (stage) => {
    const errors: unknown[] = [];
    const port = await serveTls(stage, (socket) => {
      socket.on('error', (error: NodeJS.ErrnoException) => errors.push(error.code));
      socket.pipe(socket);
    });
    const plain = stage.connect(port);
    plain.on('error', () => {});
    plain.write('GET / HTTP/1.1\r\n\r\n');
    plain.resume();
    await once(plain, 'close');
    expect(errors).toEqual(['ERR_SSL_HTTP_REQUEST']);
    const socket = connectTls(stage, port);
    socket.write('well');
    expect(String((await once(socket, 'data'))[0])).toBe('well');
  });
});
