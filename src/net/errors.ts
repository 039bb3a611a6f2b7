/** Errors with the names, codes and properties that Node gives them. */
import { getSystemErrorMap, inspect } from 'node:util';
import os from 'node:os';

type ErrorClass = new (message: string) => Error;

/** An error with a `code` of Node's own (`ERR_…`). */
export function nodeError(Base: ErrorClass, code: string, message: string): NodeJS.ErrnoException {
  const error: NodeJS.ErrnoException = new Base(message);
  // Node shows the code in the stack's first line and in toString(), and hides both from enumeration.
  const { name } = error;
  Object.defineProperty(error, 'name', { value: `${name} [${code}]`, configurable: true, writable: true });
  void error.stack;
  Object.defineProperty(error, 'name', { value: name, configurable: true, writable: true, enumerable: false });
  Object.defineProperty(error, 'toString', {
    value: () => `${name} [${code}]: ${error.message}`,
    configurable: true,
    writable: true,
  });
  error.code = code;
  return error;
}

/** A value in a message: strings as they are. */
export function shown(value: unknown): string {
  return typeof value === 'object' && value !== null ? inspect(value, { depth: 0 }) : String(value);
}

export function invalidType(name: string, right: string, value: unknown): Error {
  const what = name.includes('.') ? 'property' : 'argument';
  return nodeError(
    TypeError,
    'ERR_INVALID_ARG_TYPE',
    `The "${name}" ${what} must be ${right}. Received ${received(value)}`,
  );
}

export function invalidValue(name: string, value: unknown, why = 'is invalid'): Error {
  const what = name.includes('.') ? 'property' : 'argument';
  const text = inspect(value);
  return nodeError(
    TypeError,
    'ERR_INVALID_ARG_VALUE',
    `The ${what} '${name}' ${why}. Received ${text.length > 128 ? `${text.slice(0, 128)}...` : text}`,
  );
}

export function outOfRange(name: string, right: string, value: unknown): Error {
  return nodeError(
    RangeError,
    'ERR_OUT_OF_RANGE',
    `The value of "${name}" is out of range. It must be ${right}. Received ${inspect(value)}`,
  );
}

function received(value: unknown): string {
  if (value == null) return String(value);
  if (typeof value === 'function') return `function ${value.name}`;
  if (typeof value === 'object') {
    return value.constructor?.name ? `an instance of ${value.constructor.name}` : inspect(value, { depth: -1 });
  }
  const text = inspect(value, { colors: false });
  return `type ${typeof value} (${text.length > 28 ? `${text.slice(0, 25)}...` : text})`;
}

// --- the system's

/** Negative, as libuv has them. */
export function errnoOf(code: string): number {
  const errno = os.constants.errno[code as keyof typeof os.constants.errno];
  return errno === undefined ? -4094 : -errno;
}

/** A failed system call: `read ECONNRESET`. */
export function systemError(code: string, syscall: string): NodeJS.ErrnoException {
  const error: NodeJS.ErrnoException = new Error(`${syscall} ${code}`);
  error.errno = errnoOf(code);
  error.code = code;
  error.syscall = syscall;
  return error;
}

export interface AddressError extends NodeJS.ErrnoException {
  address?: string;
  port?: number;
  localAddress?: string;
  localPort?: number;
}

/** A failed connect or bind: `connect ECONNREFUSED 127.0.0.1:1 - Local (…)`. */
export function addressError(
  code: string,
  syscall: string,
  address: string,
  port: number | undefined,
  local?: string,
): AddressError {
  const where = port !== undefined && port > 0 ? ` ${address}:${port}` : address ? ` ${address}` : '';
  const error: AddressError = new Error(
    `${syscall} ${code}${where}${local === undefined ? '' : ` - Local (${local})`}`,
  );
  error.errno = errnoOf(code);
  error.code = code;
  error.syscall = syscall;
  error.address = address;
  if (port) error.port = port;
  return error;
}

/** A failed listen: `listen EADDRINUSE: address already in use :::8080`. */
export function listenError(
  code: string,
  syscall: string,
  address: string | null,
  port: number | undefined,
): AddressError {
  const errno = errnoOf(code);
  const sentence = getSystemErrorMap().get(errno)?.[1] ?? code;
  const where = port && port > 0 ? ` ${address}:${port}` : address ? ` ${address}` : '';
  const error: AddressError = new Error(`${syscall} ${code}: ${sentence}${where}`);
  error.code = code;
  error.errno = errno;
  error.syscall = syscall;
  if (address !== null) error.address = address;
  if (port) error.port = port;
  return error;
}

/** Every address of a host was tried in vain. */
export function connectAggregateError(errors: readonly Error[]): Error {
  const error: AggregateError & { code?: string } = new AggregateError(errors);
  error.code = (errors[0] as NodeJS.ErrnoException).code;
  return error;
}
