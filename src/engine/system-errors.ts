/** What the system answered to the native engine, in the words that node:net has for it. */
import { getSystemErrorMap, getSystemErrorName } from 'node:util';
import type { SystemError } from './close-info.js';
import { SYSTEM_CALLS } from './native.js';
import type { ResolvedListenOptions } from './resolve-options.js';

/** As node:net's, message and all. */
export function listenError(errno: number, options: ResolvedListenOptions): Error {
  const code = getSystemErrorName(errno);
  const what = getSystemErrorMap().get(errno)?.[1] ?? 'unknown error';
  const { address } = options;
  const named =
    'fd' in address
      ? {}
      : 'path' in address
        ? { address: address.path }
        : { address: address.host, port: address.port };
  const where = named.port ? ` ${named.address}:${named.port}` : named.address === undefined ? '' : ` ${named.address}`;
  const error = new Error(`listen ${code}: ${what}${where}`);
  return Object.assign(error, { code, errno, syscall: 'listen', ...named });
}

export function adoptError(errno: number, fd: number): Error {
  const code = getSystemErrorName(errno);
  const what = getSystemErrorMap().get(errno)?.[1] ?? 'unknown error';
  return Object.assign(new Error(`adopt ${code}: ${what} (fd ${fd})`), { code, errno, syscall: 'adopt' });
}

/** `call`: the number of one of SYSTEM_CALLS. */
export function systemError(errno: number, call: number): SystemError {
  const syscall = SYSTEM_CALLS[call];
  return { errorCode: getSystemErrorName(errno), errno, ...(syscall && { syscall }) };
}
