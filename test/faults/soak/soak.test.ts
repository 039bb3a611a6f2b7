// npm run soak: load at a constant rate and faults at random for as long as one likes, judged like each fault by itself.
import { appendFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { expect, test } from 'vitest';
import type { DriverName } from '../../../src/engine/engine.js';
import { Ledger, NO_SINS, sins } from '../support/ledger.js';
import { endScenes, Scene } from '../support/scene.js';
import { until } from '../support/until.js';
import { FAULTS, seeded } from './random-faults.js';

const minutes = Number(process.env.SOAK_MINUTES ?? 30);
const driver = (process.env.SOAK_ENGINE ?? 'io_uring') as DriverName;
const seed = Number(process.env.SOAK_SEED ?? Date.now() % 2 ** 31);
const ratePerSecond = Number(process.env.SOAK_RATE ?? 1_800);
const file = process.env.SOAK_FIGURES;

const SAMPLE_MS = 60_000;
/** Far from the ids of the others, whose executions are judged. */
const CASUALTIES_FROM = 2 ** 31;

function tell(line: object): void {
  const text = JSON.stringify(line);
  process.stdout.write(`${text}\n`);
  if (file !== undefined) appendFileSync(file, `${text}\n`);
}

endScenes();

test(`${minutes} minutes of faults on ${driver}`, { timeout: (minutes + 10) * 60_000 }, async () => {
  const random = seeded(seed);
  const casualties = new Ledger(CASUALTIES_FROM);
  const done: Record<string, number> = {};
  const scene = await Scene.open(driver, {
    proxied: true,
    ratePerSecond,
    // The machine itself may stand still for a while in half an hour, and that is not what is judged here.
    bystanderBudgetMs: 120_000,
    healthyPool: { health: { pingTimeoutMs: 120_000 } },
    pool: { deadlineMs: 5_000, health: { pingIntervalMs: 500, pingTimeoutMs: 3_000, ejectMs: 300, slowStartMs: 0 } },
    listener: { partialFrameTimeoutMs: 2_000, writeStallTimeoutMs: 2_000 },
  });
  tell({ soak: minutes, driver, seed, ratePerSecond });
  const endMs = performance.now() + minutes * 60_000;
  const soak = async (): Promise<void> => {
    let sampleMs = performance.now();
    while (performance.now() < endMs) {
      const name = Object.keys(FAULTS)[Math.floor(random() * Object.keys(FAULTS).length)];
      done[name] = (done[name] ?? 0) + 1;
      await FAULTS[name]({ scene, casualties, random });
      await delay(random() * 2_000);
      if (performance.now() < sampleMs) continue;
      sampleMs += SAMPLE_MS;
      const leftMinutes = Math.round((endMs - performance.now()) / 60_000);
      const { exposed, bystanders } = scene;
      const held = await scene.gateway.holdings();
      tell({ leftMinutes, ...held, exposed: exposed.verdict(), bystanders: bystanders.verdict().sent, done });
    }
    await scene.linked();
    await until('nobody else has an open request', () => casualties.open === 0);
  };
  const { exposed, bystanders } = await scene.under(`${minutes} minutes of soak`, soak, {
    extra: casualties,
    anyPace: true,
  });
  tell({ exposed, bystanders, casualties: casualties.verdict(), done });
  expect(sins(casualties.verdict())).toEqual(NO_SINS);
});
