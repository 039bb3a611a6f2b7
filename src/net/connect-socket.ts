/** From `socket.connect(options)` to an open connection: the host's addresses, then one attempt after another. */
import { type LookupAddress, lookup as dnsLookup } from 'node:dns';
import { isIP } from 'node:net';
import type { CloseInfo } from '../engine/engine.js';
import type { Options } from './arguments.js';
import { isBlocked } from './block-list.js';
import { type ConnectTarget, checkLookup, checkTarget, type Lookup, type LookupRequest } from './connect-arguments.js';
import { clientInbox, netEngine, SOCKET_OPTIONS } from './engine.js';
import { type AddressError, addressError, connectAggregateError, nodeError } from './errors.js';
import { kBlockList, kKeepAliveDelayS, kNoDelay, kTransport } from './fields.js';
import type { SocketMethods } from './socket.js';
import type { Attempt, Transport } from './transport.js';
import { checkString } from './validate.js';

/** One address to be tried. */
interface Destination {
  readonly address: string;
  readonly family: number;
}

export function connectSocket(socket: SocketMethods, options: Options): void {
  if (options.path) {
    checkString('options.path', options.path);
    connectPath(socket, options.path);
    return;
  }
  const target = checkTarget(options);
  const family = isIP(target.host);
  if (family !== 0) {
    process.nextTick(() => {
      if (socket.connecting) connectAddress(socket, { address: target.host, family }, target);
    });
    return;
  }
  const request = checkLookup(options);
  socket._host = target.host;
  const isForced = request.family === 4 || request.family === 6;
  if (!isForced && target.localAddress === undefined && target.autoSelectFamily) {
    lookUpAll(socket, options, target, request);
  } else {
    lookUpOne(socket, options, target, request);
  }
}

// --- names

function lookUpOne(socket: SocketMethods, options: Options, target: ConnectTarget, request: LookupRequest): void {
  const lookup = request.lookup ?? (dnsLookup as unknown as Lookup);
  const transport = socket[kTransport];
  const { family: asked, hints } = request;
  lookup(target.host, { family: asked, hints }, (error, address, family) => {
    inScopeOf(transport, () => {
      socket.emit('lookup', error, address, family, target.host);
      if (!socket.connecting) return;
      const refused = error ?? whyInvalid(address, family, options);
      if (refused) {
        process.nextTick(() => socket.destroy(refused));
        return;
      }
      socket._unrefTimer();
      connectAddress(socket, { address: address as string, family: family as number }, target);
    });
  });
}

function lookUpAll(socket: SocketMethods, options: Options, target: ConnectTarget, request: LookupRequest): void {
  const lookup = request.lookup ?? (dnsLookup as unknown as Lookup);
  const transport = socket[kTransport];
  const { family, hints } = request;
  lookup(target.host, { family, hints, all: true }, (error, addresses) => {
    inScopeOf(transport, () => {
      if (!socket.connecting) return;
      if (error) {
        socket.emit('lookup', error, undefined, undefined, target.host);
        process.nextTick(() => socket.destroy(error));
        return;
      }
      connectAll(socket, options, target, addresses as LookupAddress[]);
    });
  });
}

function connectAll(socket: SocketMethods, options: Options, target: ConnectTarget, found: LookupAddress[]): void {
  for (const { address, family } of found) {
    socket.emit('lookup', null, address, family, target.host);
    if (!socket.connecting) return;
  }
  const destinations = interleave(found);
  if (destinations.length === 0) {
    const [{ address, family }] = found;
    const refused = whyInvalid(address, family, options);
    if (refused) process.nextTick(() => socket.destroy(refused));
    return;
  }
  socket._unrefTimer();
  if (destinations.length === 1) {
    connectAddress(socket, destinations[0], target);
    return;
  }
  socket.autoSelectFamilyAttemptedAddresses = [];
  new Attempts(socket, destinations, target).next();
}

/** Each address once, the families by turns, beginning with the first one's. */
function interleave(found: readonly LookupAddress[]): Destination[] {
  const isValid = ({ address, family }: LookupAddress) => isIP(address) !== 0 && (family === 4 || family === 6);
  const valid = found.filter(isValid);
  const unique = valid.filter((one, at) => {
    return valid.findIndex((other) => other.address === one.address && other.family === one.family) === at;
  });
  const firsts = unique.filter(({ family }) => family === unique[0].family);
  const others = unique.filter(({ family }) => family !== unique[0].family);
  const both: Destination[] = [];
  for (let i = 0; i < Math.max(firsts.length, others.length); i++) {
    if (i < firsts.length) both.push(firsts[i]);
    if (i < others.length) both.push(others[i]);
  }
  return both;
}

function whyInvalid(address: unknown, family: unknown, options: Options): Error | undefined {
  if (!isIP(address as string)) {
    return nodeError(TypeError, 'ERR_INVALID_IP_ADDRESS', `Invalid IP address: ${address}`);
  }
  if (family === 4 || family === 6) return undefined;
  const error: NodeJS.ErrnoException & { host?: unknown; port?: unknown } = nodeError(
    RangeError,
    'ERR_INVALID_ADDRESS_FAMILY',
    `Invalid address family: ${family} ${options.host}:${options.port}`,
  );
  error.host = options.host;
  error.port = options.port;
  return error;
}

// --- attempts

/** Several addresses, the next when one failed or took too long (RFC 8305 without the overlap, as Node does it). */
class Attempts {
  readonly #socket: SocketMethods;
  readonly #destinations: readonly Destination[];
  readonly #target: ConnectTarget;
  readonly #errors: Error[] = [];
  #current = 0;

  constructor(socket: SocketMethods, destinations: readonly Destination[], target: ConnectTarget) {
    this.#socket = socket;
    this.#destinations = destinations;
    this.#target = target;
  }

  next(): void {
    const socket = this.#socket;
    const transport = socket[kTransport];
    if (this.#current === this.#destinations.length || transport === null) {
      socket.destroy(connectAggregateError(this.#errors));
      return;
    }
    const destination = this.#destinations[this.#current++];
    const { address, family } = destination;
    const { port, attemptTimeoutMs } = this.#target;
    if (isBlocked(socket[kBlockList], address, family)) {
      this.#blocked(destination);
      return;
    }
    socket.emit('connectionAttempt', address, port, family);
    if (!socket.connecting) return;
    socket.autoSelectFamilyAttemptedAddresses?.push(`${address}:${port}`);
    const isLast = this.#current === this.#destinations.length;
    const timer = isLast ? undefined : setTimeout(() => this.#timedOut(destination), attemptTimeoutMs);
    begin(
      transport,
      destination,
      { ...this.#target, localAddress: undefined },
      {
        opened: () => {
          clearTimeout(timer);
          connected(socket, transport);
        },
        failed: (info) => {
          clearTimeout(timer);
          this.#failed(destination, info);
        },
        cancelled: () => {
          clearTimeout(timer);
          const error = connectFailure('ECANCELED', address, this.#target);
          socket.emit('connectionAttemptFailed', address, port, family, error);
        },
      },
    );
  }

  #failed({ address, family }: Destination, info: CloseInfo): void {
    const error = connectError(info, address, this.#target);
    this.#errors.push(error);
    if (info.syscall !== 'bind') {
      this.#socket.emit('connectionAttemptFailed', address, this.#target.port, family, error);
    }
    this.#socket[kTransport]?.abandon();
    if (this.#socket.connecting) this.next();
  }

  #timedOut(destination: Destination): void {
    const { address, family } = destination;
    const { port } = this.#target;
    const transport = this.#socket[kTransport];
    if (!this.#socket.connecting || transport === null) return;
    inScopeOf(transport, () => {
      this.#socket.emit('connectionAttemptTimeout', address, port, family);
      this.#errors.push(connectFailure('ETIMEDOUT', address, this.#target));
      if (!this.#socket.connecting) return;
      transport.abandon();
      this.next();
    });
  }

  #blocked({ address, family }: Destination): void {
    const error = blockedError(address);
    this.#errors.push(error);
    this.#socket.emit('connectionAttemptFailed', address, this.#target.port, family, error);
    if (this.#socket.connecting) this.next();
  }
}

function connectAddress(socket: SocketMethods, destination: Destination, target: ConnectTarget): void {
  const transport = socket[kTransport];
  const { address, family } = destination;
  if (transport === null) return;
  if (isBlocked(socket[kBlockList], address, family)) {
    socket.destroy(blockedError(address));
    return;
  }
  // Node binds before it tells of the attempt; here the engine does both, and tells of a bind that failed afterwards.
  const binds = target.localAddress !== undefined || target.localPort !== undefined;
  const tellAttempt = () => socket.emit('connectionAttempt', address, target.port, family);
  if (!binds) tellAttempt();
  if (!socket.connecting) return;
  begin(transport, destination, target, {
    opened: () => {
      if (binds) tellAttempt();
      connected(socket, transport);
    },
    failed: (info) => {
      const error = connectError(info, address, target);
      if (binds && info.syscall !== 'bind') tellAttempt();
      if (info.syscall !== 'bind' && !isAtOnce(info)) {
        socket.emit('connectionAttemptFailed', address, target.port, family, error);
      }
      socket.destroy(error);
    },
  });
}

function connectPath(socket: SocketMethods, path: string): void {
  const transport = socket[kTransport];
  if (transport === null) return;
  socket.emit('connectionAttempt', path, undefined, undefined);
  if (!socket.connecting) return;
  const attempt: Attempt = {
    opened: () => connected(socket, transport),
    failed: (info) => {
      const error = addressError(info.errorCode ?? 'ECONNABORTED', 'connect', path, undefined);
      socket.emit('connectionAttemptFailed', path, undefined, undefined, error);
      socket.destroy(error);
    },
  };
  transport.connect(netEngine(), clientInbox(), { ...SOCKET_OPTIONS, path, connectTimeoutMs: 0 }, attempt);
}

function begin(transport: Transport, { address }: Destination, target: ConnectTarget, attempt: Attempt): void {
  const { port, localAddress, localPort } = target;
  const local = {
    ...(localAddress === undefined ? {} : { localAddress }),
    ...(localPort === undefined ? {} : { localPort }),
  };
  const options = { ...SOCKET_OPTIONS, host: address, port, connectTimeoutMs: 0, ...local };
  transport.connect(netEngine(), clientInbox(), options, attempt);
}

function connected(socket: SocketMethods, transport: Transport): void {
  if (socket.destroyed) return;
  socket.connecting = false;
  socket._sockname = null;
  socket._unrefTimer();
  if (!transport.isPipe) {
    if (socket[kNoDelay]) transport.connection?.setNoDelay(true);
    const delayS = socket[kKeepAliveDelayS];
    if (delayS !== undefined) transport.connection?.setKeepAlive(true, delayS * 1000);
  }
  socket.emit('connect');
  socket.emit('ready');
  if (!socket.isPaused()) socket.read(0);
  if (socket[kTransport] === transport && !transport.reading) transport.stopReading();
}

// --- errors

/** What connect(2) answers without trying. Node then names the socket's own address, and tells of no failed attempt. */
const AT_ONCE: readonly string[] = ['ENETUNREACH', 'EINVAL', 'EACCES', 'EADDRNOTAVAIL', 'EALREADY', 'EISCONN'];

function isAtOnce({ errorCode }: CloseInfo): boolean {
  return errorCode !== undefined && AT_ONCE.includes(errorCode);
}

function connectError(info: CloseInfo, address: string, target: ConnectTarget): AddressError {
  const code = info.errorCode ?? 'ECONNABORTED';
  if (info.syscall !== 'bind') return connectFailure(code, address, target);
  const { localAddress, localPort } = target;
  // libuv sees of itself that an address is not of the destination's family.
  return addressError(
    code === 'EAFNOSUPPORT' ? 'EINVAL' : code,
    'bind',
    localAddress ?? (isIP(address) === 6 ? '::' : '0.0.0.0'),
    localPort,
  );
}

function connectFailure(code: string, address: string, { port, localAddress, localPort }: ConnectTarget): AddressError {
  const hasLocal = localAddress !== undefined && localPort !== undefined;
  const any = isIP(address) === 6 ? '::' : '0.0.0.0';
  const unbound = AT_ONCE.includes(code) ? `${localAddress ?? any}:${localPort ?? 0}` : undefined;
  const local = hasLocal ? `${localAddress}:${localPort}` : unbound;
  const error = addressError(code, 'connect', address, port, local);
  if (hasLocal) Object.assign(error, { localAddress, localPort });
  return error;
}

function blockedError(address: string): Error {
  return nodeError(Error, 'ERR_IP_BLOCKED', `IP(${address}) is blocked by net.BlockList`);
}

function inScopeOf(transport: Transport | null, callback: () => void): void {
  if (transport === null) callback();
  else transport.runInAsyncScope(callback);
}
