// The entries of perf_hooks that Node makes of its own connections.
import nodeNet, { type AddressInfo } from 'node:net';
import { PerformanceObserver } from 'node:perf_hooks';
import { expect } from 'vitest';
import { describeNets, once } from '../support/net-worlds.js';

/** What an entry of type `net` says of its connection; the types of Node 20 do not know `detail`. */
interface Entry {
  readonly name: string;
  readonly entryType: string;
  readonly detail: { readonly port: number };
}

describeNets('net: perf_hooks', ({ own }) => {
  own('a connection makes no entry of type net, where one of Node makes one', async (world) => {
    const entries: Entry[] = [];
    const { port } = await world.listen();
    const node = nodeNet.createServer((socket) => socket.end()).listen(0, '127.0.0.1');
    world.cleanUp(() => node.close());
    await once(node, 'listening');
    const told = new Promise<void>((resolve) => {
      const observer = new PerformanceObserver((list) => {
        entries.push(...(list.getEntries() as unknown as Entry[]));
        resolve();
      });
      observer.observe({ entryTypes: ['net'] });
      world.cleanUp(() => observer.disconnect());
    });
    await once(world.connect(port), 'ready');
    // Node's comes after ours would have come.
    const nodePort = (node.address() as AddressInfo).port;
    nodeNet.connect(nodePort, '127.0.0.1').resume();
    await told;
    const seen = entries.map(({ name, entryType, detail }) => [name, entryType, detail.port]);
    expect(seen).toEqual([['connect', 'net', nodePort]]);
  });
});
