/**
 * Commands to one reactor, written into memory that it reads; no call crosses the bridge. What finds no room is kept, in
 * order, until there is some.
 *
 *     words:  …|####|#######|………………………|      free = size − (head − tail)
 *                 tail (reactor)  head
 */
import {
  COMMAND_WORDS,
  CommandKind,
  Control,
  HEAD_WORDS,
  PART_WORDS,
  type RingMemory,
  SEND_BLOCK_WORDS,
} from './native.js';

const MASK = COMMAND_WORDS - 1;
/** Measured on Node 20: 1.05 ns per byte in a loop, 13 ns for `set` of 64 bytes, 39 ns to make the view that `set` needs. */
const WHOLE_BY_LOOP_BYTES = 12;
const PART_BY_LOOP_BYTES = 48;
/** Of the header that most framings have, and of the one that is copied by words. */
const LENGTH_BYTES = 4;
const HEADER_WORDS = 4;
/** Inline bytes that share a part: from 8 KB on the reactor would give them to the kernel by themselves. */
const MAX_RUN_BYTES = 8_000;
const NO_PLACE = -1;
/** Looked up once: V8 11 asks for it anew at each call of `bytes.set`, 2 ns. */
const { set } = Uint8Array.prototype;
/** A command's first word: its size in words, and above that its kind. */
const KIND_SHIFT = 24;
const SIZE_MASK = (1 << KIND_SHIFT) - 1;

export class CommandRing {
  readonly #control: Int32Array;
  /** Signed: what is read from it stays a whole number of 32 bits in V8's code; unsigned it may become a float. */
  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;
  /** Asks the reactor to take commands now. */
  readonly #flush: () => void;
  /** Words written and taken so far: of 32 bits, signed, as V8 keeps larger numbers on its heap. */
  #head = 0;
  #tail = 0;
  /** The first header of 16 bytes that was sent, most likely the one that all RMP frames share, and the same as words. */
  #header: Uint8Array | undefined = undefined;
  #headerWords: Uint32Array = new Uint32Array(HEADER_WORDS);
  /** The newest command, where it is a send and not published: what is sent to the same connection next joins it. */
  #run = NO_PLACE;
  #runSlot = 0;
  #runGeneration = 0;
  /** The last part of the run, where it passes nothing on: more inline bytes may follow those it has. */
  #lastPart = NO_PLACE;
  /** Whole commands that found no room. While there are any, later ones queue behind them. */
  #spilled: Uint32Array[] = [];

  constructor(memory: RingMemory, flush: () => void) {
    this.#control = new Int32Array(memory.control.buffer);
    this.#words = new Int32Array(memory.commands.buffer);
    this.#bytes = new Uint8Array(memory.commands.buffer);
    this.#flush = flush;
  }

  get head(): number {
    return this.#head;
  }

  get hasSpilled(): boolean {
    return this.#spilled.length > 0;
  }

  /** Whether the reactor took everything up to `head`. */
  hasTaken(head: number): boolean {
    return ((Atomics.load(this.#control, Control.commandTail) - head) | 0) >= 0;
  }

  /**
   * Where both sides share a thread, between two turns: an empty ring begins at its start again, so that the commands of a
   * turn lie in the same few lines of the cache as those of the turn before.
   */
  startOver(): void {
    this.#endRun();
    const place = this.#head & MASK;
    if (place === 0 || Atomics.load(this.#control, Control.commandTail) !== this.#head) return;
    this.#head = (this.#head + COMMAND_WORDS - place) | 0;
    this.#tail = this.#head;
    Atomics.store(this.#control, Control.commandTail, this.#head);
    Atomics.store(this.#control, Control.commandHead, this.#head);
  }

  /** Makes what was written visible to the reactor. */
  publish(): void {
    this.#endRun();
    if (this.#spilled.length > 0) this.#unspill();
    Atomics.store(this.#control, Control.commandHead, this.#head);
  }

  #endRun(): void {
    this.#run = NO_PLACE;
    this.#lastPart = NO_PLACE;
  }

  simple(kind: number, slot: number, generation: number, argument: number): void {
    const at = this.#reserve(4);
    if (at < 0) {
      this.#spill(kind, slot, generation, [argument], undefined, 0, undefined, 0, 0);
      return;
    }
    this.#begin(at, kind, 4, slot, generation);
    this.#words[at + 3] = argument;
  }

  /** `header[0, headerLength)` and then bytes that lie in reactor `reactor`'s event ring. */
  sendReceived(
    slot: number,
    generation: number,
    header: Uint8Array,
    headerLength: number,
    reactor: number,
    ring: Uint8Array,
    start: number,
    length: number,
  ): void {
    const part = this.#newPart(slot, generation, headerLength);
    if (part < 0) {
      this.#spill(CommandKind.send, slot, generation, [0, 0, 0, 0], header, headerLength, ring, start, start + length);
      return;
    }
    this.#lastPart = NO_PLACE;
    const words = this.#words;
    words[part] = headerLength;
    words[part + 1] = reactor;
    words[part + 2] = start;
    words[part + 3] = length;
    this.#copyHeader(header, headerLength, part + PART_WORDS);
  }

  /** `header[0, headerLength)` and then `bytes[start, end)`, all copied into the ring. */
  sendCopy(
    slot: number,
    generation: number,
    header: Uint8Array,
    headerLength: number,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): void {
    const inline = headerLength + end - start;
    let place = this.#moreOfPart(slot, generation, inline);
    if (place < 0) {
      const part = this.#newPart(slot, generation, inline);
      if (part < 0) {
        this.#spill(CommandKind.send, slot, generation, [0, 0, 0, 0], header, headerLength, bytes, start, end);
        return;
      }
      this.#lastPart = part;
      this.#words[part] = inline;
      this.#words[part + 3] = 0;
      place = (part + PART_WORDS) << 2;
    }
    this.#copyInline(header, headerLength, bytes, start, end, place);
  }

  /** A part with so many inline bytes: of the run, if it is this connection's, else of a new command. −1: there is no room. */
  #newPart(slot: number, generation: number, inline: number): number {
    const size = PART_WORDS + ((inline + 3) >> 2);
    const part = this.#extend(slot, generation, size);
    if (part >= 0) return part;
    const at = this.#reserve(HEAD_WORDS + size);
    if (at < 0) return NO_PLACE;
    this.#begin(at, CommandKind.send, HEAD_WORDS + size, slot, generation);
    this.#run = at;
    this.#runSlot = slot;
    this.#runGeneration = generation;
    return at + HEAD_WORDS;
  }

  /** Where so many bytes more of the run's last part go, right behind those it has; −1: nowhere. In bytes. */
  #moreOfPart(slot: number, generation: number, inline: number): number {
    const part = this.#lastPart;
    if (part < 0) return NO_PLACE;
    const words = this.#words;
    const had = words[part];
    const all = had + inline;
    if (all > MAX_RUN_BYTES || this.#extend(slot, generation, ((all + 3) >> 2) - ((had + 3) >> 2)) < 0) return NO_PLACE;
    words[part] = all;
    return ((part + PART_WORDS) << 2) + had;
  }

  /** So many words more for the run, if it is this connection's: where they begin; else −1. */
  #extend(slot: number, generation: number, more: number): number {
    const at = this.#run;
    if (at < 0 || slot !== this.#runSlot || generation !== this.#runGeneration) return NO_PLACE;
    const words = this.#words;
    const size = words[at] & SIZE_MASK;
    if (at + size + more > COMMAND_WORDS || more > this.#free()) return NO_PLACE;
    this.#head = (this.#head + more) | 0;
    words[at] = (size + more) | (CommandKind.send << KIND_SHIFT);
    return at + size;
  }

  #copyInline(
    header: Uint8Array,
    headerLength: number,
    bytes: Uint8Array,
    start: number,
    end: number,
    to: number,
  ): void {
    if (headerLength === LENGTH_BYTES) {
      const all = this.#bytes;
      all[to] = header[0];
      all[to + 1] = header[1];
      all[to + 2] = header[2];
      all[to + 3] = header[3];
    } else if ((to & 3) === 0) {
      this.#copyHeader(header, headerLength, to >> 2);
    } else {
      this.#copy(header, 0, headerLength, to);
    }
    this.#copy(bytes, start, end, to + headerLength);
  }

  /** `header[0, headerLength)` and then bytes of a block; the command owns one reference of it. */
  sendBlock(
    slot: number,
    generation: number,
    header: Uint8Array,
    headerLength: number,
    low: number,
    high: number,
    offset: number,
    length: number,
  ): void {
    const size = SEND_BLOCK_WORDS + ((headerLength + 3) >> 2);
    const at = this.#reserve(size);
    if (at < 0) {
      const fields = [0, low, high, offset, length];
      this.#spill(CommandKind.sendBlock, slot, generation, fields, header, headerLength, undefined, 0, 0);
      return;
    }
    this.#begin(at, CommandKind.sendBlock, size, slot, generation);
    const words = this.#words;
    words[at + 3] = headerLength;
    words[at + 4] = low;
    words[at + 5] = high;
    words[at + 6] = offset;
    words[at + 7] = length;
    this.#copyHeader(header, headerLength, at + SEND_BLOCK_WORDS);
  }

  /** Bytes of JavaScript's own memory: whoever gives them away holds on to them until the kernel took them. */
  sendPinned(slot: number, generation: number, low: number, high: number, length: number): void {
    const at = this.#reserve(6);
    if (at < 0) {
      this.#spill(CommandKind.sendPinned, slot, generation, [low, high, length], undefined, 0, undefined, 0, 0);
      return;
    }
    this.#begin(at, CommandKind.sendPinned, 6, slot, generation);
    const words = this.#words;
    words[at + 3] = low;
    words[at + 4] = high;
    words[at + 5] = length;
  }

  #begin(at: number, kind: number, size: number, slot: number, generation: number): void {
    const words = this.#words;
    words[at] = size | (kind << KIND_SHIFT);
    words[at + 1] = slot;
    words[at + 2] = generation;
  }

  #copyHeader(header: Uint8Array, headerLength: number, at: number): void {
    if (header === this.#header && headerLength === HEADER_WORDS * 4) {
      const from = this.#headerWords;
      const words = this.#words;
      words[at] = from[0];
      words[at + 1] = from[1];
      words[at + 2] = from[2];
      words[at + 3] = from[3];
      return;
    }
    this.#copy(header, 0, headerLength, at << 2);
    if (this.#header === undefined && isFourWords(header, headerLength)) {
      this.#header = header;
      this.#headerWords = new Uint32Array(header.buffer, header.byteOffset, HEADER_WORDS);
    }
  }

  #copy(from: Uint8Array, start: number, end: number, to: number): void {
    const isWhole = start === 0 && end === from.length;
    if (end - start > (isWhole ? WHOLE_BY_LOOP_BYTES : PART_BY_LOOP_BYTES)) {
      set.call(this.#bytes, isWhole ? from : from.subarray(start, end), to);
    } else {
      const bytes = this.#bytes;
      for (let i = start; i < end; i++) bytes[to++] = from[i];
    }
  }

  /** The place of `size` contiguous words, or −1. */
  #reserve(size: number): number {
    this.#endRun();
    if (this.#spilled.length > 0) return -1;
    let place = this.#head & MASK;
    const toEnd = COMMAND_WORDS - place;
    const needed = toEnd < size ? toEnd + size : size;
    if (this.#free() < needed && !this.#makeRoom(needed)) return -1;
    if (toEnd < size) {
      this.#wrap(place);
      place = 0;
    }
    this.#head = (this.#head + size) | 0;
    return place;
  }

  #free(): number {
    return COMMAND_WORDS - ((this.#head - this.#tail) | 0);
  }

  #makeRoom(needed: number): boolean {
    this.#tail = Atomics.load(this.#control, Control.commandTail);
    if (this.#free() >= needed) return true;
    Atomics.store(this.#control, Control.commandHead, this.#head);
    this.#flush();
    this.#tail = Atomics.load(this.#control, Control.commandTail);
    return this.#free() >= needed;
  }

  #wrap(place: number): void {
    const rest = COMMAND_WORDS - place;
    this.#words[place] = rest | (CommandKind.wrap << KIND_SHIFT);
    this.#head = (this.#head + rest) | 0;
  }

  #spill(
    kind: number,
    slot: number,
    generation: number,
    fields: readonly number[],
    header: Uint8Array | undefined,
    headerLength: number,
    bytes: Uint8Array | undefined,
    start: number,
    end: number,
  ): void {
    const inline = headerLength + end - start;
    const at = 3 + fields.length;
    const command = new Uint32Array(at + ((inline + 3) >> 2));
    command[0] = command.length | (kind << KIND_SHIFT);
    command[1] = slot;
    command[2] = generation;
    command.set(fields, 3);
    if (kind === CommandKind.send || kind === CommandKind.sendBlock) command[3] = inline;
    const view = new Uint8Array(command.buffer);
    if (header) view.set(header.subarray(0, headerLength), at << 2);
    if (bytes) view.set(bytes.subarray(start, end), (at << 2) + headerLength);
    this.#spilled.push(command);
  }

  #unspill(): void {
    const spilled = this.#spilled;
    this.#spilled = [];
    let done = 0;
    for (; done < spilled.length; done++) {
      const place = this.#reserve(spilled[done].length);
      if (place < 0) break;
      this.#words.set(spilled[done], place);
    }
    if (done < spilled.length) this.#spilled = done === 0 ? spilled : spilled.slice(done);
  }
}

function isFourWords(header: Uint8Array, headerLength: number): boolean {
  return header.length === HEADER_WORDS * 4 && headerLength === header.length && header.byteOffset % 4 === 0;
}
