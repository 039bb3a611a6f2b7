/** What `socket.connect` was asked for, checked as Node checks it. */
import { ADDRCONFIG, type LookupAddress } from 'node:dns';
import { getDefaultAutoSelectFamily, getDefaultAutoSelectFamilyAttemptTimeout, isIP } from 'node:net';
import type { Options } from './arguments.js';
import { invalidType, nodeError, shown } from './errors.js';
import { checkBoolean, checkFunction, checkInt32, checkNumber, checkPort, checkString } from './validate.js';

/** Node waits at least so long before it tries the next address. */
const SHORTEST_ATTEMPT_MS = 10;

/** Node 20 hands what is no string on to the resolver. */
const CHECKS_HOST = Number.parseInt(process.versions.node, 10) >= 22;

export type Lookup = (
  host: string,
  options: { family: number | undefined; hints: number; all?: boolean },
  callback: (error: Error | null, address: string | LookupAddress[], family?: number) => void,
) => void;

export interface ConnectTarget {
  readonly host: string;
  readonly port: number;
  readonly localAddress: string | undefined;
  readonly localPort: number | undefined;
  /** Addresses are tried one after another, of both families by turns. */
  readonly autoSelectFamily: boolean;
  readonly attemptTimeoutMs: number;
}

export interface LookupRequest {
  readonly lookup: Lookup | undefined;
  readonly family: number | undefined;
  readonly hints: number;
}

export function checkTarget(options: Options): ConnectTarget {
  const { localAddress, localPort, port } = options;
  const host = options.host || 'localhost';
  if (CHECKS_HOST) checkString('options.host', host);
  if (localAddress && !isIP(localAddress as string)) {
    throw nodeError(TypeError, 'ERR_INVALID_IP_ADDRESS', `Invalid IP address: ${shown(localAddress)}`);
  }
  if (localPort) checkNumber('options.localPort', localPort);
  if (port !== undefined) {
    if (typeof port !== 'number' && typeof port !== 'string') {
      throw invalidType('options.port', 'one of type number or string', port);
    }
    checkPort('Port', port);
  }
  let autoSelectFamily = options.autoSelectFamily;
  if (autoSelectFamily != null) checkBoolean('options.autoSelectFamily', autoSelectFamily);
  else autoSelectFamily = getDefaultAutoSelectFamily();
  let attemptTimeoutMs = options.autoSelectFamilyAttemptTimeout;
  if (attemptTimeoutMs != null) checkInt32('options.autoSelectFamilyAttemptTimeout', attemptTimeoutMs, 1);
  else attemptTimeoutMs = getDefaultAutoSelectFamilyAttemptTimeout();
  return {
    host: host as string,
    port: Number(port) | 0,
    localAddress: (localAddress as string) || undefined,
    localPort: (localPort as number) || undefined,
    autoSelectFamily: autoSelectFamily as boolean,
    attemptTimeoutMs: Math.max(SHORTEST_ATTEMPT_MS, attemptTimeoutMs as number),
  };
}

export function checkLookup(options: Options): LookupRequest {
  if (options.lookup != null) checkFunction('options.lookup', options.lookup);
  const family = familyOf(options.family);
  const hints = (options.hints as number) || 0;
  const isOpen = family !== 4 && family !== 6 && hints === 0 && process.platform !== 'win32';
  return { lookup: (options.lookup as Lookup) || undefined, family, hints: isOpen ? ADDRCONFIG : hints };
}

function familyOf(family: unknown): number | undefined {
  if (family === 'IPv4') return 4;
  if (family === 'IPv6') return 6;
  return family as number | undefined;
}
