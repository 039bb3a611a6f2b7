/** For what has no event in this process: a counter of another one, a ledger that settles. */
import { setTimeout as delay } from 'node:timers/promises';

const LOOK_AGAIN_MS = 20;

/** @param figures said where it does not come in time */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  withinMs = 15_000,
  figures: () => string = () => '',
): Promise<void> {
  const endMs = performance.now() + withinMs;
  while (!(await condition())) {
    if (performance.now() > endMs) throw new Error(`not within ${withinMs} ms: ${what}; ${figures()}`);
    await delay(LOOK_AGAIN_MS);
  }
}
