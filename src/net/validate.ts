/** Checks of arguments, with Node's codes. */
import { invalidType, nodeError, outOfRange } from './errors.js';

const LONGEST_TIMER_MS = 2 ** 31 - 1;

export function checkNumber(name: string, value: unknown): asserts value is number {
  if (typeof value !== 'number') throw invalidType(name, 'of type number', value);
}

export function checkString(name: string, value: unknown): asserts value is string {
  if (typeof value !== 'string') throw invalidType(name, 'of type string', value);
}

export function checkBoolean(name: string, value: unknown): asserts value is boolean {
  if (typeof value !== 'boolean') throw invalidType(name, 'of type boolean', value);
}

export function checkFunction(name: string, value: unknown): asserts value is (...args: unknown[]) => void {
  if (typeof value !== 'function') throw invalidType(name, 'of type function', value);
}

export function checkInt32(name: string, value: unknown, least: number): asserts value is number {
  checkNumber(name, value);
  if (!Number.isInteger(value)) throw outOfRange(name, 'an integer', value);
  if (value < least || value > 2 ** 31 - 1) {
    throw outOfRange(name, `>= ${least} && <= ${2 ** 31 - 1}`, value);
  }
}

/** A port, also as a string, as Node takes it. */
export function checkPort(name: string, port: unknown): number {
  const isPort =
    (typeof port === 'number' || (typeof port === 'string' && port.trim().length > 0)) &&
    +port === +port >>> 0 &&
    +port <= 65535;
  if (isPort) return Number(port) | 0;
  const shown = typeof port === 'string' ? `type string ('${port}')` : String(port);
  throw nodeError(
    RangeError,
    'ERR_SOCKET_BAD_PORT',
    `${name} should be >= 0 and < 65536. Received ${typeof port === 'number' ? `type number (${port})` : shown}.`,
  );
}

export function checkSignal(name: string, signal: unknown): asserts signal is AbortSignal {
  if (signal === undefined) return;
  if (signal === null || typeof signal !== 'object' || !('aborted' in signal)) {
    throw invalidType(name, 'an instance of AbortSignal', signal);
  }
}

/** The duration of a timer in ms; too long ones are cut to the longest, with Node's warning. */
export function timerDuration(name: string, ms: unknown): number {
  checkNumber(name, ms);
  if (ms < 0 || !Number.isFinite(ms)) throw outOfRange(name, 'a non-negative finite number', ms);
  if (ms <= LONGEST_TIMER_MS) return ms;
  process.emitWarning(
    `${ms} does not fit into a 32-bit signed integer.\nTimer duration was truncated to ${LONGEST_TIMER_MS}.`,
    'TimeoutOverflowWarning',
  );
  return LONGEST_TIMER_MS;
}
