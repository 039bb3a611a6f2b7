/** From the engine's frames in place to Buffers and back, for all connections of one server or one outgoing connection. */
import type { CloseInfo, Connection, Engine, Handler } from './engine/engine.js';
import { KeptView } from './engine/kept-view.js';
import type { CloseReason } from './engine/tables.gen.js';
import { RingwayError } from './errors.js';
import { FrameConnection } from './frame-connection.js';
import { type Encoder, makeEncoder } from './framing/encoder.js';
import type { Framing } from './framing/framing.js';
import { resolveFraming } from './framing/validate-framing.js';

/** What becomes of the connections of a frame server or of `connect`. Only `frame` is needed. A handler that throws surfaces as an uncaught exception. */
export interface FrameHandlers {
  /** Accepted, or established. */
  open?(connection: FrameConnection): void;
  /** One whole frame. The Buffer is yours: keep it, change it. Up to 4 KB it shares its memory with its neighbours. */
  frame(connection: FrameConnection, frame: Buffer): void;
  /** The peer sent FIN. Without this handler the connection closes, after what is queued has left. With it, you close. */
  end?(connection: FrameConnection): void;
  /** After a `send` that answered false: send on. */
  drain?(connection: FrameConnection): void;
  /** `idleTimeoutMs` passed; true keeps the connection for another such time. */
  idle?(connection: FrameConnection): boolean;
  /** The connection did not end in good order: called before `close`, with a sentence. */
  error?(connection: FrameConnection, error: RingwayError): void;
  /** The last call for a connection. Exactly once. */
  close?(connection: FrameConnection, info: CloseInfo): void;
}

/** Ends that nobody has to be told about. */
const ORDERLY: readonly CloseReason[] = ['closed', 'peer-closed', 'going-away', 'engine-closed'];

const NOTHING = new Uint8Array(0);

/** Whose connections they are: it is told first when one opens, and tells the user when one ended. */
export interface ChannelOwner {
  opened(connection: Connection): void;
  closed(connection: Connection, info: CloseInfo): void;
}

export class FrameChannel implements Handler {
  readonly encoder: Encoder;
  /** Only present where the user has one: an engine asks whether they are there. */
  readonly end?: (connection: Connection) => void;
  readonly idle?: (connection: Connection) => boolean;
  readonly #engine: Engine;
  readonly #handlers: FrameHandlers;
  readonly #owner: ChannelOwner;

  /**
   * The frame being delivered and where the engine has it, while both are the same memory: sent back as it is, it then
   * goes without a copy. (Where the frame is a copy, the user may have changed it, and it must be sent from there.)
   */
  delivered: Buffer | undefined = undefined;
  bytes: Uint8Array = NOTHING;
  start = 0;
  endOfFrame = 0;

  readonly #view = new KeptView();
  /** Of nobody: with it V8 keeps what it compiled for connections while there are none (native-engine.ts). */
  spare: FrameConnection | undefined = undefined;

  /** @throws RingwayError `ERR_INVALID_FRAMING` */
  constructor(engine: Engine, framing: Framing, handlers: FrameHandlers, owner: ChannelOwner) {
    this.#engine = engine;
    this.#owner = owner;
    this.encoder = makeEncoder(resolveFraming(framing));
    this.#handlers = handlers;
    if (handlers.end !== undefined) this.end = (connection) => handlers.end!(frameConnectionOf(connection));
    if (handlers.idle !== undefined) this.idle = (connection) => handlers.idle!(frameConnectionOf(connection));
  }

  open(connection: Connection): void {
    if (connection.context === undefined) connection.context = new FrameConnection(this, connection);
    this.#owner.opened(connection);
    this.#handlers.open?.(connection.context as FrameConnection);
  }

  frame(connection: Connection, bytes: Uint8Array, start: number, end: number): void {
    const kept = this.#engine.keep(bytes, start, end);
    const frame = this.#view.of(kept, end - start);
    if (kept.bytes === bytes) {
      this.delivered = frame;
      this.bytes = bytes;
      this.start = start;
      this.endOfFrame = end;
    }
    this.#handlers.frame(connection.context as FrameConnection, frame);
    this.delivered = undefined;
  }

  /** What was delivered in this turn is not held on to. */
  batchEnd(): void {
    this.delivered = undefined;
    this.bytes = NOTHING;
    this.#view.forget();
  }

  drain(connection: Connection): void {
    this.#handlers.drain?.(frameConnectionOf(connection));
  }

  close(connection: Connection, info: CloseInfo): void {
    this.spare = new FrameConnection(this, undefined);
    this.#owner.closed(connection, info);
  }

  /** Tells the user. */
  ended(connection: FrameConnection, remote: string, info: CloseInfo): void {
    try {
      if (!ORDERLY.includes(info.reason)) {
        const parts = [remote || 'a unix socket', info.reason, info.message];
        this.#handlers.error?.(connection, new RingwayError('ERR_CONNECTION_FAILED', parts));
      }
    } finally {
      this.#handlers.close?.(connection, info);
    }
  }
}

function frameConnectionOf(connection: Connection): FrameConnection {
  return connection.context as FrameConnection;
}
