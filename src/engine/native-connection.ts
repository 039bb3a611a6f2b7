/** A connection of the native engine: what JavaScript knows of it. The socket itself lives in a reactor. */
import { checkBytes, checkRange } from '../bytes.js';
import { RingwayError } from '../errors.js';
import type { Framing } from '../framing/framing.js';
import { resolveFraming } from '../framing/validate-framing.js';
import { familyOf } from './address-family.js';
import type { CommandRing } from './command-ring.js';
import { Ending } from './ending.js';
import type { AddressFamily, Connection, Handler } from './engine.js';
import { isLanded } from './landing.js';
import { CommandKind } from './native.js';
import { blockOf } from './native-block.js';
import type { NativeEngine } from './native-engine.js';
import { toNativeFraming } from './native-options.js';
import type { Opening } from './opening.js';
import { PinnedBytes } from './pinned-bytes.js';
import type { ReactorRings } from './reactor-rings.js';
import { CLOSE_REASONS, type CloseReason } from './tables.gen.js';

/** More than this is copied once into native memory instead of through the command ring. */
const BLOCK_BYTES = 16 * 1024;
const NO_HEADER = new Uint8Array(0);
const NO_ADDRESS = { host: '', port: 0 } as const;
const REASON_CODES = new Map<CloseReason, number>(CLOSE_REASONS.map(({ name, code }) => [name, code]));

/** One handler on its engine, and whether it had frames in this turn. */
export interface HandlerEntry {
  readonly engine: NativeEngine;
  readonly isScoped: boolean;
  readonly handler: Handler;
  turn: number;
}

/** What its listener's connections share. */
export interface Watermarks {
  readonly highWaterMark: number;
  readonly lowWaterMark: number;
}

/** A server holds thousands that are idle: what only few have, or only for a while, is an object of its own, made where it begins. */
export class NativeConnection implements Connection {
  context: unknown = undefined;
  state: Connection['state'] = 'connecting';
  remoteAddress: string;
  remotePort: number;

  // For the engine:
  readonly entry: HandlerEntry;
  slot = -1;
  generation = 0;
  rings: ReactorRings | undefined = undefined;
  referenced = true;
  waitsForDrain = false;
  /** Of one that was not accepted: until it is open, and for good where it was abandoned. */
  opening: Opening | undefined;
  ending: Ending | undefined = undefined;

  readonly #marks: Watermarks;
  #local: { readonly host: string; readonly port: number } | undefined = undefined;
  #pinned: PinnedBytes | undefined = undefined;
  #queued = 0;
  /** Bytes the kernel had taken when we last looked. */
  #taken = 0;

  constructor(entry: HandlerEntry, marks: Watermarks, remoteAddress: string, remotePort: number, opening?: Opening) {
    this.entry = entry;
    this.#marks = marks;
    this.remoteAddress = remoteAddress;
    this.remotePort = remotePort;
    this.opening = opening;
  }

  get id(): number {
    return this.rings === undefined ? -1 : this.slot * 64 + this.rings.index;
  }

  get remoteFamily(): AddressFamily {
    return familyOf(this.remoteAddress, this.remotePort);
  }

  get localFamily(): AddressFamily {
    return this.remoteFamily;
  }

  get localAddress(): string {
    return this.#localEnd().host;
  }

  get localPort(): number {
    return this.#localEnd().port;
  }

  get bytesReceived(): number {
    if (this.ending !== undefined && this.ending.bytesReceived >= 0) return this.ending.bytesReceived;
    if (this.rings === undefined) return 0;
    const { addon, handle } = this.entry.engine;
    return Math.max(0, addon.bytesReceived(handle, this.rings.index, this.slot, this.generation));
  }

  #localEnd(): { readonly host: string; readonly port: number } {
    if (this.#local !== undefined) return this.#local;
    if (this.rings === undefined || this.state === 'closed') return NO_ADDRESS;
    const { addon, handle } = this.entry.engine;
    this.#local = addon.localAddress(handle, this.rings.index, this.slot, this.generation);
    return this.#local;
  }

  get bytesQueued(): number {
    return this.#queued;
  }

  get bufferedAmount(): number {
    this.#lookAtProgress();
    return Math.max(0, this.#queued - this.#taken);
  }

  send(...parts: Uint8Array[]): boolean {
    // All before the first: no half of it may leave.
    for (const part of parts) checkBytes('a part', part);
    let accepted = !this.#isClosing() && !this.ending?.finished;
    for (const part of parts) accepted = this.sendFrame(NO_HEADER, 0, part, 0, part.length);
    return accepted;
  }

  sendPinned(bytes: Uint8Array): boolean {
    checkBytes('bytes', bytes);
    const { rings } = this;
    if (this.state !== 'open' || rings === undefined || this.ending?.finished) {
      return this.sendFrame(NO_HEADER, 0, bytes, 0, bytes.length);
    }
    const { engine } = this.entry;
    const { commands } = rings;
    if (engine.reactors === 0 && !commands.hasSpilled) {
      commands.publish();
      engine.addon.sendNow(engine.handle, this.slot, this.generation, bytes, 0);
    } else {
      this.#queuePinned(commands, bytes, 0, bytes.length);
      if (!engine.inTurn) commands.publish();
    }
    this.#queued += bytes.length;
    this.#lookAtProgress();
    if (this.#queued === this.#taken) return true;
    this.#holdOn(bytes);
    this.wantDrain();
    return false;
  }

  #queuePinned(commands: CommandRing, bytes: Uint8Array, start: number, end: number): void {
    const { addon, blockAddress } = this.entry.engine;
    addon.addressOf(bytes, start, blockAddress);
    commands.sendPinned(this.slot, this.generation, blockAddress[0], blockAddress[1], end - start);
  }

  /** To what was queued last, until the kernel has taken it. */
  #holdOn(bytes: Uint8Array): void {
    this.#pinned ??= new PinnedBytes();
    this.#pinned.add(bytes, this.#queued);
  }

  /** @returns whether the kernel still reads JavaScript's memory. */
  releasePinned(): boolean {
    if (this.#pinned === undefined) return false;
    this.#lookAtProgress();
    if (this.#pinned.release(this.state === 'closed' ? Infinity : this.#taken)) return true;
    this.#pinned = undefined;
    return false;
  }

  sendFrame(header: Uint8Array, headerLength: number, bytes: Uint8Array, start: number, end: number): boolean {
    checkRange('header', header, 0, headerLength);
    checkRange('bytes', bytes, start, end);
    const { rings } = this;
    if (rings === undefined || !this.#maySend()) return this.#sendLater(header, headerLength, bytes, start, end);
    const { engine } = this.entry;
    const { commands } = rings;
    const length = end - start;
    let isPinned = false;
    if (length > 0 && bytes === engine.batchBytes) {
      engine.batchPassedOn = true;
      const reactor = engine.batchReactor;
      commands.sendReceived(this.slot, this.generation, header, headerLength, reactor, bytes, start, length);
    } else if (length <= BLOCK_BYTES) {
      commands.sendCopy(this.slot, this.generation, header, headerLength, bytes, start, end);
    } else if (isLanded(bytes)) {
      if (headerLength > 0) commands.sendCopy(this.slot, this.generation, header, headerLength, NO_HEADER, 0, 0);
      this.#queuePinned(commands, bytes, start, end);
      isPinned = true;
    } else {
      this.#sendBlock(commands, header, headerLength, bytes, start, end);
    }
    const accepted = this.#queuedMore(engine, commands, headerLength + length);
    if (isPinned) {
      this.#holdOn(bytes);
      engine.pinning.add(this);
    }
    return accepted;
  }

  sendNow(header: Uint8Array, headerLength: number, bytes: Uint8Array, start: number, end: number): boolean {
    checkRange('header', header, 0, headerLength);
    checkRange('bytes', bytes, start, end);
    const { rings } = this;
    if (rings === undefined || !this.#maySend()) return this.#sendLater(header, headerLength, bytes, start, end);
    const { engine } = this.entry;
    const { commands } = rings;
    const length = end - start;
    if (length <= BLOCK_BYTES) {
      commands.sendCopy(this.slot, this.generation, header, headerLength, bytes, start, end);
    } else if (engine.reactors === 0 && !commands.hasSpilled) {
      if (headerLength > 0) commands.sendCopy(this.slot, this.generation, header, headerLength, NO_HEADER, 0, 0);
      commands.publish();
      const all = start === 0 && end === bytes.length ? bytes : bytes.subarray(start, end);
      engine.addon.sendNow(engine.handle, this.slot, this.generation, all, 1);
    } else {
      this.#sendCopiedBlock(commands, header, headerLength, bytes, start, end);
    }
    return this.#queuedMore(engine, commands, headerLength + length);
  }

  #maySend(): boolean {
    return this.state === 'open' && (this.ending === undefined || !this.ending.finished);
  }

  /** @returns whether no more than `highWaterMark` waits. */
  #queuedMore(engine: NativeEngine, commands: CommandRing, bytes: number): boolean {
    if (!engine.inTurn) commands.publish();
    this.#queued += bytes;
    return this.#queued - this.#taken <= this.#marks.highWaterMark || this.#belowHighWaterMark();
  }

  wantDrain(): void {
    if (this.waitsForDrain) return;
    this.waitsForDrain = true;
    this.#command(CommandKind.wantDrain, 0);
  }

  pause(): void {
    this.#command(CommandKind.pause, 0);
  }

  resume(): void {
    this.#command(CommandKind.resume, 0);
  }

  setFraming(framing: Framing): void {
    const resolved = resolveFraming(framing);
    if (this.state === 'connecting') this.opening?.defer((connection) => connection.setFraming(framing));
    if (this.rings === undefined || this.state !== 'open') return;
    const { addon, handle } = this.entry.engine;
    addon.setFraming(handle, this.rings.index, this.slot, this.generation, toNativeFraming(resolved));
  }

  detach(): Promise<number> {
    const ending = this.beginEnding();
    if (this.state !== 'open' || ending.finished) {
      const why = ending.detaching ? 'it is being detached' : `it is ${ending.finished ? 'shut down' : this.state}`;
      return Promise.reject(new RingwayError('ERR_CANNOT_DETACH', [why]));
    }
    // Nothing more can be sent, or it would have to leave first, too.
    ending.finished = true;
    this.#command(CommandKind.detach, 0);
    return new Promise((resolve, reject) => {
      ending.detaching = { resolve, reject };
    });
  }

  /** The reactor's answer; −1: the connection goes on. */
  detached(fd: number, heldBytes: number): void {
    const ending = this.beginEnding();
    const { detaching } = ending;
    ending.detaching = undefined;
    if (fd >= 0) {
      detaching?.resolve(fd);
      return;
    }
    ending.finished = false;
    detaching?.reject(new RingwayError('ERR_CANNOT_DETACH', [`${heldBytes} bytes of an incomplete frame were read`]));
  }

  /** It is closed: nobody waits for its descriptor any more. */
  endDetaching(message: string): void {
    const { ending } = this;
    if (ending?.detaching === undefined) return;
    ending.detaching.reject(new RingwayError('ERR_CANNOT_DETACH', [message]));
    ending.detaching = undefined;
  }

  beginEnding(): Ending {
    this.ending ??= new Ending();
    return this.ending;
  }

  shutdown(): void {
    if (this.ending?.finished) return;
    if (this.state === 'connecting') this.opening?.defer((connection) => connection.shutdown());
    else this.#command(CommandKind.shutdown, 0);
    this.beginEnding().finished = true;
  }

  close(reason: CloseReason = this.ending?.peerEnded ? 'peer-closed' : 'closed', message?: string): void {
    this.#end(CommandKind.close, reason, message);
  }

  destroy(reason: CloseReason = 'closed', message?: string): void {
    this.#end(CommandKind.destroy, reason, message);
  }

  reset(reason: CloseReason = 'aborted', message?: string): void {
    this.#end(CommandKind.reset, reason, message);
  }

  abort(reason: CloseReason = 'aborted', message?: string): void {
    this.#end(CommandKind.abort, reason, message);
  }

  setNoDelay(on: boolean): void {
    if (this.state === 'connecting') this.opening?.defer((connection) => connection.setNoDelay(on));
    if (this.rings === undefined || this.state === 'closed') return;
    const { addon, handle } = this.entry.engine;
    addon.setNoDelay(handle, this.rings.index, this.slot, this.generation, on ? 1 : 0);
  }

  setKeepAlive(on: boolean, initialDelayMs = 0): void {
    if (this.state === 'connecting') this.opening?.defer((connection) => connection.setKeepAlive(on, initialDelayMs));
    if (this.rings === undefined || this.state === 'closed') return;
    const { addon, handle } = this.entry.engine;
    const seconds = Math.trunc(initialDelayMs / 1_000);
    addon.setKeepAlive(handle, this.rings.index, this.slot, this.generation, on ? 1 : 0, seconds);
  }

  ref(): void {
    if (this.referenced || this.state === 'closed') return;
    this.referenced = true;
    this.entry.engine.addRef();
  }

  unref(): void {
    if (!this.referenced || this.state === 'closed') return;
    this.referenced = false;
    this.entry.engine.dropRef();
  }

  /** The engine: the connection has its slot. */
  opened(rings: ReactorRings, slot: number, generation: number, address: string, port: number): void {
    this.rings = rings;
    this.slot = slot;
    this.generation = generation;
    if (address !== '') this.remoteAddress = address;
    if (port !== 0) this.remotePort = port;
    this.state = 'open';
    const { opening } = this;
    if (opening === undefined) return;
    if (!opening.abandoned) this.opening = undefined;
    const waited = this.waitsForDrain;
    this.waitsForDrain = false;
    this.ending = undefined;
    opening.run(this);
    if (!waited || this.waitsForDrain) return;
    this.waitsForDrain = true;
    this.#command(CommandKind.wantDrain, 0);
  }

  #isClosing(): boolean {
    return this.state === 'closing' || this.state === 'closed';
  }

  #sendLater(header: Uint8Array, headerLength: number, bytes: Uint8Array, start: number, end: number): boolean {
    if (this.state !== 'connecting' || this.ending?.finished) return false;
    const head = header.slice(0, headerLength);
    const copy = bytes.slice(start, end);
    this.opening?.defer((connection) => {
      connection.#queued -= head.length + copy.length;
      connection.sendFrame(head, head.length, copy, 0, copy.length);
    });
    this.#queued += head.length + copy.length;
    if (this.#queued <= this.#marks.highWaterMark) return true;
    this.waitsForDrain = true;
    return false;
  }

  #sendBlock(
    commands: CommandRing,
    header: Uint8Array,
    headerLength: number,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): void {
    const { addon } = this.entry.engine;
    const block = blockOf(bytes);
    if (block === undefined) {
      this.#sendCopiedBlock(commands, header, headerLength, bytes, start, end);
      return;
    }
    const { low, high } = block;
    const offset = block.offset + bytes.byteOffset + start;
    addon.refBlock(low, high);
    commands.sendBlock(this.slot, this.generation, header, headerLength, low, high, offset, end - start);
  }

  #sendCopiedBlock(
    commands: CommandRing,
    header: Uint8Array,
    headerLength: number,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): void {
    const { addon, blockAddress } = this.entry.engine;
    if (addon.makeBlock(bytes, start, end, blockAddress)) {
      commands.sendBlock(
        this.slot,
        this.generation,
        header,
        headerLength,
        blockAddress[0],
        blockAddress[1],
        0,
        end - start,
      );
    } else {
      this.abort('memory-full', `no memory for ${end - start} bytes to be sent`);
    }
  }

  #belowHighWaterMark(): boolean {
    this.#lookAtProgress();
    if (this.#queued - this.#taken <= this.#marks.highWaterMark) return true;
    this.wantDrain();
    return false;
  }

  /** The reactor says that it was at the low watermark. True when it still is, and the owner may be told. */
  drained(): boolean {
    this.waitsForDrain = false;
    if (this.releasePinned()) this.entry.engine.pinning.add(this);
    if (this.bufferedAmount <= this.#marks.lowWaterMark) return true;
    // More was queued while the event was on its way.
    this.wantDrain();
    return false;
  }

  /** The reactor keeps the low 32 bits of what the kernel took. */
  #lookAtProgress(): void {
    if (this.rings === undefined || this.state === 'closed') return;
    const delta = (this.rings.progress[this.slot] - this.#taken) >>> 0;
    if (delta <= this.#queued - this.#taken) this.#taken += delta;
  }

  #command(kind: number, argument: number): void {
    if (this.state === 'connecting') {
      this.opening?.defer((connection) => connection.#command(kind, argument));
      return;
    }
    if (this.state !== 'open' || this.rings === undefined) return;
    this.rings.commands.simple(kind, this.slot, this.generation, argument);
    if (!this.entry.engine.inTurn) this.rings.commands.publish();
  }

  #end(kind: number, reason: CloseReason, message: string | undefined): void {
    if (this.state === 'connecting') {
      this.opening?.abandon();
      this.state = 'closing';
      this.entry.engine.closeUnopened(this, reason, message);
      return;
    }
    const endsClosing = kind !== CommandKind.close && this.state === 'closing';
    if ((this.state !== 'open' && !endsClosing) || this.rings === undefined) return;
    if (this.state === 'open' && message !== undefined) this.beginEnding().message = message;
    this.state = 'closing';
    this.rings.commands.simple(kind, this.slot, this.generation, REASON_CODES.get(reason) ?? 0);
    if (!this.entry.engine.inTurn) this.rings.commands.publish();
  }
}
