// The frame server and its connections from listen to close, and outgoing connections.
import { expect, test } from 'vitest';
import { connectClient } from '../../src/client/connect-client.js';
import { createServer, connect, type FrameConnectOptions, type FrameServerOptions } from '../../src/server.js';
import type { CloseInfo } from '../../src/engine/engine.js';
import type { RingwayError } from '../../src/errors.js';
import type { FrameHandlers } from '../../src/frame-channel.js';
import type { FrameConnection } from '../../src/frame-connection.js';
import { Changes } from '../support/changes.js';
import { boundSocket } from '../support/descriptors.js';
import { describeEngines, useEngine } from '../support/engines.js';
import { lengthPrefixed, TcpPeer } from '../support/tcp-peer.js';

/** Handlers that write down what they are told. */
function recording(hooks: Partial<FrameHandlers> = {}) {
  const record = {
    changes: new Changes(),
    opened: [] as FrameConnection[],
    frames: [] as string[],
    errors: [] as RingwayError[],
    closed: [] as CloseInfo[],
    drains: 0,
  };
  const handlers: FrameHandlers = {
    ...hooks,
    open(connection) {
      record.opened.push(connection);
      hooks.open?.(connection);
      record.changes.notify();
    },
    frame(connection, frame) {
      record.frames.push(frame.toString());
      hooks.frame?.(connection, frame);
      record.changes.notify();
    },
    drain(connection) {
      record.drains++;
      hooks.drain?.(connection);
      record.changes.notify();
    },
    error(_connection, error) {
      record.errors.push(error);
    },
    close(connection, info) {
      record.closed.push(info);
      hooks.close?.(connection, info);
      record.changes.notify();
    },
  };
  const closed = () => record.changes.until('close', () => record.closed.length > 0);
  return Object.assign(record, { handlers, whenClosed: closed });
}

const echo = { frame: (connection: FrameConnection, frame: Buffer) => void connection.send(frame) };

describeEngines('createServer and connect', (driver, run) => {
  const fixture = useEngine(run);

  function server(handlers: FrameHandlers, options: Partial<FrameServerOptions> = {}) {
    const created = createServer({ framing: 'length', port: 0, engine: fixture.engine, ...options }, handlers);
    fixture.cleanUp(() => created.close());
    return created;
  }

  function client(options: Partial<FrameConnectOptions>, handlers: FrameHandlers) {
    return connect({ framing: 'length', engine: fixture.engine, ...options }, handlers);
  }

  test('listen answers with the address, once', async () => {
    const created = server(echo);
    expect(created.engine.name).toBe(driver);
    expect(created.address).toBeUndefined();
    const address = await created.listen();
    expect(address).toMatchObject({ host: '127.0.0.1' });
    expect(created.address).toEqual(address);
    await expect(created.listen()).rejects.toMatchObject({ code: 'ERR_SERVER_LISTENING' });
  });

  test('without a port it listens on a free one', async () => {
    const created = createServer({ framing: 'length', engine: fixture.engine }, echo);
    const address = await created.listen();
    expect(address).toEqual({ host: '127.0.0.1', port: expect.any(Number) });
    expect(address).not.toMatchObject({ port: 0 });
    await created.close();
  });

  test('listen overrides the host or the port that it is given, and no more', async () => {
    const other = server(echo, { host: '127.0.0.2', port: 1 });
    expect(await other.listen({ port: 0 })).toMatchObject({ host: '127.0.0.2' });
    const { port } = (await server(echo).listen()) as { port: number };
    expect(await server(echo, { host: '127.0.0.1', port }).listen({ host: '127.0.0.2' })).toEqual({
      host: '127.0.0.2',
      port,
    });
  });

  test('listens on a socket that it is given', async () => {
    const { fd, port } = await boundSocket({ host: '127.0.0.1' });
    const created = server(echo, { fd });
    expect(await created.listen()).toEqual({ host: '127.0.0.1', port });
    const peer = await fixture.peer({ host: '127.0.0.1', port });
    peer.write(lengthPrefixed('hello'));
    expect(await peer.bytes(9)).toEqual(lengthPrefixed('hello'));
  });

  test('a failed listen says why, and another may follow', async () => {
    const first = server(echo);
    const { port } = (await first.listen()) as { port: number };
    const second = server(echo, { port });
    await expect(second.listen()).rejects.toMatchObject({ code: 'EADDRINUSE' });
    expect(await second.listen({ port: 0 })).toMatchObject({ host: '127.0.0.1' });
  });

  test('a name is resolved for listen and connect', async () => {
    const created = server(echo, { host: 'localhost' });
    const { port } = (await created.listen()) as { port: number };
    const record = recording();
    const connection = client({ host: 'localhost', port }, record.handlers);
    expect(connection.state).toBe('connecting');
    expect(connection.send('early')).toBe(true);
    await record.changes.until('the echo', () => record.frames.length === 1);
    expect(record.frames).toEqual(['early']);
    expect(record.opened).toEqual([connection]);
    connection.close();
    await record.whenClosed();
    expect(record.errors).toEqual([]);
  });

  test('a name that is none: error and close', async () => {
    const record = recording();
    const connection = client({ host: 'no-such-name.invalid', port: 1 }, record.handlers);
    await record.whenClosed();
    expect(record.closed[0].reason).toBe('connect-failed');
    expect(record.closed[0].errorCode).toMatch(/^E/);
    expect(record.errors[0]).toMatchObject({ code: 'ERR_CONNECTION_FAILED' });
    expect(connection.state).toBe('closed');
    expect(connection.send('x')).toBe(false);
  });

  test('closed while its name is being resolved: close follows once', async () => {
    const record = recording();
    const connection = client({ host: 'localhost', port: 1 }, record.handlers);
    connection.send('never');
    connection.close();
    expect(record.closed).toEqual([]);
    await record.whenClosed();
    expect(record.closed).toMatchObject([{ reason: 'closed', bytesHandedToKernel: 0 }]);
    expect(record.opened).toEqual([]);
  });

  test('refused: error and close, open never', async () => {
    const created = server(echo);
    const { port } = (await created.listen()) as { port: number };
    await created.close();
    const record = recording();
    client({ port }, record.handlers);
    await record.whenClosed();
    expect(record.closed).toMatchObject([{ reason: 'connect-failed', errorCode: 'ECONNREFUSED' }]);
    expect(record.errors[0].message).toMatch(/127\.0\.0\.1.*connect-failed/);
    expect(record.opened).toEqual([]);
  });

  test('frames both ways between connect and createServer, with drain', async () => {
    const created = server(echo);
    const { port } = (await created.listen()) as { port: number };
    const record = recording();
    const connection = client({ port, highWaterMark: 10_000 }, record.handlers);
    const payload = 'x'.repeat(5_000);
    let sent = 0;
    while (connection.send(payload)) sent++;
    sent++;
    await record.changes.until('drain', () => record.drains === 1);
    await record.changes.until('all echoed', () => record.frames.length === sent);
    expect(record.frames.every((frame) => frame === payload)).toBe(true);
    connection.close();
    await record.whenClosed();
    expect(record.closed[0]).toMatchObject({ reason: 'closed', bytesHandedToKernel: connection.bytesQueued });
  });

  test('a disorderly end is an error with a sentence, before close', async () => {
    const record = recording();
    const created = server(record.handlers, { maxFrameLength: 10 });
    const peer = await fixture.peer(await created.listen());
    peer.write(lengthPrefixed('x'.repeat(11)));
    await peer.end();
    peer.fin();
    await record.whenClosed();
    expect(record.closed[0].reason).toBe('frame-too-long');
    expect(record.errors[0].message).toMatch(/frame-too-long.*11.*10/);
  });

  test('close: nobody new, what is queued is sent, every connection ends as going-away', async () => {
    const record = recording({ frame: (connection) => void connection.send('answer') });
    const created = server(record.handlers);
    const address = await created.listen();
    const peers = [await fixture.peer(address), await fixture.peer(address)];
    for (const peer of peers) peer.write(lengthPrefixed('?'));
    for (const peer of peers) await peer.bytes(10);
    for (const connection of record.opened) connection.send('last');
    expect(created.connections).toBe(2);
    const closing = created.close();
    for (const peer of peers) {
      await peer.end();
      peer.fin();
      expect(peer.received).toEqual(Buffer.concat([lengthPrefixed('answer'), lengthPrefixed('last')]));
    }
    await closing;
    expect(record.closed.map(({ reason }) => reason)).toEqual(['going-away', 'going-away']);
    expect(created.connections).toBe(0);
    await expect(TcpPeer.connect(address)).rejects.toMatchObject({ code: 'ECONNREFUSED' });
    await expect(created.listen()).rejects.toMatchObject({ code: 'ERR_SERVER_CLOSED' });
  });

  test('close with a grace period waits for connections that end by themselves', async () => {
    const record = recording(echo);
    const created = server(record.handlers);
    const peer = await fixture.peer(await created.listen());
    await record.changes.until('open', () => record.opened.length === 1);
    const closing = created.close({ graceMs: 20_000 });
    peer.write(lengthPrefixed('still served'));
    await peer.bytes(16);
    peer.fin();
    await closing;
    expect(record.closed).toMatchObject([{ reason: 'peer-closed' }]);
  });

  test('an engine that is lent is not closed; the shared one closes with its last user', async () => {
    const lent = server(echo);
    await lent.listen();
    await lent.close();
    const again = server(echo);
    await again.listen();
    const named = createServer({ framing: 'length', port: 0, engine: driver }, echo);
    expect(named.engine.name).toBe(driver);
    const client = connectClient('rmp://127.0.0.1:1', { engine: driver });
    const own = createServer({ framing: 'length', port: 0, engine: { kind: driver } }, echo);
    expect(own.engine).not.toBe(named.engine);
    await own.close();
    const open = () => named.engine.listen({ port: 0, framing: { format: 'raw' } }, {} as never);
    await named.close();
    // The client has it still.
    await (await open()).close();
    await client.close();
    await expect(open()).rejects.toThrow('closed');
  });

  test('wrong options are thrown, with what would be right', async () => {
    expect(() => createServer({ framing: 'json' as never, port: 0, engine: fixture.engine }, echo)).toThrow(
      /length, line/,
    );
    expect(() => client({ port: 0 }, echo)).toThrow('port is 0');
    await expect(server(echo, { port: 70_000 }).listen()).rejects.toThrow('port is 70000');
  });
});

test('servers without an engine share one', async () => {
  const [first, second] = [
    createServer({ framing: 'raw', port: 0 }, echo),
    createServer({ framing: 'raw', port: 0 }, echo),
  ];
  expect(first.engine).toBe(second.engine);
  await Promise.all([first.listen(), second.listen()]);
  await first.close();
  expect(second.engine.reason).toMatch(/\w/);
  const peer = await TcpPeer.connect(second.address!);
  peer.write('x');
  await peer.bytes(1);
  peer.destroy();
  await second.close();
});
