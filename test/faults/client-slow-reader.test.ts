// Clients by the hundred that ask for much and take nothing, or next to nothing: they cost a bounded amount, and only themselves.
import { expect, test } from 'vitest';
import { describeEngines } from '../support/engines.js';
import { byForm, isLong } from './support/form.js';
import type { LedgerClient } from './support/ledger-client.js';
import { endScenes, Scene } from './support/scene.js';
import { until } from './support/until.js';

/** In the long form more than maxEngineBytes has room for: who holds most is closed as memory-full. */
const DEAF = byForm(20, 200);
const SIPPERS = byForm(20, 30);
/** A unix socket's buffers do not grow: a fifth of a megabyte fills them, so that hundreds fit into maxEngineBytes. */
const HUNDREDS = byForm(250, 500);
const SHORT_ASK = 8;
/** Of each: more than the 3 to 4 MB that the kernel holds between the two ends, so that the gateway has to hold back. */
const REQUESTS = 100;
const REQUEST_BYTES = 65_536;

const CLOSED = ['write-stalled', 'memory-full'].map((reason) => `ringway_connections_closed_total{reason="${reason}"}`);

/** Says which connection was closed, and what it was thought to have declared. */
const LOG = { log: { level: 'warn' } };

/** Nobody sent a bad frame: it would be input that went out of step, or a stranger on the port. */
async function expectInStep({ gateway }: Scene): Promise<void> {
  const metrics = await gateway.metrics();
  for (const name of ['ringway_engine_frames_too_long_total', 'ringway_engine_bad_frames_total']) {
    expect(metrics.get(name), `${name}\n${gateway.said(/frame-too-long|bad-frame/).join('\n')}`).toBe(0);
  }
}

function ask(clients: readonly LedgerClient[], requests = REQUESTS): void {
  for (const client of clients) for (let i = 0; i < requests; i++) client.request(REQUEST_BYTES);
}

/** Each takes what one read brings, and the next at the next sip. Ends when all answers were taken. */
async function sip(clients: readonly LedgerClient[], withinMs: number): Promise<void> {
  for (const { socket } of clients) socket.on('data', () => socket.pause());
  const timer = setInterval(() => {
    for (const { socket } of clients) socket.resume();
  }, 100);
  const open = (): number => clients.reduce((sum, client) => sum + client.open, 0);
  await until(
    'all answers were taken',
    () => open() === 0,
    withinMs,
    () => `${open()} are open`,
  );
  clearInterval(timer);
}

describeEngines('slow readers', (driver) => {
  endScenes();

  test('that never read are closed', async () => {
    const scene = await Scene.open(driver, { delayMs: 0, listener: { writeStallTimeoutMs: 1_000 }, config: LOG });
    await scene.under(
      `${DEAF} clients that never read`,
      async () => {
        const clients = await scene.clients(DEAF, { budgetMs: 60_000 });
        for (const { socket } of clients) socket.pause();
        ask(clients);
        let closed: number[] = [];
        const all = async () => {
          const metrics = await scene.gateway.metrics();
          closed = CLOSED.map((name) => metrics.get(name) ?? 0);
          // So many that most of what they ask for is refused: then the kernel holds the answers, and nobody has to be closed.
          const settled = isLong && (metrics.get('ringway_tasks_open') ?? 0) < DEAF;
          return closed[0] + closed[1] === DEAF || settled;
        };
        await until('all of them are closed', all, byForm(60_000, 300_000), () => `${closed} of ${DEAF}`);
        if (!isLong) expect(closed).toEqual([DEAF, 0]);
        for (const client of clients) client.destroy();
      },
      { mayCut: true },
    );
    expect(await scene.gateway.metric('ringway_engine_send_buffer_full_total')).toBe(0);
    await expectInStep(scene);
  });

  test('that read a little now and then are served at their pace', async () => {
    const scene = await Scene.open(driver, { delayMs: 0, listener: { writeStallTimeoutMs: 10_000 }, config: LOG });
    const { exposed } = await scene.under(`${SIPPERS} clients that read slowly`, async () => {
      const clients = await scene.clients(SIPPERS, { budgetMs: 60_000 });
      ask(clients);
      await sip(clients, byForm(30_000, 120_000));
      for (const client of clients) client.destroy();
    });
    expect(exposed.cut).toBe(0);
  });

  test('by the hundred: answers wait with the gateway, within its bound, and each is taken in the end', async () => {
    const scene = await Scene.open(driver, { delayMs: 0, unix: true, listener: { writeStallTimeoutMs: 30_000 } });
    const { exposed } = await scene.under(`${HUNDREDS} clients that read slowly`, async () => {
      const clients = await scene.clients(HUNDREDS, { budgetMs: 60_000, path: scene.unixPath });
      for (const { socket } of clients) socket.pause();
      ask(clients, SHORT_ASK);
      await scene.load(1, 5);
      await sip(clients, byForm(30_000, 120_000));
      for (const client of clients) client.destroy();
    });
    expect(exposed.cut).toBe(0);
    const metrics = await scene.gateway.metrics();
    for (const name of CLOSED) expect(metrics.get(name) ?? 0, name).toBe(0);
    await expectInStep(scene);
  });
});
