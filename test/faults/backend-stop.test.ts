// SIGSTOP: the backend's sockets stay open, the kernel takes its bytes, nobody answers. Found out by pings; back by SIGCONT.
import { expect, test } from 'vitest';
import { describeEngines } from '../support/engines.js';
import { byForm } from './support/form.js';
import { failedTotal } from './support/ledger.js';
import { endScenes, Scene } from './support/scene.js';

describeEngines('SIGSTOP', (driver) => {
  endScenes();

  test('of one of two backends: for a moment, and for longer than the pings wait', async () => {
    const scene = await Scene.open(driver);
    const { exposed } = await scene.under('SIGSTOP of one of two backends', async () => {
      for (let i = 0; i < byForm(1, 3); i++) {
        for (const [short, long] of [
          [0.2, 0.3],
          [1.2, 4],
        ]) {
          scene.backends[0].stop();
          await scene.load(short, long);
          scene.backends[0].goOn();
          await scene.load(0.4, 1);
        }
      }
      await scene.linked();
    });
    expect(exposed.answered).toBeGreaterThan(failedTotal(exposed));
  });

  test('of all backends: what waits ends by its deadline, and service comes back', async () => {
    const scene = await Scene.open(driver, { pool: { deadlineMs: 400 } });
    await scene.under('SIGSTOP of both backends', async () => {
      for (const backend of scene.backends) backend.stop();
      await scene.load(1, 5);
      for (const backend of scene.backends) backend.goOn();
      await scene.linked();
      await scene.load(0.5, 2);
    });
  });
});
