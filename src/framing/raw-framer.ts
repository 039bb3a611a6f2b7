import { Framer } from './framer.js';

/** Whatever was received at once is a frame. */
export class RawFramer extends Framer {
  next(_bytes: Uint8Array, start: number, end: number): number {
    if (end === start) return this.needMore(1, 0);
    return this.frame(end - start, 0, end - start);
  }
}
