/** The short form of each fault runs in every check of a change, the long one (`npm run test:faults -- --long`) by hand. */
import { setTimeout as delay } from 'node:timers/promises';

export const isLong = process.env.FAULTS_LONG === '1';

export function byForm<Value>(short: Value, long: Value): Value {
  return isLong ? long : short;
}

/** Load goes on while the fault lasts. */
export function lasts(seconds: number): Promise<void> {
  return delay(seconds * 1000);
}
