/** A gateway and its inference servers, as processes of their own. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Child } from './child.js';

const SERVER = fileURLToPath(new URL('./server.js', import.meta.url));
/** From dist-tools/examples/inference. */
export const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
const READY = /^listening on .*?:(\d+) \((.*)\)$/;
const GATEWAY_READY = /^listening on \S*?:(\d+), \S*?:(\d+), admin on \S*?:(\d+) \((.*)\)$/;
const LOOPBACK = '127.0.0.1';

export interface Cluster {
  readonly gateway: Child;
  readonly servers: readonly Child[];
  /** RMP. */
  readonly rmpPort: number;
  /** Text lines, for `nc`. */
  readonly linesPort: number;
  readonly adminPort: number;
  /** Which engine runs in the gateway, and why. */
  readonly engine: string;
  /** Gateway first, so that it can finish what the servers still answer. @returns whether all ended with status 0. */
  stop(): Promise<boolean>;
}

export async function startCluster(serverCount: number, engine: string): Promise<Cluster> {
  const folder = mkdtempSync(join(tmpdir(), 'ringway-inference-'));
  const servers = Array.from({ length: serverCount }, (_, n) => {
    const name = `inference-${n + 1}`;
    return new Child(name, SERVER, ['--name', name, '--engine', engine]);
  });
  const children: Child[] = [...servers];
  const stop = async (): Promise<boolean> => {
    const statuses: number[] = [];
    for (const child of children.splice(0).reverse()) statuses.push(await child.stop());
    rmSync(folder, { recursive: true, force: true });
    return statuses.every((status) => status === 0);
  };
  try {
    const ready = await Promise.all(servers.map((server) => server.ready(READY)));
    const config = join(folder, 'gateway.json');
    writeFileSync(
      config,
      JSON.stringify(
        gatewayConfig(
          engine,
          ready.map(([, port]) => Number(port)),
        ),
        undefined,
        2,
      ),
    );
    const gateway = new Child('gateway', join(ROOT, 'bin/ringway'), ['start', '--config', config]);
    children.push(gateway);
    const [, rmp, lines, admin, description] = await gateway.ready(GATEWAY_READY);
    const ports = { rmpPort: Number(rmp), linesPort: Number(lines), adminPort: Number(admin) };
    return { gateway, servers, ...ports, engine: description, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

function gatewayConfig(engine: string, serverPorts: readonly number[]): object {
  return {
    engine,
    admin: { host: LOOPBACK, port: 0 },
    listeners: [
      { name: 'rmp', host: LOOPBACK, port: 0, protocol: 'rmp' },
      { name: 'lines', host: LOOPBACK, port: 0, protocol: 'lines' },
    ],
    pools: {
      inference: { deadlineMs: 30_000, servers: serverPorts.map((port) => ({ address: `${LOOPBACK}:${port}` })) },
    },
    routes: [{ route: 0, pool: 'inference' }],
  };
}
