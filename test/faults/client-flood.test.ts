// More connections than the listener takes, in one go and then again and again.
import { expect, test } from 'vitest';
import { describeEngines } from '../support/engines.js';
import { byForm } from './support/form.js';
import { RawClients } from './support/raw-clients.js';
import { endScenes, Scene } from './support/scene.js';
import { until } from './support/until.js';

const MOST = 200;
const FLOOD = byForm(1_000, 5_000);
/** The scene's own on the rmp listener. */
const OWN = 60;

describeEngines('connection flood', (driver) => {
  endScenes();

  test('over maxConnections: refused at accept, those that are open go on, places that come free are taken', async () => {
    const scene = await Scene.open(driver, { listener: { maxConnections: MOST } });
    const { exposed } = await scene.under(`${FLOOD} connections over a limit of ${MOST}`, async () => {
      const flood = new RawClients(scene.gateway.port());
      await flood.connect(FLOOD);
      await until('what is over the limit is closed', () => flood.open === MOST - OWN);
      flood.destroy();
      await until('the places are free', async () => (await scene.gateway.totals()).clients <= OWN + 10);
      const late = await scene.client();
      late.request();
      await until('a newcomer is served', () => late.open === 0);
      late.destroy();
    });
    expect(exposed.failed).toEqual({});
    const refused = await scene.gateway.metric('ringway_engine_refused_max_connections_total');
    expect(refused).toBe(FLOOD - (MOST - OWN));
  });

  test('connections that come and go', async () => {
    const scene = await Scene.open(driver);
    const { exposed } = await scene.under(`${FLOOD * 2} connections that come and go`, async () => {
      for (let i = 0; i < FLOOD * 2; i += MOST) {
        const comers = new RawClients(scene.gateway.port());
        await comers.connect(MOST);
        if (i % (2 * MOST) === 0) comers.destroy();
        else for (const socket of comers.sockets) socket.resetAndDestroy();
      }
    });
    expect(exposed.failed).toEqual({});
  });
});
