/** A listening socket of the portable engine: accepts within its limits and counts per address. */
import { existsSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { constants } from 'node:os';
import { dirname } from 'node:path';
import { getSystemErrorMap } from 'node:util';
import { RingwayError } from '../errors.js';
import type { Handler, Listener } from './engine.js';
import type { PortableConnection } from './portable-connection.js';
import type { ResolvedListenOptions } from './resolve-options.js';
import type { CounterName } from './tables.gen.js';

/** The first Node whose `net` knows the option. */
const REUSE_PORT_SINCE = [22, 12] as const;

export interface ListenerHost {
  readonly counts: Record<CounterName, number>;
  accepted(socket: Socket, listener: PortableListener): void;
  listenerClosed(listener: PortableListener): void;
}

export class PortableListener implements Listener {
  readonly options: ResolvedListenOptions;
  readonly handler: Handler;
  readonly #host: ListenerHost;
  readonly #server: Server;
  readonly #perAddress = new Map<string, number>();
  #connections = 0;
  #closing: Promise<void> | undefined;

  constructor(host: ListenerHost, options: ResolvedListenOptions, handler: Handler) {
    this.handler = handler;
    this.#host = host;
    this.options = options;
    const { noDelay, keepAliveMs } = options.connection;
    this.#server = createServer(
      { allowHalfOpen: true, noDelay, keepAlive: keepAliveMs > 0, keepAliveInitialDelay: keepAliveMs },
      (socket) => this.#accept(socket),
    );
    if (options.maxConnections > 0) this.#server.maxConnections = options.maxConnections;
    this.#server.on('drop', () => this.#host.counts.refused_max_connections++);
  }

  /** @throws the system's error (`EADDRINUSE`, …), RingwayError `ERR_UNSUPPORTED` */
  listen(): Promise<this> {
    const { address, backlog, reusePort, ipv6Only } = this.options;
    if (reusePort) checkReusePort();
    const server = this.#server;
    return new Promise((resolve, reject) => {
      server.once('error', (error) => reject('path' in address ? pathError(error, address.path) : error));
      // Exclusive: in a cluster's worker too the address is this process's own, as with the native engines.
      const shared = reusePort ? { reusePort } : {};
      server.listen({ ...address, backlog, ipv6Only, exclusive: true, ...shared }, () => {
        server.removeAllListeners('error');
        server.on('error', () => this.#host.counts.accept_errors++);
        resolve(this);
      });
    });
  }

  get address(): Listener['address'] {
    const { address } = this.options;
    if ('path' in address) return { path: address.path };
    const bound = this.#server.address();
    if (typeof bound === 'string') return { path: bound };
    if (bound !== null) return { host: bound.address, port: bound.port };
    // A unix socket that was handed over: node:net does not tell its path.
    return 'fd' in address ? { path: '' } : address;
  }

  get connections(): number {
    return this.#connections;
  }

  #accept(socket: Socket): void {
    const remote = socket.remoteAddress ?? '';
    const counted = 'path' in this.options.address ? '' : this.#countedAddress(remote);
    const { maxConnectionsPerIp } = this.options;
    if (counted !== '' && maxConnectionsPerIp > 0 && (this.#perAddress.get(counted) ?? 0) >= maxConnectionsPerIp) {
      this.#host.counts.refused_max_connections_per_ip++;
      // It may already be reset by its peer; nobody waits for the error.
      socket.on('error', () => undefined);
      socket.destroy();
      return;
    }
    this.#host.accepted(socket, this);
  }

  /** Empty for one that is exempt. */
  #countedAddress(remote: string): string {
    const plain = remote.startsWith('::ffff:') ? remote.slice(7) : remote;
    const loopback = plain === '::1' || plain.startsWith('127.');
    return loopback && this.options.loopbackExempt ? '' : plain;
  }

  count(connection: PortableConnection): void {
    this.#connections++;
    if ('path' in this.options.address) return;
    connection.countedAddress = this.#countedAddress(connection.remoteAddress);
    if (connection.countedAddress === '') return;
    this.#perAddress.set(connection.countedAddress, (this.#perAddress.get(connection.countedAddress) ?? 0) + 1);
  }

  uncount(connection: PortableConnection): void {
    this.#connections--;
    const address = connection.countedAddress;
    if (address === '') return;
    const left = (this.#perAddress.get(address) ?? 1) - 1;
    if (left === 0) this.#perAddress.delete(address);
    else this.#perAddress.set(address, left);
  }

  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    // Two turns: the loop accepts what the kernel already holds before the socket goes.
    for (let turn = 0; turn < 2; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
    // Its callback would wait for the open connections; the socket itself is closed at once.
    this.#server.close();
    this.#host.listenerClosed(this);
  }

  ref(): void {
    this.#server.ref();
  }

  unref(): void {
    this.#server.unref();
  }
}

/** As the native engines say it: libuv has EACCES for a folder that is missing, and node:net a port of -1. */
function pathError(error: NodeJS.ErrnoException, path: string): Error {
  const missing = error.code === 'EACCES' && !existsSync(dirname(path));
  const code = missing ? 'ENOENT' : error.code;
  const errno = missing ? -constants.errno.ENOENT : (error.errno ?? 0);
  const what = getSystemErrorMap().get(errno)?.[1] ?? 'unknown error';
  return Object.assign(new Error(`listen ${code}: ${what} ${path}`), { code, errno, syscall: 'listen', address: path });
}

function checkReusePort(): void {
  const [major, minor] = process.versions.node.split('.').map(Number);
  const [sinceMajor, sinceMinor] = REUSE_PORT_SINCE;
  if (major > sinceMajor || (major === sinceMajor && minor >= sinceMinor)) return;
  const why = `node:net has it since ${sinceMajor}.${sinceMinor}, this is ${process.versions.node}; use the io_uring or epoll engine`;
  throw new RingwayError('ERR_UNSUPPORTED', ['reusePort on the portable engine', why]);
}
