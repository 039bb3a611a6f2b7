/**
 * `ringway/net`: `node:net` on Ringway's engine. Where the engine is the portable one, it is `node:net` itself.
 *
 * Which of the two is decided once, when the module is loaded.
 *
 * @module ringway/net
 */
import nodeNet from 'node:net';
import type { DriverName } from '../engine/engine.js';
import { netEngine } from './engine.js';
import * as ownNet from './own-net.js';

// Programs name types as `net.AddressInfo` too: all of Node's are here, as the reader's own types of Node have them.
export type * from 'node:net';

/** Which engine runs under these sockets, and why. */
export interface NetEngine {
  /** `io_uring`, `epoll`, or `portable`: then this module is `node:net` itself. */
  readonly name: DriverName;
  /** A sentence for logs. */
  readonly reason: string;
}

/** The engine under the sockets of this module. */
export const engine: NetEngine = netEngine();

const isOwn = engine.name !== 'portable';
const inside = nodeNet as unknown as Record<string, unknown>;

const own = ownNet as unknown as Pick<typeof nodeNet, 'connect' | 'createServer' | 'Server' | 'Socket'>;
const chosen = isOwn ? own : nodeNet;

/**
 * A socket that connects: `net.connect(port[, host])`, `(path)` or `(options)`. Options and defaults are Node's: host `localhost`,
 * `noDelay` and `keepAlive` off, `keepAliveInitialDelay` and `timeout` in ms (0: none), `highWaterMark` in bytes (64 KiB; 16 on Node 20).
 *
 * @throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_ARG_VALUE`, `ERR_MISSING_ARGS`, `ERR_SOCKET_BAD_PORT`; `ERR_IP_BLOCKED` and what the
 * kernel says (`ECONNREFUSED`, `ENOENT`, …) come as `'error'`.
 */
export const connect: typeof nodeNet.connect = chosen.connect;
/** Another name of `connect`. */
export const createConnection: typeof nodeNet.createConnection = chosen.connect;
/**
 * A server that is yet to listen: `net.createServer([options][, listener])`. Options and defaults are Node's: `allowHalfOpen`,
 * `pauseOnConnect`, `noDelay`, `keepAlive` off, `keepAliveInitialDelay` 0 ms; `listen` has a backlog of 511.
 *
 * @throws `ERR_INVALID_ARG_TYPE`; `listen` also `ERR_SOCKET_BAD_PORT`, `ERR_SERVER_ALREADY_LISTEN`. `EADDRINUSE`, `EACCES` and the like
 * come as `'error'`.
 */
export const createServer: typeof nodeNet.createServer = chosen.createServer;
/** `net.Server`, to be called with or without `new`; its options as in `createServer`. */
export const Server: typeof nodeNet.Server = chosen.Server;
/** The type of a server: Node's. */
export type Server = nodeNet.Server;
/** `net.Socket`, a `Duplex`, to be called with or without `new`. `fd` and `handle`: docs/net.md. @throws `ERR_INVALID_ARG_TYPE`, `ERR_INVALID_FD_TYPE`. */
export const Socket: typeof nodeNet.Socket = chosen.Socket;
/** The type of a socket: Node's. */
export type Socket = nodeNet.Socket;
/** Node's old name of `Socket`. */
export const Stream: typeof nodeNet.Socket = chosen.Socket;
/** @internal Of Node's own, for libraries that know it. */
export const _normalizeArgs: unknown = isOwn ? ownNet.normalizeArguments : inside._normalizeArgs;
/** @internal Node's. */
export const _createServerHandle: unknown = inside._createServerHandle;
/** @internal Of Node 24: Node's. */
export const _TransferredBoundSocket: unknown = inside._TransferredBoundSocket;
/** @internal Node's. */
export const _setSimultaneousAccepts: unknown = inside._setSimultaneousAccepts;

/** Addresses that are let in or kept out: Node's. */
export const BlockList: typeof nodeNet.BlockList = nodeNet.BlockList;
/** The type of such a list: Node's. */
export type BlockList = nodeNet.BlockList;
/** Of Node 24: a bound handle. It is Node's, and no server of this module listens on one. */
export const BoundSocket: unknown = inside.BoundSocket;
/** An address with its family, port and flow label: Node's. */
export const SocketAddress: typeof nodeNet.SocketAddress = nodeNet.SocketAddress;
/** The type of such an address: Node's. */
export type SocketAddress = nodeNet.SocketAddress;
/** Whether `connect` tries both families where a name has both. Default: true. */
export const getDefaultAutoSelectFamily: typeof nodeNet.getDefaultAutoSelectFamily = nodeNet.getDefaultAutoSelectFamily;
/** Sets it, for Node's sockets and these. @throws `ERR_INVALID_ARG_TYPE` where it is no boolean. */
export const setDefaultAutoSelectFamily: typeof nodeNet.setDefaultAutoSelectFamily = nodeNet.setDefaultAutoSelectFamily;
/** How long each address is tried, in ms. Default: the running Node's (250 in Node 20). */
export const getDefaultAutoSelectFamilyAttemptTimeout: () => number = nodeNet.getDefaultAutoSelectFamilyAttemptTimeout;
/** Sets it, in ms, at least 10, for Node's sockets and these. @throws `ERR_OUT_OF_RANGE` below 1, `ERR_INVALID_ARG_TYPE`. */
export const setDefaultAutoSelectFamilyAttemptTimeout: (valueMs: number) => void =
  nodeNet.setDefaultAutoSelectFamilyAttemptTimeout;
/** 4, 6, or 0 where the text is no IP address. */
export const isIP: typeof nodeNet.isIP = nodeNet.isIP;
/** Whether the text is an IPv4 address. */
export const isIPv4: typeof nodeNet.isIPv4 = nodeNet.isIPv4;
/** Whether the text is an IPv6 address. */
export const isIPv6: typeof nodeNet.isIPv6 = nodeNet.isIPv6;

/** What `import net from 'ringway/net'` gives: everything that `node:net` has, also what later versions of Node add to it. */
const net: typeof nodeNet = isOwn
  ? (Object.defineProperties(
      {},
      {
        ...Object.getOwnPropertyDescriptors(nodeNet),
        ...Object.getOwnPropertyDescriptors({
          connect,
          createConnection,
          createServer,
          Server,
          Socket,
          Stream,
          _normalizeArgs,
        }),
      },
    ) as typeof nodeNet)
  : nodeNet;
/** The types that programs name by the default export (`net.Socket`), all of them Node's: a namespace has to name each. */
declare namespace net {
  /** What `address()` answers: address, family, port. */
  type AddressInfo = nodeNet.AddressInfo;
  /** Of addresses that are let in or kept out. */
  type BlockList = nodeNet.BlockList;
  /** What `'drop'` tells of a connection that was dropped. */
  type DropArgument = nodeNet.DropArgument;
  /** `ipv4` or `ipv6`. */
  type IPVersion = nodeNet.IPVersion;
  /** Options of `connect` to a path, with those of the socket. */
  type IpcNetConnectOpts = nodeNet.IpcNetConnectOpts;
  /** Options of `socket.connect` to a path. */
  type IpcSocketConnectOpts = nodeNet.IpcSocketConnectOpts;
  /** Options of `listen`. */
  type ListenOptions = nodeNet.ListenOptions;
  /** A `lookup` of one's own, as `dns.lookup`. */
  type LookupFunction = nodeNet.LookupFunction;
  /** Options of `connect`. */
  type NetConnectOpts = nodeNet.NetConnectOpts;
  /** Option `onread`: a buffer, and who is called when bytes are in it. */
  type OnReadOpts = nodeNet.OnReadOpts;
  /** A server. */
  type Server = nodeNet.Server;
  /** Options of `createServer`. */
  type ServerOpts = nodeNet.ServerOpts;
  /** A socket. */
  type Socket = nodeNet.Socket;
  /** An address with its family, port and flow label. */
  type SocketAddress = nodeNet.SocketAddress;
  /** What a `SocketAddress` is made of. */
  type SocketAddressInitOptions = nodeNet.SocketAddressInitOptions;
  /** Options of `socket.connect`. */
  type SocketConnectOpts = nodeNet.SocketConnectOpts;
  /** Options of `new Socket`. */
  type SocketConstructorOpts = nodeNet.SocketConstructorOpts;
  /** What `socket.readyState` may be. */
  type SocketReadyState = nodeNet.SocketReadyState;
  /** Options of `connect` to a host and port, with those of the socket. */
  type TcpNetConnectOpts = nodeNet.TcpNetConnectOpts;
  /** Options of `socket.connect` to a host and port. */
  type TcpSocketConnectOpts = nodeNet.TcpSocketConnectOpts;
}
export default net;
