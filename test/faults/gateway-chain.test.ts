// Two gateways in a row: the inner one is the outer one's backend, and is killed, stopped, drained and started again under load.
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { DriverName } from '../../src/engine/engine.js';
import { describeEngines } from '../support/engines.js';
import { failedTotal } from './support/ledger.js';
import { GatewayProcess } from './support/gateway-process.js';
import { byForm } from './support/form.js';
import { endScenes, Scene } from './support/scene.js';

/** A gateway that can be started again on its port. */
class InnerGateway {
  process!: GatewayProcess;
  readonly #driver: DriverName;
  readonly #file: string;
  readonly #backendPort: number;

  constructor(driver: DriverName, file: string, backendPort: number) {
    this.#driver = driver;
    this.#file = file;
    this.#backendPort = backendPort;
  }

  async start(port = 0): Promise<number> {
    const config = {
      listeners: [{ port, protocol: 'rmp' }],
      pools: { echo: { servers: [{ address: `127.0.0.1:${this.#backendPort}` }] } },
      routes: [{ route: 0, pool: 'echo' }],
    };
    this.process = await GatewayProcess.start({ driver: this.#driver, config, file: this.#file });
    return this.process.port();
  }

  async end(signal: 'SIGKILL' | 'SIGTERM'): Promise<number | null> {
    this.process.signal(signal);
    return (await this.process.ended).status;
  }
}

describeEngines('two gateways in a row', (driver) => {
  endScenes();

  test('the inner ones are killed, stopped, drained and come back', async () => {
    const inner: InnerGateway[] = [];
    const ports: number[] = [];
    const more = async (scene: Scene): Promise<number[]> => {
      for (const name of ['first', 'second']) {
        const backend = await scene.backend(5);
        const gateway = new InnerGateway(driver, join(scene.directory, `${name}.json`), backend.port);
        ports.push(await gateway.start());
        inner.push(gateway);
      }
      return ports;
    };
    const scene = await Scene.open(driver, { backends: 0, more });
    const { exposed } = await scene.under('two gateways in a row', async () => {
      for (let i = 0; i < byForm(1, 5); i++) {
        await scene.load(0.3, 1);
        await inner[0].end('SIGKILL');
        await scene.load(0.3, 1);
        await inner[0].start(ports[0]);
        await scene.linked();
        inner[1].process.signal('SIGSTOP');
        await scene.load(0.4, 2);
        inner[1].process.signal('SIGCONT');
        await scene.load(0.3, 1);
        expect(await inner[1].end('SIGTERM')).toBe(0);
        await scene.load(0.3, 1);
        await inner[1].start(ports[1]);
        await scene.linked();
      }
    });
    expect(exposed.answered).toBeGreaterThan(failedTotal(exposed));
  });
});
