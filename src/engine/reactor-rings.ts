/** One reactor as JavaScript sees it: its rings, and the connections in its slots. */
import { CommandRing } from './command-ring.js';
import { Control, EVENT_BYTES, type RingMemory } from './native.js';
import type { NativeConnection } from './native-connection.js';

/** Bytes of received frames that may go back to the reactor once these command rings were read up to here. */
interface Release {
  readonly position: number;
  readonly heads: readonly number[];
}

/** Used bytes of the event ring from which releasing is looked after even when no event comes. */
const EAGER_RELEASE_BYTES = EVENT_BYTES / 4;

export class ReactorRings {
  readonly index: number;
  // What counts up for ever is read as a signed number: V8 keeps those in a register, and one of 2³¹ and more on the heap.
  readonly control: Int32Array;
  readonly descriptors: Int32Array;
  readonly bytes: Uint8Array;
  readonly progress: Uint32Array;
  readonly commands: CommandRing;
  /** By slot. */
  readonly connections: (NativeConnection | undefined)[] = [];
  /** The event ring's bytes up to here have been looked at: of 32 bits, signed. */
  position = 0;
  #releases: Release[] = [];

  constructor(index: number, memory: RingMemory, flush: () => void) {
    this.index = index;
    this.control = new Int32Array(memory.control.buffer);
    this.descriptors = new Int32Array(memory.descriptors.buffer);
    this.bytes = memory.bytes;
    this.progress = memory.progress;
    this.commands = new CommandRing(memory, flush);
  }

  /** The bytes from there on have not been looked at. */
  stopBefore(position: number): void {
    const start = position & ~7;
    if (((this.position - start) | 0) > 0) this.position = start;
  }

  /** What was looked at goes back to the reactor, at once or when every reactor has taken the commands that refer to it. */
  release(passedOn: boolean, all: readonly ReactorRings[]): void {
    if (passedOn) {
      this.#releases.push({ position: this.position, heads: all.map((rings) => rings.commands.head) });
    } else if (this.#releases.length === 0) {
      this.#giveBack(this.position);
    } else {
      const last = this.#releases[this.#releases.length - 1];
      this.#releases[this.#releases.length - 1] = { position: this.position, heads: last.heads };
    }
  }

  /** Looks after releases that waited. Answers whether many bytes still wait. */
  releaseTaken(all: readonly ReactorRings[]): boolean {
    while (this.#releases.length > 0 && hasTaken(this.#releases[0], all)) {
      this.#giveBack(this.#releases[0].position);
      this.#releases.shift();
    }
    if (this.#releases.length === 0) return false;
    return (this.position - this.control[Control.bytesTail]) >>> 0 > EAGER_RELEASE_BYTES;
  }

  /** Never backwards: where both sides share a thread the reactor may have released more. */
  #giveBack(position: number): void {
    if (((position - this.control[Control.bytesTail]) | 0) > 0) {
      Atomics.store(this.control, Control.bytesTail, position);
    }
  }
}

function hasTaken(release: Release, all: readonly ReactorRings[]): boolean {
  for (let i = 0; i < all.length; i++) {
    if (!all[i].commands.hasTaken(release.heads[i])) return false;
  }
  return true;
}
