/** Echo: Ringway's frame server with a TypeScript handler on each engine, beside node:net. */
import type { Bench, Series, Subject } from './bench.js';
import { runRounds } from './rounds.js';
import { ECHO_ROWS } from './rows.js';
import type { Server } from './servers.js';

export const NODE_NET = 'node:net';
export const NODE_NET_IN_PLACE = 'node:net, no handler';
export const onEngine = (engine: string): string => `ringway ${engine}`;

export async function measureEcho(bench: Bench): Promise<Series[]> {
  const starts: [string, () => Promise<Server>][] = [
    [NODE_NET, () => bench.servers.nodeNetEcho()],
    [NODE_NET_IN_PLACE, () => bench.servers.nodeNetEcho(true)],
    ...bench.options.engines.map((engine): [string, () => Promise<Server>] => [
      onEngine(engine),
      () => bench.servers.ringwayEcho(engine),
    ]),
  ];
  const subjects: Subject[] = [];
  for (const [name, start] of starts) {
    const server = await bench.attempt(name, start);
    if (server !== undefined) subjects.push(echoSubject(name, server));
  }
  const shapes = ECHO_ROWS.map(({ shape }) => shape);
  const series = await runRounds(bench, 'echo', shapes, subjects);
  await Promise.all(subjects.map(({ server }) => server.process.stop()));
  return series;
}

export function echoSubject(name: string, server: Server): Subject {
  const { host, port, process } = server;
  return { name, server, target: { host, port, pids: [process.pid], protocol: 'plain' } };
}
