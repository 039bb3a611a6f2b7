/** Relay to two backends: the gateway on each engine, for both client protocols, beside a TCP relay. */
import type { Bench, Series, Subject } from './bench.js';
import type { LoadProtocol } from './load.js';
import type { Engine, RelayPeer } from './options.js';
import { runRounds } from './rounds.js';
import { RELAY_ROWS } from './rows.js';
import type { Server } from './servers.js';

export const PROTOCOLS: readonly LoadProtocol[] = ['plain', 'rmp'];
export const gatewayName = (engine: string, protocol: LoadProtocol): string => `gateway ${engine}, ${protocol}`;

export async function measureRelay(bench: Bench): Promise<Series[]> {
  const started: Server[] = [];
  const subjects = [...(await startPeers(bench, started)), ...(await startGateways(bench, started))];
  const shapes = RELAY_ROWS.map(({ shape }) => shape);
  const series = await runRounds(bench, 'relay', shapes, subjects);
  await Promise.all(subjects.map(({ server }) => server.process.stop()));
  await Promise.all(started.map((server) => server.process.stop()));
  return series;
}

async function startPeers(bench: Bench, started: Server[]): Promise<Subject[]> {
  const backends = await startBackends(bench, 'plain', started);
  if (backends === undefined) return [];
  const subjects: Subject[] = [];
  for (const peer of bench.options.peers) {
    const server = await bench.attempt(peer, () => bench.servers.relayPeer(peer satisfies RelayPeer, backends));
    if (server !== undefined) subjects.push(relaySubject(peer, server, backends, 'plain'));
  }
  return subjects;
}

/** One gateway per engine and client protocol, all before the same two RMP backends. */
async function startGateways(bench: Bench, started: Server[]): Promise<Subject[]> {
  if (bench.options.engines.length === 0) return [];
  const backends = await startBackends(bench, 'rmp', started);
  if (backends === undefined) return [];
  const subjects: Subject[] = [];
  for (const engine of bench.options.engines) {
    for (const protocol of PROTOCOLS) {
      const subject = await startGateway(bench, engine, protocol, backends);
      if (subject !== undefined) subjects.push(subject);
    }
  }
  return subjects;
}

async function startGateway(
  bench: Bench,
  engine: Engine,
  protocol: LoadProtocol,
  backends: readonly Server[],
): Promise<Subject | undefined> {
  const name = gatewayName(engine, protocol);
  const server = await bench.attempt(name, () => bench.servers.ringwayGateway(engine, protocol, backends));
  return server === undefined ? undefined : relaySubject(name, server, backends, protocol);
}

async function startBackends(bench: Bench, protocol: LoadProtocol, started: Server[]): Promise<Server[] | undefined> {
  const kind = bench.options.backends;
  const backends: Server[] = [];
  for (const number of [1, 2]) {
    const backend = await bench.attempt(`backend ${number} (${protocol})`, () => bench.servers.backend(kind, protocol));
    if (backend === undefined) return undefined;
    backends.push(backend);
    started.push(backend);
  }
  return backends;
}

function relaySubject(name: string, server: Server, backends: readonly Server[], protocol: LoadProtocol): Subject {
  const { host, port, process } = server;
  const pids = [process.pid, ...backends.map((backend) => backend.process.pid)];
  return { name, server, target: { host, port, pids, protocol } };
}
