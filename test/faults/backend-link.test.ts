// What networks do to the links between gateway and backends, by a proxy in the middle of one of them.
import { expect, test } from 'vitest';
import { describeEngines } from '../support/engines.js';
import { type FaultProxy, NO_FAULT } from './support/fault-proxy.js';
import { byForm } from './support/form.js';
import { failedTotal } from './support/ledger.js';
import { endScenes, Scene } from './support/scene.js';

interface Case {
  readonly name: string;
  /** Of the first backend's links; `under` it there is load. */
  readonly break: (proxy: FaultProxy) => void;
  /** Seconds of it, in the short and the long form. */
  readonly seconds: readonly [number, number];
}

const CASES: readonly Case[] = [
  { name: 'cut between two frames (FIN)', break: (proxy) => proxy.cut(), seconds: [0.3, 1] },
  { name: 'cut in the middle of a frame', break: (proxy) => proxy.cut(37), seconds: [0.3, 1] },
  { name: 'reset (RST)', break: (proxy) => proxy.reset(), seconds: [0.3, 1] },
  { name: 'refused', break: (proxy) => proxy.refuse(true), seconds: [0.6, 3] },
  { name: 'delayed by 100 ms', break: (proxy) => proxy.set({ kind: 'delay', ms: 100 }), seconds: [0.8, 4] },
  {
    name: 'throttled to 8 KB/s',
    break: (proxy) => proxy.set({ kind: 'throttle', bytesPerSecond: 8_192 }),
    seconds: [0.8, 4],
  },
  { name: 'black-holed', break: (proxy) => proxy.set({ kind: 'black-hole' }), seconds: [1.2, 4] },
];

describeEngines('links to backends', (driver) => {
  endScenes();

  test.each(CASES)('$name', async ({ name, break: breakIt, seconds }) => {
    const scene = await Scene.open(driver, { proxied: true });
    const { exposed } = await scene.under(`link ${name}`, async () => {
      for (let i = 0; i < byForm(1, 4); i++) {
        breakIt(scene.proxies[0]);
        await scene.load(...seconds);
        scene.proxies[0].refuse(false);
        scene.proxies[0].set(NO_FAULT);
        await scene.linked();
        await scene.load(0.2, 0.5);
      }
    });
    expect(exposed.answered).toBeGreaterThan(failedTotal(exposed));
  });
});
