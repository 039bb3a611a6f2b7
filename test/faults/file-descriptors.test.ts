// No file descriptor left: new connections wait or fail, those that are open go on, and with a free one everything is as before.
import { expect, test } from 'vitest';
import { describeEngines } from '../support/engines.js';
import { cpuMs, footprint } from './support/footprint.js';
import { RawClients } from './support/raw-clients.js';
import { endScenes, Scene } from './support/scene.js';
import { until } from './support/until.js';

/** Enough for Node, the scene's 70 clients and its links, and a few more. */
const MAX_FILES = 160;

describeEngines('file descriptors exhausted', (driver) => {
  endScenes();

  test('by clients, while a backend dies and comes back', async () => {
    const scene = await Scene.open(driver, { maxFiles: MAX_FILES, pool: { deadlineMs: 1_000 } });
    await scene.under(`no file descriptor left of ${MAX_FILES}`, async () => {
      const crowd = new RawClients(scene.gateway.port());
      await crowd.connect(300);
      // libuv keeps one back, to accept and close with: then node:net is out of them, too.
      await until('no descriptor is left', () => footprint(scene.gateway.pid).fds >= MAX_FILES - 1);
      const cpuBefore = cpuMs(scene.gateway.pid);
      const before = performance.now();
      await scene.load(1, 5);
      const share = (cpuMs(scene.gateway.pid) - cpuBefore) / (performance.now() - before);
      expect(share, 'waiting for a descriptor must not be a busy loop').toBeLessThan(0.7);
      await scene.backends[0].kill();
      await scene.load(0.3, 2);
      await scene.backends[0].startAgain();
      crowd.destroy();
      await scene.linked();
      const late = await scene.client();
      late.request();
      await until('a newcomer is served', () => late.open === 0);
      late.destroy();
      await scene.load(0.3, 1);
    });
    // node:net does not let it be known (docs/ARCHITECTURE.md).
    const errors = await scene.gateway.metric('ringway_engine_accept_errors_total');
    if (driver === 'portable') expect(errors).toBe(0);
    else expect(errors).toBeGreaterThan(0);
  });
});
