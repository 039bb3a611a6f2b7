/** The engine under every socket of this module: the process's shared one, which does not keep the process alive. */
import type { ConnectionOptions, Engine } from '../engine/engine.js';
import { leaseEngine } from '../engine/shared-engine.js';
import { Inbox } from './inbox.js';
import { GATHERED_BYTES } from './transport.js';

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
  // As with Node what a peer leaves untaken is the writer's matter, who sees it in what `write` answers.
  maxBufferedBytes: Number.MAX_SAFE_INTEGER,
  isAccounted: false,
  highWaterMark: GATHERED_BYTES,
  // Drained is who has nothing queued: then no memory of a writer is read any more.
  lowWaterMark: 0,
  noDelay: false,
  keepAliveMs: 0,
};
