/**
 * `ringway/net`: `node:net` on Ringway's engine. Where the engine is the portable one, it is `node:net` itself.
 *
 * Which of the two is decided once, when the module is loaded.
 *
 * @module
 */
import nodeNet from 'node:net';
import type { DriverName } from '../engine/engine.js';
import { netEngine } from './engine.js';
import * as ownNet from './own-net.js';

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

/** A socket that connects: `net.connect`. */
export const connect: typeof nodeNet.connect = chosen.connect;
/** Another name of `connect`. */
export const createConnection: typeof nodeNet.createConnection = chosen.connect;
/** A server that is yet to listen: `net.createServer`. */
export const createServer: typeof nodeNet.createServer = chosen.createServer;
/** `net.Server`, to be called with or without `new`. */
export const Server: typeof nodeNet.Server = chosen.Server;
/** `net.Socket`, a `Duplex`, to be called with or without `new`. */
export const Socket: typeof nodeNet.Socket = chosen.Socket;
/** Node's old name of `Socket`. */
export const Stream: typeof nodeNet.Socket = chosen.Socket;
/** @internal Of Node's own, for libraries that know it. */
export const _normalizeArgs: unknown = isOwn ? ownNet.normalizeArguments : inside._normalizeArgs;
/** @internal Node's. */
export const _createServerHandle: unknown = inside._createServerHandle;
/** @internal Node's. */
export const _setSimultaneousAccepts: unknown = inside._setSimultaneousAccepts;

/** Addresses that are let in or kept out: Node's. */
export const BlockList: typeof nodeNet.BlockList = nodeNet.BlockList;
/** Of Node 24: a bound handle. It is Node's, and no server of this module listens on one. */
export const BoundSocket: unknown = inside.BoundSocket;
/** An address with its family, port and flow label: Node's. */
export const SocketAddress: typeof nodeNet.SocketAddress = nodeNet.SocketAddress;
/** Whether `connect` tries both families where a name has both. */
export const getDefaultAutoSelectFamily: typeof nodeNet.getDefaultAutoSelectFamily = nodeNet.getDefaultAutoSelectFamily;
/** Sets it, for Node's sockets and these. */
export const setDefaultAutoSelectFamily: typeof nodeNet.setDefaultAutoSelectFamily = nodeNet.setDefaultAutoSelectFamily;
/** How long each address is tried, in ms. */
export const getDefaultAutoSelectFamilyAttemptTimeout: () => number = nodeNet.getDefaultAutoSelectFamilyAttemptTimeout;
/** Sets it, in ms, for Node's sockets and these. */
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
export default net;
