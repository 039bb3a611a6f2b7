/** The engine under every socket of this module: the process's shared one, which does not keep the process alive. */
import type { ConnectionOptions, Engine } from '../engine/engine.js';
import { leaseEngine } from '../engine/shared-engine.js';
import { Inbox } from './inbox.js';

let engine: Engine | undefined;
let inbox: Inbox | undefined;

export function netEngine(): Engine {
  engine ??= beginEngine();
  return engine;
}

/** A write's callback may end the process: what was written is with the kernel then, as with Node. */
function beginEngine(): Engine {
  const { engine } = leaseEngine();
  process.once('exit', () => engine.flush?.());
  return engine;
}

/** Of every connection that no server accepted. */
export function clientInbox(): Inbox {
  inbox ??= new Inbox();
  return inbox;
}

/** No limit of ours holds for a socket of Node: users set their own with `setTimeout` and look at `write`'s answer. */
export const SOCKET_OPTIONS: ConnectionOptions = {
  framing: { format: 'raw' },
  idleTimeoutMs: 0,
  partialFrameTimeoutMs: 0,
  writeStallTimeoutMs: 0,
  maxBufferedBytes: 2 ** 31 - 1,
  // About what a kernel takes of one socket at once: a write that Node calls done is called done here.
  highWaterMark: 1024 * 1024,
  lowWaterMark: 256 * 1024,
  noDelay: false,
  keepAliveMs: 0,
};
