// kill -9 of backends under load: what was in flight ends UNAVAILABLE or is sent again where it may be, and nothing else.
import { expect, test } from 'vitest';
import { describeEngines } from '../support/engines.js';
import { byForm } from './support/form.js';
import { failedTotal } from './support/ledger.js';
import { endScenes, Scene } from './support/scene.js';

describeEngines('kill -9', (driver) => {
  endScenes();

  test('of one of two backends, again and again', async () => {
    const scene = await Scene.open(driver);
    const { exposed } = await scene.under('kill -9 of one of two backends', async () => {
      for (let i = 0; i < byForm(2, 10); i++) {
        await scene.load(0.4, 1);
        const backend = scene.backends[i % 2];
        await backend.kill();
        await scene.load(0.3, 1);
        await backend.startAgain();
        await scene.linked();
      }
    });
    expect(exposed.answered).toBeGreaterThan(failedTotal(exposed));
    expect(Object.keys(exposed.failed).filter((status) => status !== 'UNAVAILABLE')).toEqual([]);
  });

  test('of all backends at once, and back', async () => {
    const scene = await Scene.open(driver);
    await scene.under('kill -9 of both backends', async () => {
      for (let i = 0; i < byForm(1, 5); i++) {
        await scene.load(0.3, 1);
        await Promise.all(scene.backends.map((backend) => backend.kill()));
        await scene.load(0.4, 1);
        await Promise.all(scene.backends.map((backend) => backend.startAgain()));
        await scene.linked();
        await scene.load(0.3, 1);
      }
    });
  });
});
