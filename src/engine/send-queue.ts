/**
 * What a portable connection has still to give to its socket, in order: pieces, and behind them the block in which short parts
 * are gathered. It knows no limits and no socket.
 */
import { LARGEST_BLOCK } from './block-pool.js';
import type { ConnectionHost } from './connection-host.js';

/** Shorter parts are gathered in one block; a longer one is sent as a piece of its own. */
export const GATHERED_PART_BYTES = 16_384;
/** The first block for what is gathered. */
const FIRST_BLOCK_BYTES = 4_096;
/** Below it a loop beats making a view to copy from. */
const SHORT_COPY = 16;
const NOTHING = new Uint8Array(0);

export class SendQueue {
  readonly #host: ConnectionHost;
  #pieces: Uint8Array[] = [];
  #head = 0;
  #gathered: Buffer | undefined = undefined;
  #gatheredLength = 0;

  constructor(host: ConnectionHost) {
    this.#host = host;
  }

  get hasPieces(): boolean {
    return this.#head < this.#pieces.length;
  }

  get gatheredLength(): number {
    return this.#gatheredLength;
  }

  /** Copies what is short, and what is long but for the frame being delivered. */
  add(bytes: Uint8Array, start: number, end: number): void {
    const length = end - start;
    if (length > GATHERED_PART_BYTES) {
      this.#addLong(bytes, start, end);
      return;
    }
    const at = this.#gatheredLength;
    let block = this.#gathered;
    if (block === undefined || at + length > block.length) {
      block = this.#growGathered(length);
      this.#copy(bytes, start, end, block, this.#gatheredLength);
      this.#gatheredLength += length;
      return;
    }
    this.#copy(bytes, start, end, block, at);
    this.#gatheredLength = at + length;
  }

  /** Copies, the frame being delivered too. */
  addCopy(bytes: Uint8Array, start: number, end: number): void {
    if (end - start <= GATHERED_PART_BYTES) {
      this.add(bytes, start, end);
      return;
    }
    const copy = Buffer.allocUnsafeSlow(end - start);
    copy.set(bytes.subarray(start, end));
    this.addPinned(copy);
  }

  /** Nothing is copied: the caller leaves the bytes alone until they are sent. */
  addPinned(bytes: Uint8Array): void {
    if (this.#gatheredLength > 0) this.#queueGathered();
    this.#pieces.push(bytes);
  }

  #copy(bytes: Uint8Array, start: number, end: number, block: Buffer, at: number): void {
    if (end - start <= SHORT_COPY) {
      while (start < end) block[at++] = bytes[start++];
    } else {
      block.set(new Uint8Array(bytes.buffer, bytes.byteOffset + start, end - start), at);
    }
  }

  /** A block with room for `length` more; a full one goes to the pieces. */
  #growGathered(length: number): Buffer {
    const { blocks } = this.#host;
    const old = this.#gathered;
    const wanted = this.#gatheredLength + length;
    if (old === undefined || wanted > LARGEST_BLOCK) {
      this.#queueGathered();
      return (this.#gathered = blocks.acquire(Math.max(length, FIRST_BLOCK_BYTES)));
    }
    const block = blocks.acquire(wanted);
    old.copy(block, 0, 0, this.#gatheredLength);
    blocks.release(old);
    return (this.#gathered = block);
  }

  #queueGathered(): void {
    if (this.#gathered === undefined) return;
    this.#pieces.push(this.#gathered.subarray(0, this.#gatheredLength));
    this.#gathered = undefined;
    this.#gatheredLength = 0;
  }

  /** Long parts are not gathered: the frame being delivered is used where it lies, anything else is copied once. */
  #addLong(bytes: Uint8Array, start: number, end: number): void {
    if (bytes === this.#host.deliveredBytes) {
      this.#host.deliveredPinned = true;
      this.addPinned(bytes.subarray(start, end));
    } else {
      this.addCopy(bytes, start, end);
    }
  }

  /** The first piece, or the first `most` bytes of it. */
  takePiece(most: number): Uint8Array {
    const piece = this.#pieces[this.#head];
    if (piece.length > most) {
      this.#pieces[this.#head] = piece.subarray(most);
      return piece.subarray(0, most);
    }
    this.#pieces[this.#head++] = NOTHING;
    if (this.#head === this.#pieces.length) {
      this.#pieces.length = 0;
      this.#head = 0;
    }
    return piece;
  }

  /** The block, whose first `gatheredLength` bytes count; it is the caller's to release. */
  takeGathered(): Buffer {
    const block = this.#gathered!;
    this.#gathered = undefined;
    this.#gatheredLength = 0;
    return block;
  }

  clear(): void {
    this.#pieces = [];
    this.#head = 0;
    if (this.#gathered !== undefined) this.#host.blocks.release(this.takeGathered());
  }
}
