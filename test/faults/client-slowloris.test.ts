// Slowloris by the thousand: a byte a second of a frame that never ends.
import { expect, test } from 'vitest';
import { describeEngines } from '../support/engines.js';
import { byForm } from './support/form.js';
import { RawClients } from './support/raw-clients.js';
import { endScenes, Scene } from './support/scene.js';
import { until } from './support/until.js';

const CLIENTS = byForm(1_000, 4_000);
const PARTIAL_FRAME_MS = 2_000;
/** A frame of 64 KB that has begun well: it would take 18 hours. */
const BEGINNING = Uint8Array.of(0, 1, 0, 0);

describeEngines('slowloris', (driver) => {
  endScenes();

  test('a byte a second: closed as partial-frame-timeout, the others never notice', async () => {
    const scene = await Scene.open(driver, { listener: { partialFrameTimeoutMs: PARTIAL_FRAME_MS } });
    const slow = new RawClients(scene.gateway.port());
    const { exposed } = await scene.under(`${CLIENTS} clients that send a byte a second`, async () => {
      await slow.connect(CLIENTS);
      slow.write(BEGINNING);
      const drip = setInterval(() => slow.write(Uint8Array.of(1)), 1_000);
      // The frame's own 64 KB may take 4 s more, at 16 KB/s.
      await until('every one of them is closed', () => slow.open === 0, PARTIAL_FRAME_MS + 12_000);
      clearInterval(drip);
    });
    expect(exposed.failed).toEqual({});
    expect(await scene.gateway.metric('ringway_engine_partial_frame_timeouts_total')).toBe(CLIENTS);
  });
});
