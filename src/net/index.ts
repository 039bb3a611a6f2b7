/**
 * `ringway/net`: `node:net` on Ringway's engine. Where the engine is the portable one, it is `node:net` itself.
 *
 * Which of the two is decided once, when the module is loaded.
 */
import nodeNet from 'node:net';
import { netEngine } from './engine.js';
import * as ownNet from './own-net.js';

type Net = typeof nodeNet;

/** The engine under the sockets of this module, and why it is this one: `io_uring`, `epoll`, or `portable`. */
export const engine: { readonly name: string; readonly reason: string } = netEngine();

const isOwn = engine.name !== 'portable';
const inside = nodeNet as unknown as { _normalizeArgs: unknown; _createServerHandle: unknown };

const own = ownNet as unknown as Pick<Net, 'connect' | 'createServer' | 'Server' | 'Socket'>;
const chosen = isOwn ? own : nodeNet;

export const connect: Net['connect'] = chosen.connect;
export const createConnection: Net['createConnection'] = chosen.connect;
export const createServer: Net['createServer'] = chosen.createServer;
export const Server: Net['Server'] = chosen.Server;
export const Socket: Net['Socket'] = chosen.Socket;
/** Node's old name of `Socket`. */
export const Stream: Net['Socket'] = chosen.Socket;
export const _normalizeArgs: unknown = isOwn ? ownNet.normalizeArguments : inside._normalizeArgs;
export const _createServerHandle: unknown = inside._createServerHandle;
export const _setSimultaneousAccepts: unknown = (nodeNet as unknown as { _setSimultaneousAccepts: unknown })
  ._setSimultaneousAccepts;

export const {
  BlockList,
  SocketAddress,
  getDefaultAutoSelectFamily,
  getDefaultAutoSelectFamilyAttemptTimeout,
  isIP,
  isIPv4,
  isIPv6,
  setDefaultAutoSelectFamily,
  setDefaultAutoSelectFamilyAttemptTimeout,
} = nodeNet;

/** The module as one object, as `import net from 'node:net'` and `require('net')` give it: a program may patch it. */
const net: Net = isOwn
  ? ({
      ...nodeNet,
      connect,
      createConnection,
      createServer,
      Server,
      Socket,
      Stream,
      _normalizeArgs,
    } as Net)
  : nodeNet;
export default net;
