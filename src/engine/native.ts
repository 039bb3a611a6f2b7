/**
 * Everything native, declared in one place: what the addon exports, and how the memory that a reactor and JavaScript share
 * is laid out. native/addon.cc and native/base/shared_layout.h hold the same.
 */

/** An engine inside the addon. */
export type EngineHandle = { readonly brand: unique symbol };

/** One reactor's rings, allocated here and filled by both sides. */
export interface RingMemory {
  readonly control: Uint32Array;
  readonly descriptors: Uint32Array;
  readonly bytes: Uint8Array;
  readonly commands: Uint32Array;
  readonly progress: Uint32Array;
}

export interface NativeFraming {
  /** 0 length-field, 1 delimiter, 2 varint, 3 raw */
  readonly format: number;
  readonly maxFrameLength: number;
  readonly lengthFieldOffset: number;
  readonly lengthFieldLength: number;
  readonly littleEndian: boolean;
  readonly lengthAdjustment: number;
  readonly initialBytesToStrip: number;
  readonly headerLength: number;
  readonly delimiter: Uint8Array;
  readonly stripDelimiter: boolean;
  readonly stripCarriageReturn: boolean;
  readonly acceptUnterminated: boolean;
  readonly hold: boolean;
}

export interface NativeConnectionOptions {
  /** Empty: a TCP address. */
  readonly path: string;
  readonly host: string;
  readonly port: number;
  readonly framing: NativeFraming;
  readonly idleTimeoutMs: number;
  readonly partialFrameTimeoutMs: number;
  readonly writeStallTimeoutMs: number;
  readonly connectTimeoutMs: number;
  readonly localAddress: string;
  readonly localPort: number;
  readonly highWaterMark: number;
  readonly lowWaterMark: number;
  readonly maxBufferedBytes: number;
  readonly isAccounted: boolean;
  readonly noDelay: boolean;
  readonly keepAliveMs: number;
}

export interface NativeListenOptions extends NativeConnectionOptions {
  /** A bound socket, instead of an address; −1: none. */
  readonly fd: number;
  readonly backlog: number;
  readonly reusePort: boolean;
  readonly ipv6Only: boolean;
  readonly maxConnections: number;
  readonly maxConnectionsPerIp: number;
  readonly limitLoopback: boolean;
}

export interface NativeEngineOptions {
  readonly kind: 'io_uring' | 'epoll' | 'auto';
  readonly reactors: number;
  readonly maxEngineBytes: number;
  readonly maxPartialBytes: number;
}

export interface Addon {
  /**
   * `onEvents` is called when the rings hold something; what it leaves is offered again. It answers true to be called once
   * more in a callback scope of its own, as it is after an exception.
   */
  createEngine(
    options: NativeEngineOptions,
    memory: readonly RingMemory[],
    onEvents: () => boolean,
  ): { handle: EngineHandle; driver: 'io_uring' | 'epoll'; reason: string; error?: undefined } | { error: string };
  /** The bound address, or a negative errno. */
  listen(
    engine: EngineHandle,
    options: NativeListenOptions,
  ): { id: number; host: string; port: number; path?: string } | number;
  /** The reactor's index or a negative errno; an open or a close event with the token follows. */
  connect(engine: EngineHandle, options: NativeConnectionOptions, token: number): number;
  /** The same for a connected socket. Where it answers an errno, the descriptor is still the caller's. */
  adopt(engine: EngineHandle, fd: number, options: NativeConnectionOptions, token: number): number;
  setFraming(engine: EngineHandle, reactor: number, slot: number, generation: number, framing: NativeFraming): void;
  /** Ends that connection if it is not open yet. */
  abandonConnect(engine: EngineHandle, reactor: number, token: number): void;
  /** Of an open connection; empty and 0 where it is gone. */
  localAddress(engine: EngineHandle, reactor: number, slot: number, generation: number): { host: string; port: number };
  /** -1 where it is gone. */
  bytesReceived(engine: EngineHandle, reactor: number, slot: number, generation: number): number;
  setNoDelay(engine: EngineHandle, reactor: number, slot: number, generation: number, on: number): void;
  setKeepAlive(
    engine: EngineHandle,
    reactor: number,
    slot: number,
    generation: number,
    on: number,
    idleSeconds: number,
  ): void;
  /** A listener-closed event follows. */
  closeListener(engine: EngineHandle, id: number): void;
  listenerConnections(engine: EngineHandle, id: number): number;
  /** A command ring is full: the reactors should take commands now. */
  flushCommands(engine: EngineHandle): void;
  /** The same at the end of the process: goes on for as long as the kernel takes what is queued. */
  finishSends(engine: EngineHandle): void;
  /**
   * Of the reactor in Node's loop: takes commands, then gives the kernel what the connection has queued, and `bytes` behind it,
   * as much as it takes at once. What is left of `bytes` is copied with `keep` 1; with 0 it is read where it lies, until `progress`
   * has passed it.
   */
  sendNow(engine: EngineHandle, slot: number, generation: number, bytes: Uint8Array, keep: number): void;
  /** Of the reactor in Node's loop: 64 KB to receive into, which the caller keeps as they are until an event names `index`. */
  offerLanding(engine: EngineHandle, index: number, bytes: Uint8Array): void;
  /** Whether the engine keeps Node's loop alive. */
  setRef(engine: EngineHandle, referenced: boolean): void;
  /** Everything closes; a stopped event follows from each reactor. */
  shutdown(engine: EngineHandle): void;
  /** After the last stopped event. The handle must not be used again. */
  destroy(engine: EngineHandle): void;
  /** Adds every reactor's counters to `out`, in the order of the table. */
  counters(engine: EngineHandle, out: Float64Array): void;
  /** The bytes of a block; takes one reference over. null, and takes none, where the runtime forbids foreign memory. */
  openBlock(low: number, high: number, offset: number, length: number): ArrayBuffer | null;
  /** Of `openBlock`: the ArrayBuffer is detached, and its reference given back, soon. */
  closeBlock(memory: ArrayBuffer): void;
  /** Copies a block's bytes, as many as there is room for; takes one reference over. */
  readBlock(low: number, high: number, offset: number, bytes: Uint8Array): void;
  /** One more reference, for a command. */
  refBlock(low: number, high: number): void;
  /** Copies bytes into a new block, whose address it writes to `address`; false: out of memory. */
  makeBlock(bytes: Uint8Array, start: number, end: number, address: Uint32Array): boolean;
  /** Writes where `bytes[start]` lies in memory to `address`: it stays there as long as somebody holds on to it. */
  addressOf(bytes: Uint8Array, start: number, address: Uint32Array): void;
  /** What both sides must agree on; compare with `LAYOUT`. */
  layout(): number[];
  /** What of io_uring this machine has, found by trying. */
  describe(): { name: string; found: boolean; sentence: string }[];
}

// --- native/base/shared_layout.h

export const Control = {
  eventHead: 0,
  eventTail: 16,
  bytesTail: 32,
  commandHead: 48,
  commandTail: 64,
  jsSleeping: 80,
  words: 112,
} as const;

export const EventKind = {
  frame: 1,
  largeFrame: 2,
  heldFrame: 18,
  open: 3,
  end: 4,
  drain: 5,
  idle: 6,
  close: 7,
  listenerClosed: 8,
  stopped: 9,
  fault: 10,
  detached: 17,
  finish: 16,
} as const;

export const CommandKind = {
  wrap: 0,
  send: 1,
  sendBlock: 2,
  close: 3,
  abort: 4,
  shutdown: 5,
  pause: 6,
  resume: 7,
  wantDrain: 8,
  destroy: 9,
  sendPinned: 10,
  detach: 11,
  reset: 12,
} as const;

/** The system call whose error ended a connection. */
export const SYSTEM_CALLS = [undefined, 'connect', 'bind', 'read', 'write'] as const;

export const EVENT_DESCRIPTORS = 16384;
export const EVENT_BYTES = 1 << 20;
/** Behind them: a driver's receive buffers. */
export const RECEIVE_BYTES = 1024 * 273 * 64;
export const COMMAND_WORDS = 1 << 17;
export const SLOTS = 1 << 18;

/** Version, control words, descriptors, event bytes, receive bytes, command words, slots. */
export const LAYOUT: readonly number[] = [
  8,
  Control.words,
  EVENT_DESCRIPTORS,
  EVENT_BYTES,
  RECEIVE_BYTES,
  COMMAND_WORDS,
  SLOTS,
];

/** Of a large frame: it is a chunk of a raw connection, which would lie in memory that was offered, had there been any. */
export const WANTS_LANDING = 0xffff_fffe;
/** It is a frame, in a block. */
export const NO_LANDING = 0xffff_ffff;

/** Words that every command begins with: size and kind, slot, generation. */
export const HEAD_WORDS = 3;
/** Words of a send's part before its inline bytes: their length; of bytes that are passed on the reactor, place and length. */
export const PART_WORDS = 4;
/** Words of each command before its inline bytes. */
export const SEND_WORDS = HEAD_WORDS + PART_WORDS;
export const SEND_BLOCK_WORDS = 8;

export function allocateRings(): RingMemory {
  return {
    control: new Uint32Array(Control.words),
    descriptors: new Uint32Array(EVENT_DESCRIPTORS * 4),
    // What nobody touches takes no memory.
    bytes: new Uint8Array(EVENT_BYTES + RECEIVE_BYTES),
    commands: new Uint32Array(COMMAND_WORDS),
    progress: new Uint32Array(SLOTS),
  };
}
