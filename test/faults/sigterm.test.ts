// SIGTERM under load: what is in flight is finished, what comes late is told, the exit status is 0.
import { expect, test } from 'vitest';
import { describeEngines } from '../support/engines.js';
import { byForm } from './support/form.js';
import { FaultProxy } from './support/fault-proxy.js';
import { Ledger, NO_SINS, sins, type Verdict } from './support/ledger.js';
import { LedgerClient } from './support/ledger-client.js';
import { Load } from './support/load.js';
import { endScenes, Scene, type SceneOptions } from './support/scene.js';

/** One way, of the clients that are far away. */
const FAR_MS = 20;

async function terminate(scene: Scene): Promise<number | null> {
  scene.gateway.signal('SIGTERM');
  return (await scene.gateway.ended).status;
}

function told({ sent, answered, failed }: Verdict): boolean {
  return sent === answered + (failed.UNAVAILABLE ?? 0);
}

describeEngines('SIGTERM under load', (driver) => {
  endScenes();

  const rmpOnly: SceneOptions = { delayMs: 50, plainClients: 0 };

  test('rmp: every request is answered or told UNAVAILABLE, the exit status is 0', async () => {
    const scene = await Scene.open(driver, rmpOnly);
    let status: number | null = -1;
    const fault = async () => {
      await scene.load(0.5, 3);
      status = await terminate(scene);
    };
    const { exposed, bystanders } = await scene.under('SIGTERM under load', fault, { gatewayEnds: true });
    expect(status).toBe(0);
    expect({ exposed, all: told(exposed) }).toMatchObject({ all: true });
    expect({ bystanders, all: told(bystanders) }).toMatchObject({ all: true });
  });

  test('rmp from far away: requests that cross the going-away are told too', async () => {
    const scene = await Scene.open(driver, rmpOnly);
    const ledger = new Ledger(2 ** 31);
    const proxy = await FaultProxy.listen(scene.gateway.port());
    proxy.set({ kind: 'delay', ms: FAR_MS });
    const clients = Array.from({ length: 20 }, () => LedgerClient.connect({ port: proxy.port, ledger }));
    const load = new Load(await Promise.all(clients), { ratePerSecond: byForm(400, 1_000) });
    const fault = async () => {
      load.start();
      await scene.load(0.5, 2);
      await terminate(scene);
      load.stop();
    };
    await scene.under('SIGTERM, clients far away', fault, { gatewayEnds: true });
    await proxy.close();
    const verdict = ledger.verdict();
    expect(sins(verdict)).toEqual(NO_SINS);
    expect({ verdict, all: told(verdict) }).toMatchObject({ all: true });
  });

  test('plain has no word for it: what crossed the end of the connection is cut, and nothing else', async () => {
    const scene = await Scene.open(driver, { delayMs: 50 });
    const fault = async () => {
      await scene.load(0.5, 3);
      expect(await terminate(scene)).toBe(0);
    };
    const { exposed } = await scene.under('SIGTERM, plain', fault, { gatewayEnds: true, mayCut: true });
    expect(exposed.cut).toBeLessThanOrEqual(scene.plainConnections);
  });
});
