// What --check says of two listeners on one port is what the kernel says.
import { expect, test } from 'vitest';
import { loadConfig } from '../../src/config/load-config.js';
import { describeEngines, useEngine } from '../support/engines.js';
import { Recorder } from '../support/recorder.js';

const HOSTS = ['127.0.0.1', '0.0.0.0', '::', '::1', '0:0:0:0:0:0:0:1', '::ffff:127.0.0.1', '::ffff:0.0.0.0'];
const PAIRS = HOSTS.flatMap((first) => HOSTS.map((second) => [first, second] as const));

function isAccepted(hosts: readonly string[], port: number): boolean {
  const config = {
    listeners: hosts.map((host) => ({ host, port })),
    pools: { one: { servers: [{ address: '127.0.0.1:1' }] } },
    routes: [{ route: 0, pool: 'one' }],
  };
  try {
    loadConfig(JSON.stringify(config));
    return true;
  } catch {
    return false;
  }
}

describeEngines('listeners on one port', (_driver, run) => {
  const fixture = useEngine(run);
  const listen = (host: string, port: number) =>
    fixture.engine.listen({ host, port, framing: { format: 'raw' } }, new Recorder());

  /** On a port that was free on `first`. @returns the port, and what the kernel said of the second. */
  async function listenOnBoth(first: string, second: string): Promise<{ port: number; code: string | undefined }> {
    const one = await listen(first, 0);
    const { port } = one.address as { port: number };
    try {
      await (await listen(second, port)).close();
      return { port, code: undefined };
    } catch (error) {
      return { port, code: (error as { code: string }).code };
    } finally {
      await one.close();
    }
  }

  test.each(PAIRS)('%s and %s', async (first, second) => {
    // Another program may have the port on the second address alone, but hardly five times.
    for (let attempt = 0; attempt < 5; attempt++) {
      const { port, code } = await listenOnBoth(first, second);
      const accepted = isAccepted([first, second], port);
      if (accepted && code === 'EADDRINUSE') continue;
      expect([accepted, code]).toEqual(accepted ? [true, undefined] : [false, 'EADDRINUSE']);
      return;
    }
    expect.fail('--check accepts what the kernel refuses');
  });
});
