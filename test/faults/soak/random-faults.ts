/** Every fault of the suite, one after the other at random; each lifts itself before it resolves. */
import { setTimeout as delay } from 'node:timers/promises';
import { type LinkFault, NO_FAULT } from '../support/fault-proxy.js';
import type { Ledger } from '../support/ledger.js';
import { RawClients } from '../support/raw-clients.js';
import type { Scene } from '../support/scene.js';
import { until } from '../support/until.js';

/** In [0, 1). */
export type Random = () => number;

/** What clients write into who do wrong themselves, and lose their connections for it. */
export type Casualties = Ledger;

interface Ground {
  readonly scene: Scene;
  readonly casualties: Casualties;
  readonly random: Random;
}

type Fault = (ground: Ground) => Promise<void>;

const between = (random: Random, min: number, max: number): number => min + random() * (max - min);
const oneOf = <Item>(random: Random, items: readonly Item[]): Item => items[Math.floor(random() * items.length)];
const pause = (random: Random, minMs: number, maxMs: number): Promise<void> => delay(between(random, minMs, maxMs));

const linkFault =
  (fault: LinkFault, minMs: number, maxMs: number): Fault =>
  async ({ scene, random }) => {
    const proxy = oneOf(random, scene.proxies);
    proxy.set(fault);
    await pause(random, minMs, maxMs);
    proxy.set(NO_FAULT);
  };

export const FAULTS: Readonly<Record<string, Fault>> = {
  'kill -9 of a backend': async ({ scene, random }) => {
    const backend = oneOf(random, scene.backends);
    await backend.kill();
    await pause(random, 0, 1_000);
    await backend.startAgain();
  },
  'SIGTERM of a backend': async ({ scene, random }) => {
    const backend = oneOf(random, scene.backends);
    await backend.drain();
    await backend.startAgain();
  },
  'SIGSTOP of a backend': async ({ scene, random }) => {
    const backend = oneOf(random, scene.backends);
    backend.stop();
    await pause(random, 100, 3_000);
    backend.goOn();
  },
  'SIGSTOP of all backends': async ({ scene, random }) => {
    for (const backend of scene.backends) backend.stop();
    await pause(random, 100, 1_500);
    for (const backend of scene.backends) backend.goOn();
  },
  'links cut': async ({ scene, random }) => oneOf(random, scene.proxies).cut(),
  'links cut in a frame': async ({ scene, random }) =>
    oneOf(random, scene.proxies).cut(Math.ceil(between(random, 1, 200))),
  'links reset': async ({ scene, random }) => oneOf(random, scene.proxies).reset(),
  'links refused': async ({ scene, random }) => {
    const proxy = oneOf(random, scene.proxies);
    proxy.refuse(true);
    await pause(random, 100, 2_000);
    proxy.refuse(false);
  },
  'links delayed': linkFault({ kind: 'delay', ms: 80 }, 500, 3_000),
  'links throttled': linkFault({ kind: 'throttle', bytesPerSecond: 16_384 }, 500, 3_000),
  'links black-holed': linkFault({ kind: 'black-hole' }, 300, 4_000),
  'clients that reset': async ({ scene, casualties }) => {
    const clients = await scene.clients(50, { ledger: casualties });
    for (const client of clients) for (let i = 0; i < 10; i++) client.request();
    for (const client of clients) client.reset();
    await gone(clients);
  },
  'clients that leave in the middle': async ({ scene, casualties }) => {
    const clients = await scene.clients(50, { ledger: casualties });
    for (const client of clients) for (let i = 0; i < 10; i++) client.request();
    for (const client of clients) client.leave();
    await gone(clients);
  },
  'clients that do not read': async ({ scene, casualties, random }) => {
    const clients = await scene.clients(20, { ledger: casualties });
    for (const { socket } of clients) socket.pause();
    for (const client of clients) for (let i = 0; i < 30; i++) client.request(65_536);
    await pause(random, 500, 3_000);
    for (const client of clients) client.destroy();
    await gone(clients);
  },
  slowloris: async ({ scene }) => {
    const slow = new RawClients(scene.gateway.port());
    await slow.connect(200);
    slow.write(Uint8Array.of(0, 0));
    await delay(1_000);
    slow.write(Uint8Array.of(1));
    await delay(1_000);
    slow.destroy();
  },
  'connections that come and go': async ({ scene }) => {
    const comers = new RawClients(scene.gateway.port());
    await comers.connect(500);
    comers.destroy();
  },
  garbage: async ({ scene, random }) => {
    const strangers = new RawClients(scene.gateway.port(random() < 0.5 ? 0 : 1));
    await strangers.connect(20);
    strangers.write(Buffer.from(Array.from({ length: 64 }, () => Math.floor(random() * 256))));
    await delay(200);
    strangers.destroy();
  },
  'a frame of 16 MiB': async ({ scene, casualties }) => {
    const client = await scene.client({ ledger: casualties, budgetMs: 10_000 });
    client.request(16 << 20);
    await until('it has its outcome', () => client.open === 0, 15_000);
    client.destroy();
    await gone([client]);
  },
};

async function gone(clients: readonly { readonly ended: boolean }[]): Promise<void> {
  await until('the clients are gone', () => clients.every(({ ended }) => ended));
}

/** mulberry32: small, seeded, and good enough to choose faults. */
export function seeded(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
