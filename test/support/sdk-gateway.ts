/** A gateway in this process, in front of backends that listen on the given ports of 127.0.0.1. */
import { loadConfig } from '../../src/config/load-config.js';
import type { DriverName } from '../../src/engine/engine.js';
import { createEngine } from '../../src/engine/select-engine.js';
import { createGateway, type Gateway } from '../../src/gateway/gateway.js';

export interface RunningGateway {
  readonly gateway: Gateway;
  readonly rmpPort: number;
  readonly plainPort: number;
  readonly linesPort: number;
  close(): Promise<void>;
}

export async function startGateway(
  driver: DriverName,
  backendPorts: readonly number[],
  pool: object = {},
  listener: object = {},
): Promise<RunningGateway> {
  const config = loadConfig(
    JSON.stringify({
      listeners: ['rmp', 'plain', 'lines'].map((protocol) => ({ name: protocol, port: 0, protocol, ...listener })),
      pools: { sdk: { servers: backendPorts.map((port) => ({ address: `127.0.0.1:${port}` })), ...pool } },
      routes: [{ route: 0, pool: 'sdk' }],
    }),
  );
  const engine = createEngine(driver);
  const gateway = createGateway(config, { engine });
  await gateway.start();
  const [rmpPort, plainPort, linesPort] = gateway.addresses.map(({ address }) =>
    'port' in address ? address.port : 0,
  );
  const close = async (): Promise<void> => {
    await gateway.close();
    await engine.close();
  };
  return { gateway, rmpPort, plainPort, linesPort, close };
}
