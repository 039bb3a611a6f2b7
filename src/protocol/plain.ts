/** The `plain` client protocol: a u32 big-endian length and that many bytes of payload, both ways, answered in request order. */
import type { LengthFieldFraming } from '../framing/framing.js';

export const PLAIN_HEADER_BYTES = 4;

/** Frames are the payloads; the length field is not delivered. */
export function plainFraming(maxFrameLength: number): LengthFieldFraming {
  return { format: 'length-field', lengthFieldLength: 4, initialBytesToStrip: PLAIN_HEADER_BYTES, maxFrameLength };
}
