/**
 * Responses that wait because their client has not granted them: those of backends without stream windows, which send freely.
 * Copies, by the slot of their task, each stream in its order.
 */

/** What a response costs beside its bytes. */
const OVERHEAD_BYTES = 128;

export interface HeldResponse {
  /** Of the frame; that of a final response lacks `more`. */
  readonly flags: number;
  readonly status: number;
  readonly bytes: Uint8Array;
}

interface HeldStream {
  readonly parts: HeldResponse[];
  /** The first that still waits. */
  next: number;
  final: HeldResponse | undefined;
}

export class HeldStreams {
  /** Of all that wait, with what they cost beside. */
  bytes = 0;
  readonly #streams = new Map<number, HeldStream>();

  get size(): number {
    return this.#streams.size;
  }

  has(slot: number): boolean {
    return this.#streams.has(slot);
  }

  /** A partial response, behind those that wait already. */
  add(slot: number, flags: number, bytes: Uint8Array): void {
    let stream = this.#streams.get(slot);
    if (stream === undefined) this.#streams.set(slot, (stream = { parts: [], next: 0, final: undefined }));
    stream.parts.push(this.#copy(flags, 0, bytes));
  }

  /** The final response of a stream that waits. */
  end(slot: number, status: number, flags: number, bytes: Uint8Array): void {
    this.#streams.get(slot)!.final = this.#copy(flags, status, bytes);
  }

  /** Whether a partial response of it waits. */
  waits(slot: number): boolean {
    const stream = this.#streams.get(slot);
    return stream !== undefined && stream.next < stream.parts.length;
  }

  /** The next one; there must be one. */
  take(slot: number): HeldResponse {
    const stream = this.#streams.get(slot)!;
    const part = stream.parts[stream.next++];
    this.bytes -= costOf(part);
    // What was taken is let go of, though not with a shift of all behind it for each.
    if (stream.next * 2 > stream.parts.length) {
      stream.parts.splice(0, stream.next);
      stream.next = 0;
    }
    return part;
  }

  /** Nothing of it waits any longer. @returns its final response, if that had come. */
  drop(slot: number): HeldResponse | undefined {
    const stream = this.#streams.get(slot);
    if (stream === undefined) return undefined;
    this.#streams.delete(slot);
    for (let i = stream.next; i < stream.parts.length; i++) this.bytes -= costOf(stream.parts[i]);
    if (stream.final !== undefined) this.bytes -= costOf(stream.final);
    return stream.final;
  }

  #copy(flags: number, status: number, bytes: Uint8Array): HeldResponse {
    this.bytes += bytes.length + OVERHEAD_BYTES;
    return { flags, status, bytes: new Uint8Array(bytes) };
  }
}

function costOf({ bytes }: HeldResponse): number {
  return bytes.length + OVERHEAD_BYTES;
}
