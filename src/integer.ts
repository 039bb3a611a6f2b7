/** Whole numbers among options. */

/** Of a count, a time in ms or an id, unless something smaller bounds it. */
const MOST = 0xffff_ffff;

/** @throws TypeError for what is no number, RangeError for one that is not whole or out of range; both name what would be right. */
export function checkInteger(name: string, value: unknown, least: number, most: number = MOST): void {
  if (typeof value !== 'number') throw new TypeError(`${name} is ${value}: a number is needed`);
  if (!Number.isInteger(value) || value < least || value > most) {
    throw new RangeError(`${name} is ${value}: a whole number from ${least} to ${most} is needed`);
  }
}
