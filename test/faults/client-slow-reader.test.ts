// Clients by the hundred that ask for much and take nothing, or next to nothing: they cost a bounded amount, and only themselves.
import { expect, test } from 'vitest';
import { describeEngines } from '../support/engines.js';
import { byForm } from './support/form.js';
import type { LedgerClient } from './support/ledger-client.js';
import { endScenes, Scene } from './support/scene.js';
import { until } from './support/until.js';

const READERS = byForm(20, 100);
/** Of each: more than the 3 to 4 MB that the kernel holds between the two ends, so that the gateway has to hold back. */
const REQUESTS = 100;
const REQUEST_BYTES = 65_536;

const STALLED = 'ringway_connections_closed_total{reason="write-stalled"}';

function ask(clients: readonly LedgerClient[]): void {
  for (const client of clients) for (let i = 0; i < REQUESTS; i++) client.request(REQUEST_BYTES);
}

describeEngines('slow readers', (driver) => {
  endScenes();

  test('that never read are closed as write-stalled', async () => {
    const scene = await Scene.open(driver, { delayMs: 0, listener: { writeStallTimeoutMs: 1_000 } });
    await scene.under(
      `${READERS} clients that never read`,
      async () => {
        const clients = await scene.clients(READERS, { budgetMs: 60_000 });
        for (const { socket } of clients) socket.pause();
        ask(clients);
        let stalled = 0;
        const allStalled = async () => (stalled = await scene.gateway.metric(STALLED)) === READERS;
        await until('all of them are closed', allStalled, byForm(20_000, 120_000), () => `${stalled} of ${READERS}`);
        for (const client of clients) client.destroy();
      },
      { mayCut: true },
    );
    expect(await scene.gateway.metric('ringway_engine_send_buffer_full_total')).toBe(0);
  });

  test('that read a little now and then are served at their pace', async () => {
    const scene = await Scene.open(driver, { delayMs: 0, listener: { writeStallTimeoutMs: 10_000 } });
    const { exposed } = await scene.under(`${READERS} clients that read slowly`, async () => {
      const clients = await scene.clients(READERS, { budgetMs: 60_000 });
      for (const { socket } of clients) socket.on('data', () => socket.pause());
      const sip = setInterval(() => {
        for (const { socket } of clients) socket.resume();
      }, 100);
      ask(clients);
      const open = (): number => clients.reduce((sum, client) => sum + client.open, 0);
      await until('all answers were taken', () => open() === 0, byForm(30_000, 120_000));
      clearInterval(sip);
      for (const client of clients) client.destroy();
    });
    expect(exposed.cut).toBe(0);
  });
});
