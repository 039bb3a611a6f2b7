/**
 * The seam between the data plane and the control plane. Everything above it (frame server, gateway, SDKs) takes an
 * `Engine`; below it stand the native engine (io_uring or epoll), the portable engine over `node:net`, and the fake one
 * of the tests. All behave alike; one integration suite runs on each.
 *
 * Bytes and frames only: no task, no backend, no policy, and never a file descriptor.
 */
import type { Framing } from '../framing/framing.js';
import type { CloseReason, CounterName } from './tables.gen.js';

/** Which driver really runs. */
export type DriverName = 'io_uring' | 'epoll' | 'portable';

/** What a caller may ask for; only `auto` falls back. */
export type EngineName = DriverName | 'auto';

/** What `createEngine` makes. */
export interface EngineOptions {
  /** Default `auto`: io_uring, else epoll, else portable. A named engine that cannot run throws `ERR_ENGINE_UNAVAILABLE`. */
  readonly kind?: EngineName;
  /** Reactor threads; 0 drives one reactor from inside Node's loop. Default `auto`. The portable engine ignores it. */
  readonly reactors?: number | 'auto';
  /** Bytes waiting to be sent in the whole engine before connections are closed with `memory-full`. Default 512 MiB. */
  readonly maxEngineBytes?: number;
  /** Bytes held by incomplete frames in the whole engine. Default 256 MiB. */
  readonly maxPartialBytes?: number;
}

/** Options of one connection, accepted or outgoing. Defaults stand in `protocol/tables.json`. */
export interface ConnectionOptions {
  /** How its bytes become frames. */
  readonly framing: Framing;
  /** Nothing received or sent for so long closes with `idle-timeout`, unless `Handler.idle` keeps it. 0: never. Default 300,000. */
  readonly idleTimeoutMs?: number;
  /** Time for one frame to become whole, plus its length at 16 KB/s. 0: no limit. Default 30,000. */
  readonly partialFrameTimeoutMs?: number;
  /** A peer that takes no byte for so long is closed with `write-stalled`. 0: no limit. Default 30,000. */
  readonly writeStallTimeoutMs?: number;
  /** `send` answers false above this many buffered bytes. Default 64 KiB. */
  readonly highWaterMark?: number;
  /** `drain` is called at this many. Default half of `highWaterMark`. */
  readonly lowWaterMark?: number;
  /** More buffered bytes than this close the connection with `send-buffer-full`. Default 32 MiB. There is no off: a large number is. */
  readonly maxBufferedBytes?: number;
  /**
   * Whether what it holds counts against `maxEngineBytes` and `maxPartialBytes`, so that it may be closed with `memory-full`.
   * Default true. Off is for an owner who holds back by what `send` answers.
   */
  readonly isAccounted?: boolean;
  /** TCP_NODELAY. Default true. */
  readonly noDelay?: boolean;
  /** First TCP keepalive probe after so many ms of silence. 0: off. Default 60,000. */
  readonly keepAliveMs?: number;
}

/**
 * Of TCP: `host` must be an IP address here (default 127.0.0.1); names are resolved above the seam. Of a unix socket: its
 * `path`; one that begins with NUL is Linux's abstract namespace, which has no file.
 */
export type SocketAddress = TcpSocketAddress | UnixSocketAddress;

/** Of TCP. */
export interface TcpSocketAddress {
  /** IP address. Default 127.0.0.1. */
  readonly host?: string;
  /** 0 to 65,535; a listener given 0 takes a free one. */
  readonly port: number;
  /** None: it is TCP's. */
  readonly path?: undefined;
}

/** Of a unix socket. */
export interface UnixSocketAddress {
  /** Of the file; with NUL in front, a name without a file (Linux). */
  readonly path: string;
  /** None: it is a unix socket's. */
  readonly port?: undefined;
  /** None: it is a unix socket's. */
  readonly host?: undefined;
}

/** Where a listener is bound. */
export type BoundAddress = BoundTcpAddress | BoundUnixAddress;

/** Of TCP, as the system has it. */
export interface BoundTcpAddress {
  /** IP address. */
  readonly host: string;
  /** The real one where 0 was asked for. */
  readonly port: number;
}

/** Of a unix socket. */
export interface BoundUnixAddress {
  /** As it was given. */
  readonly path: string;
}

/** Where to listen: an address, or a socket that somebody else has bound (systemd, a parent process); it is the engine's then. */
export type ListenAddress =
  | (SocketAddress & {
      /** Not with an address. */
      readonly fd?: undefined;
    })
  | {
      /** A socket that listens already. It is the engine's from when `listen` resolves. */
      readonly fd: number;
      /** Not with `fd`. */
      readonly host?: undefined;
      /** Not with `fd`. */
      readonly port?: undefined;
      /** Not with `fd`. */
      readonly path?: undefined;
    };

/** Of one end of a connection. */
export type AddressFamily = 'IPv4' | 'IPv6' | 'unix';

/** Where and how to listen. The options of a connection hold for each one accepted. */
export type ListenOptions = ListenAddress &
  ConnectionOptions & {
    /** listen(2)'s backlog. Default 1,024. */
    readonly backlog?: number;
    /** One listening socket per reactor with SO_REUSEPORT. Default false. */
    readonly reusePort?: boolean;
    /** Of `::`, which otherwise takes IPv4 too. Default false. */
    readonly ipv6Only?: boolean;
    /** Open connections of this listener; more are closed at accept and counted. 0: no limit. Default 10,000. */
    readonly maxConnections?: number;
    /** Open connections from one address. 0: no limit. Default 1,000 with loopback exempt; set explicitly it holds for
     *  loopback too. */
    readonly maxConnectionsPerIp?: number;
  };

/** Where and how to connect. */
export type ConnectOptions = SocketAddress &
  ConnectionOptions & {
    /** 0: as long as the kernel tries. Default 5,000. */
    readonly connectTimeoutMs?: number;
    /** IP address to connect from. What is wrong with it is told by `close`, as `EADDRNOTAVAIL` with `syscall: 'bind'`. */
    readonly localAddress?: string;
    /** Port to connect from. Default 0: any. */
    readonly localPort?: number;
  };

/** How a connection ended. */
export interface CloseInfo {
  /** A stable name; `CLOSE_REASONS` has them all. */
  readonly reason: CloseReason;
  /** A sentence with the numbers in it, for logs. */
  readonly message: string;
  /** The system's error, where one caused it: `ECONNRESET`, `ECONNREFUSED`, … */
  readonly errorCode?: string;
  /** Its number as Node has it: negative. There exactly when `errorCode` is. */
  readonly errno?: number;
  /** What the system was asked for when it answered so. */
  readonly syscall?: 'connect' | 'bind' | 'read' | 'write';
  /** The read that failed found bytes first, in the same turn. Never true on the portable engine, which cannot know. */
  readonly isBehindBytes?: boolean;
  /** Of all bytes given to `send`, how many the kernel took. A frame that begins at or after this offset never left. */
  readonly bytesHandedToKernel: number;
}

/**
 * What the owner of connections implements. Calls come from the loop, never re-entrantly from inside `send` or `close`.
 * A handler that throws surfaces as an uncaught exception; what stands behind it is still delivered.
 */
export interface Handler {
  /** The connection was accepted, or the outgoing one is established. */
  open?(connection: Connection): void;
  /**
   * One whole frame: `bytes[start, end)`. With `raw` framing whatever came, several times in a turn; long chunks have memory
   * of their own, which `Engine.keep` answers without a copy. THE BYTES ARE ONLY VALID DURING THE CALL (they lie in the ring, or, of more than
   * 64 KB, in memory that goes with the turn): copy what must live longer, with `Engine.keep` or otherwise. They may be given to `sendFrame` of any connection of this engine, which
   * passes them on without a copy in JavaScript.
   */
  frame(connection: Connection, bytes: Uint8Array, start: number, end: number): void;
  /**
   * All frames of one turn were delivered: a place to flush what was gathered. Called once per handler and turn that had
   * frames. Until it returns the bytes of a `raw` connection's frames stay valid in the native engines.
   */
  batchEnd?(): void;
  /**
   * Of native engines, instead of `batchEnd`: called after every turn that had anything for this handler. Answers true to be
   * called again in a callback scope of its own: next ticks and microtasks run in between, and an exception ends one scope.
   */
  nextScope?(): boolean;
  /** The peer sent FIN. Without this method the connection answers with its own FIN and closes (`peer-closed`). With it,
   *  the owner must end the connection itself (`shutdown`, `close`); the sending half still works. */
  end?(connection: Connection): void;
  /** After a `send` that answered false: the buffered bytes fell to `lowWaterMark`. */
  drain?(connection: Connection): void;
  /** The FIN that `shutdown` asked for is with the kernel, and everything queued before it. */
  finish?(connection: Connection): void;
  /** `idleTimeoutMs` passed. Answer true to keep the connection for another such time (it has open work). */
  idle?(connection: Connection): boolean;
  /** The last call for a connection, also for an outgoing one that could not connect. Exactly once. */
  close?(connection: Connection, info: CloseInfo): void;
}

/** One connection of an engine, accepted or outgoing: bytes out, frames in (to its `Handler`). */
export interface Connection {
  /** Yours. */
  context: unknown;
  /** Unique among the open connections of the engine; reused after close. */
  readonly id: number;
  /** `connecting` → `open` → `closing` (sends what is queued, then FIN) → `closed`. */
  readonly state: 'connecting' | 'open' | 'closing' | 'closed';
  /** IP address, or the path of a unix socket (empty for an accepted one). */
  readonly remoteAddress: string;
  /** 0 for unix sockets. */
  readonly remotePort: number;
  /** Of the far end. */
  readonly remoteFamily: AddressFamily;
  /** Asked of the system at first use. Empty while connecting, for unix sockets, and where nobody asked in time. */
  readonly localAddress: string;
  /** 0 like `localAddress` is empty. */
  readonly localPort: number;
  /** Of this end. */
  readonly localFamily: AddressFamily;
  /** Bytes read from the socket so far (some may still be on their way to `frame`). */
  readonly bytesReceived: number;

  /**
   * Queues raw bytes (the parts one after another; framing is the caller's); they leave together with everything queued in
   * the same turn. The parts are copied: the caller may reuse its buffers at once. Only what was received in memory of its own
   * (a raw chunk from 16 KB on, a frame over 64 KB) is passed on where it lies: it must not be written to until it was taken.
   * @returns false when the buffered bytes are above `highWaterMark`; `drain` follows. The bytes are queued all the same.
   *   On a closing or closed connection nothing is queued and the answer is false.
   * @throws TypeError `ERR_INVALID_BYTES` for what is no Uint8Array; nothing is queued then. So do the two below.
   */
  send(...parts: Uint8Array[]): boolean;
  /**
   * `send` without a copy, as node:net writes: where Node's loop drives the engine the kernel gets what was queued, and `bytes`
   * behind it, before this returns, as far as it takes them. Worth it from 16 KB on.
   * @returns true: `bytes` may change, the kernel has them (or a copy was made). Otherwise they must not until `bufferedAmount`
   *   says that they were taken (they are kept alive until then); `drain` follows at `lowWaterMark`, however little waits.
   */
  sendPinned(bytes: Uint8Array): boolean;
  /**
   * `sendFrame` of bytes that may change as soon as it returns: long ones (over 16 KB) are given to the kernel in this call where Node's
   * loop drives the engine, as far as it takes them, and what is left is copied.
   */
  sendNow(header: Uint8Array, headerLength: number, bytes: Uint8Array, start: number, end: number): boolean;
  /**
   * The hot path of `send`: `header[0, headerLength)` and then `bytes[start, end)`, without a view being made. `bytes` may be
   * those of the frame being delivered: they are then passed on inside the engine. Long ones that the engine received (over 64 KB) are read
   * where they lie, and must not change before `bufferedAmount` says that they were taken.
   * @throws RangeError `ERR_OUT_OF_RANGE` where header or bytes are shorter than is said.
   */
  sendFrame(header: Uint8Array, headerLength: number, bytes: Uint8Array, start: number, end: number): boolean;
  /** Bytes given to `send` so far, over the connection's life: compare with `CloseInfo.bytesHandedToKernel`. */
  readonly bytesQueued: number;
  /** Bytes given to `send` that the kernel has not taken yet (may be a little stale, then too high). */
  readonly bufferedAmount: number;
  /** `drain` follows once `bufferedAmount` is at `lowWaterMark`, also where `send` did not say so. Native engines only. */
  wantDrain?(): void;
  /** Stops reading. Nothing that the peer then fails to send in time is counted against it. */
  pause(): void;
  /** Reads again after `pause`. */
  resume(): void;
  /**
   * How bytes are cut from the next frame on: after a frame that ended with `hold`, what stands behind it is cut so, from its
   * first byte on (an upgrade, STARTTLS, a PROXY header). On a connection that is not held, from the frame on that the engine
   * comes to next, so that it is of use there only where the peer waits for an answer.
   * @throws RingwayError `ERR_INVALID_FRAMING`
   */
  setFraming(framing: Framing): void;
  /**
   * Gives the descriptor back (non-blocking, close-on-exec): it is the caller's, who closes it. Before that what was read is
   * delivered, also where the connection is paused, and what is queued is sent; nothing is read any more. `close` follows with
   * `detached`.
   * @returns rejects with RingwayError `ERR_CANNOT_DETACH` where bytes of an incomplete (or held) frame were read (the connection
   *   goes on), or it ends before everything is sent; `ERR_UNSUPPORTED` on the portable engine: Node gives no descriptor back.
   */
  detach(): Promise<number>;
  /** Sends what is queued, then FIN; reading goes on. */
  shutdown(): void;
  /** Sends what is queued, then FIN, discards what still comes for a moment, closes. Frames are no longer delivered. */
  close(reason?: CloseReason, message?: string): void;
  /**
   * Does not wait for the peer: the kernel gets of what is queued as much as it takes at once, the rest is dropped, the
   * descriptor is closed (FIN; RST where the kernel holds bytes that nobody read). Also ends one that is closing.
   */
  destroy(reason?: CloseReason, message?: string): void;
  /** `destroy` with a RST behind what the kernel took, which may overtake it (a unix socket, which has no reset, is closed). */
  reset(reason?: CloseReason, message?: string): void;
  /** Drops what is queued and resets (a unix socket, which has no reset, is closed). */
  abort(reason?: CloseReason, message?: string): void;
  /** TCP_NODELAY, from now on. No effect on unix sockets. */
  setNoDelay(on: boolean): void;
  /** TCP keepalive, from now on: the first probe after `initialDelayMs` (whole seconds; 0: the system's default). */
  setKeepAlive(on: boolean, initialDelayMs?: number): void;
  /** Whether this connection keeps the process alive. Default: yes. */
  ref(): void;
  /** It no longer keeps the process alive. */
  unref(): void;
}

/** What listens: one address of an engine. */
export interface Listener {
  /** The bound address; `port` is the real one where 0 was asked for. */
  readonly address: BoundAddress;
  /** Open connections accepted here. */
  readonly connections: number;
  /** Stops accepting (connections the kernel already holds are still accepted); open connections go on. */
  close(): Promise<void>;
  /** It keeps the process alive, which is the default. */
  ref(): void;
  /** It no longer keeps the process alive. */
  unref(): void;
}

/** Bytes that outlive the batch they came in. */
export interface Kept {
  /** Yours to read for as long as you hold it; it holds what was kept beside it, too. */
  readonly bytes: Uint8Array;
  /** Where in `bytes` it begins. */
  readonly start: number;
  /** Of `keepReusable`, where `bytes` are memory that `reuse` takes back. */
  readonly isReusable?: boolean;
}

/** What moves bytes: io_uring, epoll or `node:net`, all alike. Frames in place and not one allocation per frame; `createServer` and `connect` are the comfortable form. */
export interface Engine {
  /** Which driver runs. */
  readonly name: DriverName;
  /** Why this one: a sentence for logs, `ringway doctor` and metrics. */
  readonly reason: string;
  /** Threads; 0: driven from inside Node's loop (also the portable engine). */
  readonly reactors: number;
  /** @throws an Error as node:net has it: `code` (`EADDRINUSE`, `EACCES`, …), `errno`, `syscall`, `address`, `port`. */
  listen(options: ListenOptions, handler: Handler): Promise<Listener>;
  /** `listen` without waiting: of engines that need not (the native ones). Throws what `listen` rejects with. */
  listenNow?(options: ListenOptions, handler: Handler): Listener;
  /** Before it returns the kernel has of what was queued as much as it takes at once: for the end of the process. */
  flush?(): void;
  /** Never throws for the network: `open` or `close` follows. */
  connect(options: ConnectOptions, handler: Handler): Connection;
  /**
   * Takes over a connected stream socket by its descriptor, which is the engine's from now on. `open` follows.
   * @throws an Error with the system's code (`ENOTCONN`, `ENOTSOCK`, `EBADF`, …) and `syscall: 'adopt'`: the descriptor is still
   *   the caller's.
   */
  adopt(fd: number, options: ConnectionOptions, handler: Handler): Connection;
  /**
   * Makes the bytes of the frame being delivered outlive the call. Frames of one batch, and small batches, share a slab of at
   * most 16 KB (one copy per batch, no view per frame); a frame over 4 KB gets memory of its own, or has it already. Bytes from elsewhere
   * are copied.
   */
  keep(bytes: Uint8Array, start: number, end: number): Kept;
  /**
   * As `keep`, for a holder that tells when the last frame in `bytes` is done with. Where the answer says `isReusable` it then
   * calls `reuse(bytes)`, once, and the memory is written again, or gone, from the next batch on.
   */
  keepReusable(bytes: Uint8Array, start: number, end: number): Kept;
  /** Nobody looks at these bytes of `keepReusable` any more once the batch is over. */
  reuse(bytes: Uint8Array): void;
  /** So many bytes, all 0, for records: they begin at a line of the processor's cache where the engine can know it (64 bytes). */
  allocate(bytes: number): Uint8Array;
  /** Monotonic milliseconds, read once per turn: cheap. */
  now(): number;
  /** Calls back every `intervalMs` (±10 %) until the returned function is called; does not keep the process alive. */
  every(intervalMs: number, callback: () => void): () => void;
  /** Counts of its whole life, by name; `/metrics` explains each. */
  counters(): Record<CounterName, number>;
  /** Closes every listener and connection (`engine-closed`), stops the reactors. */
  close(): Promise<void>;
}
