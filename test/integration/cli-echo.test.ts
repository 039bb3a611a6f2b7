import { afterEach, expect, it } from 'vitest';
import { type CliProcess, endAll, startCli } from '../support/cli-process.js';
import { describeEngines } from '../support/engines.js';
import { lengthPrefixed, TcpPeer } from '../support/tcp-peer.js';

afterEach(endAll);

describeEngines('ringway echo', (engine) => {
  async function start(...args: string[]): Promise<{ echo: CliProcess; peer: TcpPeer }> {
    const echo = startCli(['echo', '--port', '0', '--engine', engine, ...args]);
    const peer = await TcpPeer.connect({ host: '127.0.0.1', port: await echo.port() });
    return { echo, peer };
  }

  it('says where it listens and which engine runs', async () => {
    const echo = startCli(['echo', '--port', '0', '--engine', engine]);
    const [line] = await echo.match(/^listening on .*$/m);
    expect(line).toMatch(new RegExp(`^listening on 127\\.0\\.0\\.1:\\d+ \\(${engine}\\W`));
  });

  it.each([
    ['length', Buffer.concat([lengthPrefixed('one'), lengthPrefixed(''), lengthPrefixed('two')])],
    ['line', Buffer.from('one\n\ntwo\n')],
    ['raw', Buffer.from('whatever comes')],
  ])('echoes %s', async (framing, bytes) => {
    const { peer } = await start('--framing', framing);
    peer.write(bytes);
    expect(await peer.bytes(bytes.length)).toEqual(bytes);
    peer.destroy();
  });

  it('sends what it has and ends on SIGTERM, although a client stays', async () => {
    const { echo, peer } = await start();
    const frame = lengthPrefixed('x'.repeat(100_000));
    peer.write(frame);
    await peer.bytes(frame.length);
    echo.signal('SIGTERM');
    await peer.end();
    peer.fin();
    expect(await echo.ended).toMatchObject({ status: 0 });
    expect(peer.receivedBytes).toBe(frame.length);
    peer.destroy();
  });

  it('waits for a client that does not read, and loses nothing', async () => {
    const { peer } = await start();
    peer.socket.pause();
    const frame = lengthPrefixed(Buffer.alloc(1 << 20, 7));
    const frames = 40;
    for (let i = 0; i < frames; i++) peer.write(frame);
    peer.socket.resume();
    const received = await peer.bytes(frames * frame.length);
    expect(received.length).toBe(frames * frame.length);
    expect(received.subarray(39 * frame.length)).toEqual(frame);
    peer.destroy();
  });

  it('tells in one line that its address is in use', async () => {
    const { echo, peer } = await start();
    const port = await echo.port();
    const second = await startCli(['echo', '--port', String(port), '--engine', engine]).ended;
    expect(second.status).toBe(1);
    expect(second.stderr).toMatch(new RegExp(`^ringway: 127\\.0\\.0\\.1:${port} is already in use[^\\n]*\\n$`));
    expect(second.stdout).toBe('');
    peer.destroy();
  });
});
