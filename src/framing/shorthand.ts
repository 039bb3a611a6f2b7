import { RingwayError, shown } from '../errors.js';
import type { Framing } from './framing.js';

/**
 * Names for the usual framings. `length`: a u32 big-endian length and that many bytes, of which the length is not delivered.
 * `line`: text up to LF, a CR before it dropped, a last line without LF counts at FIN. `varint`: protobuf's length prefix.
 * `raw`: whatever was received at once.
 */
export type FramingName = 'length' | 'line' | 'varint' | 'raw';

/** @throws RingwayError `ERR_INVALID_FRAMING` */
export function framingOf(framing: Framing | FramingName, maxFrameLength?: number): Framing {
  switch (framing) {
    case 'length':
      return { format: 'length-field', lengthFieldLength: 4, initialBytesToStrip: 4, maxFrameLength };
    case 'line':
      return { format: 'delimiter', stripCarriageReturn: true, acceptUnterminated: true, maxFrameLength };
    case 'varint':
      return { format: 'varint', maxFrameLength };
    case 'raw':
      return { format: 'raw' };
  }
  if (typeof framing !== 'object' || framing === null) {
    const right = 'it must be length, line, varint, raw, or an object with a format';
    throw new RingwayError('ERR_INVALID_FRAMING', ['framing', shown(framing), right]);
  }
  if (maxFrameLength === undefined) return framing;
  const right = 'it stands in the framing where that is an object: framing.maxFrameLength';
  throw new RingwayError('ERR_INVALID_FRAMING', ['maxFrameLength', shown(maxFrameLength), right]);
}
