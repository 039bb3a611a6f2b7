/**
 * What came in during one turn, by connection: several frames of one become one chunk, and the frames of all, which lie
 * side by side in the engine's ring, are copied out together.
 */
import { ChunkSlab } from './chunk-slab.js';
import type { Transport } from './transport.js';

export class Arrivals {
  /** Of these three the first `#length` count: an array that is emptied by its length gives its memory away, each turn. */
  readonly #transports: (Transport | undefined)[] = [];
  readonly #starts: number[] = [];
  readonly #ends: number[] = [];
  /** Further pieces of the same connection: index, start, end. */
  readonly #further: number[] = [];
  readonly #slab = new ChunkSlab();
  #bytes: Uint8Array | undefined = undefined;
  #length = 0;

  get isEmpty(): boolean {
    return this.#length === 0;
  }

  /** `bytes[start, end)` must stay as they are until `take`; false when they do not lie where those before lie. */
  add(transport: Transport, bytes: Uint8Array, start: number, end: number): boolean {
    if (this.#length === 0) this.#bytes = bytes;
    else if (bytes !== this.#bytes) return false;
    const at = transport.arrival;
    if (at < 0) {
      const next = this.#length++;
      transport.arrival = next;
      this.#transports[next] = transport;
      this.#starts[next] = start;
      this.#ends[next] = end;
    } else if (this.#further.length === 0 && this.#ends[at] === start) {
      this.#ends[at] = end;
    } else {
      this.#further.push(at, start, end);
    }
    return true;
  }

  /** Hands every connection's chunk over, in the order in which their first bytes came. */
  take(deliver: (transport: Transport, chunk: Buffer) => void): void {
    const length = this.#length;
    const bytes = this.#bytes;
    if (length === 0 || bytes === undefined) return;
    if (this.#further.length > 0 || !this.#takeTogether(bytes, length, deliver)) {
      for (let i = 0; i < length; i++) deliver(this.#taken(i), this.#chunkOf(bytes, i));
      if (this.#further.length > 0) this.#further.length = 0;
    }
    this.#length = 0;
    this.#bytes = undefined;
  }

  /** One copy of everything between the first byte and the last. */
  #takeTogether(bytes: Uint8Array, length: number, deliver: (transport: Transport, chunk: Buffer) => void): boolean {
    const first = this.#starts[0];
    const last = this.#ends[length - 1];
    let used = 0;
    for (let i = 0; i < length; i++) used += this.#ends[i] - this.#starts[i];
    // Where the ring wrapped, the last piece lies before the first.
    if (last < first || !ChunkSlab.isOneCopy(last - first, used)) return false;
    const place = this.#slab.reserve(last - first);
    const slab = this.#slab.slab;
    copy(bytes, first, last, slab, place);
    for (let i = 0; i < length; i++) {
      deliver(this.#taken(i), slab.subarray(place + this.#starts[i] - first, place + this.#ends[i] - first));
    }
    return true;
  }

  #taken(index: number): Transport {
    const transport = this.#transports[index]!;
    this.#transports[index] = undefined;
    transport.arrival = -1;
    return transport;
  }

  #chunkOf(bytes: Uint8Array, index: number): Buffer {
    const start = this.#starts[index];
    const end = this.#ends[index];
    const further = this.#further;
    let length = end - start;
    for (let i = 0; i < further.length; i += 3) if (further[i] === index) length += further[i + 2] - further[i + 1];
    const chunk = this.#slab.allocate(length);
    copy(bytes, start, end, chunk, 0);
    let at = end - start;
    if (at === length) return chunk;
    for (let i = 0; i < further.length; i += 3) {
      if (further[i] !== index) continue;
      copy(bytes, further[i + 1], further[i + 2], chunk, at);
      at += further[i + 2] - further[i + 1];
    }
    return chunk;
  }
}

/** Measured on Node 20: a loop is faster than a view and `set` up to about this many bytes. */
const BY_LOOP_BYTES = 48;

function copy(from: Uint8Array, start: number, end: number, to: Uint8Array, at: number): void {
  if (end - start <= BY_LOOP_BYTES) {
    for (let i = start; i < end; i++) to[at++] = from[i];
  } else {
    to.set(from.subarray(start, end), at);
  }
}
