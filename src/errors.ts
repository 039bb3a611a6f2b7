/**
 * Every error this package throws or hands to a callback: one table, in fastify's manner. The code is stable and what
 * programs test for; the message is for people and may change. `%s` takes the arguments in their order.
 *
 * A peer's fault never appears here: it ends a connection, with a `CloseReason`.
 */

import type { StatusName } from './engine/tables.gen.js';

/** Whose fault it was. */
export type ErrorSource = 'client' | 'backend' | 'gateway';

/** The code of a `RingwayError` that is no `StatusError`. */
export type ErrorCode =
  | 'ERR_INVALID_OPTION'
  | 'ERR_INVALID_FRAMING'
  | 'ERR_RINGWAY_CONFIG'
  | 'ERR_ENGINE_UNAVAILABLE'
  | 'ERR_ENGINE_CLOSED'
  | 'ERR_CANNOT_DETACH'
  | 'ERR_UNSUPPORTED'
  | 'ERR_FRAME_TOO_LONG'
  | 'ERR_INVALID_FRAME'
  | 'ERR_INVALID_BYTES'
  | 'ERR_OUT_OF_RANGE'
  | 'ERR_SERVER_LISTENING'
  | 'ERR_SERVER_CLOSED'
  | 'ERR_CONNECTION_FAILED';

interface ErrorRow {
  readonly message: string;
  readonly source?: ErrorSource;
  /** Doing the same again may succeed. Default false. */
  readonly retryable?: boolean;
  /** The RMP status that a request gets for it. */
  readonly status?: number;
}

export const ERRORS = {
  // Options: the path, the value, and what would be right.
  ERR_INVALID_OPTION: { message: '%s is %s: %s' },
  ERR_INVALID_FRAMING: { message: '%s is %s: %s' },

  // A configuration: a `ConfigError`, one line per problem.
  ERR_RINGWAY_CONFIG: { message: '%s' },

  // Engines.
  ERR_ENGINE_UNAVAILABLE: { message: 'the engine %s cannot run here: %s. %s' },
  ERR_ENGINE_CLOSED: { message: 'the engine is closed' },
  ERR_CANNOT_DETACH: { message: 'the connection cannot be detached: %s' },
  ERR_UNSUPPORTED: { message: '%s is not supported: %s' },

  // Frames to be sent.
  ERR_FRAME_TOO_LONG: { message: 'a frame of %s bytes cannot be sent: %s' },
  ERR_INVALID_FRAME: { message: 'the frame cannot be sent: %s' },

  // Arguments of a wrong kind: a `TypeError` and a `RangeError` (`argumentError`), as everywhere in Node.
  ERR_INVALID_BYTES: { message: '%s is %s: %s' },
  ERR_OUT_OF_RANGE: { message: '%s is out of range: %s' },

  // Frame server and connections.
  ERR_SERVER_LISTENING: { message: 'the server is already listening' },
  ERR_SERVER_CLOSED: { message: 'the server is closed' },
  ERR_CONNECTION_FAILED: { message: 'the connection to %s ended (%s): %s' },

  // Requests: a `StatusError`, whose code is the status's name. The sentence is the answerer's.
  ERR_STATUS: { message: '%s' },
} as const satisfies Record<ErrorCode | 'ERR_STATUS', ErrorRow>;

/** The code of a `StatusError`: the name of its status, `STATUS_<number>` where the table has none. */
export type StatusCode = StatusName | `STATUS_${number}`;

/**
 * Every error that this package throws or hands to a callback, except what the system says (`EADDRINUSE`, …) and the `TypeError` or
 * `RangeError` for an argument of a wrong kind.
 */
export class RingwayError extends Error {
  /** The class. */
  override readonly name: string = 'RingwayError';
  /** Stable: what programs test for. */
  readonly code: ErrorCode | StatusCode;
  /** Whose fault it was, where that is known. */
  readonly source: ErrorSource | undefined;
  /** Doing the same again is safe, and may succeed. */
  readonly retryable: boolean;
  /** The RMP status that a request gets for it, where there is one. */
  readonly status: number | undefined;

  /**
   * For this package's own use, and to be told apart in tests.
   *
   * @param code The row of the table.
   * @param parts What its message speaks of, in its order.
   * @param options `cause`: the error behind this one.
   */
  constructor(code: ErrorCode | 'ERR_STATUS', parts: readonly unknown[] = [], options: { cause?: unknown } = {}) {
    const row: ErrorRow = ERRORS[code];
    super(format(row.message, parts), options.cause === undefined ? undefined : { cause: options.cause });
    // A `StatusError` says its own.
    this.code = code as ErrorCode;
    this.source = row.source;
    this.retryable = row.retryable ?? false;
    this.status = row.status;
  }
}

/** An argument that nothing can be done with: of JavaScript's own classes, with its `code` of the table. */
export function argumentError(code: 'ERR_INVALID_BYTES' | 'ERR_OUT_OF_RANGE', parts: readonly unknown[]): Error {
  const Class = code === 'ERR_INVALID_BYTES' ? TypeError : RangeError;
  return Object.assign(new Class(format(ERRORS[code].message, parts)), { code });
}

/** A value as an error message shows it: short, and strings recognisable as such. */
export function shown(value: unknown): string {
  if (typeof value === 'string') return value.length > 60 ? `'${value.slice(0, 57)}…'` : `'${value}'`;
  if (typeof value === 'bigint') return `${value}n`;
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  if (typeof value === 'function') return 'a function';
  if (typeof value === 'object' && value !== null) return kindOf(value);
  return String(value);
}

/** Memory in another dress than a Uint8Array is named: it is easily taken for one. */
function kindOf(value: object): string {
  if (Array.isArray(value)) return 'an array';
  if (!ArrayBuffer.isView(value) && !(value instanceof ArrayBuffer)) return 'an object';
  const name = Object.prototype.toString.call(value).slice('[object '.length, -1);
  return /^[AI]/.test(name) ? `an ${name}` : `a ${name}`;
}

function format(template: string, parts: readonly unknown[]): string {
  let next = 0;
  return template.replace(/%s/g, () => String(parts[next++]));
}
