/**
 * Bytes in, frames out; no I/O, no clock, no allocation per frame. The twin of native/framer/framer.h: the same bytes give
 * the same answers, and tests hold the two together.
 *
 * A framer looks at `bytes[start, end)`, which begins at a frame's first byte. The caller calls `next` again with the rest
 * after each frame; when it answers `needMore` the caller keeps the bytes and calls again with the same bytes and more
 * behind them (the framer remembers how far it has looked, so nothing is scanned twice). The answer stands in the
 * framer's own fields until the next call.
 */
export const FrameStatus = {
  /** A whole frame: `bytes[start + offset, start + offset + length)`; `consumed` bytes are done with. */
  frame: 0,
  /** Incomplete; `needed` is the total number of bytes at which calling again makes sense. */
  needMore: 1,
  /** Over `maxFrameLength`: `declared` says how long the payload would be. Final. */
  tooLong: 2,
  /** A negative or absurd length: `declared` is what stood there. Final. */
  malformed: 3,
} as const;

export abstract class Framer {
  consumed = 0;
  offset = 0;
  length = 0;
  needed = 1;
  /** The whole frame's size on the wire once it is known, else 0: how long a partial frame may take depends on it. */
  frameBytes = 0;
  declared = 0;

  /** @returns one of `FrameStatus`. */
  abstract next(bytes: Uint8Array, start: number, end: number): number;

  /** FIN came with these bytes left (never none). `frame`: they are a last frame; otherwise a truncated one. */
  finish(_bytes: Uint8Array, _start: number, _end: number): number {
    return FrameStatus.needMore;
  }

  protected frame(consumed: number, offset: number, length: number): number {
    this.consumed = consumed;
    this.frameBytes = consumed;
    this.offset = offset;
    this.length = length;
    return FrameStatus.frame;
  }

  protected needMore(needed: number, frameBytes: number): number {
    this.needed = needed;
    this.frameBytes = frameBytes;
    return FrameStatus.needMore;
  }

  protected tooLong(declared: number): number {
    this.declared = declared;
    return FrameStatus.tooLong;
  }

  protected malformed(declared: number): number {
    this.declared = declared;
    return FrameStatus.malformed;
  }
}
