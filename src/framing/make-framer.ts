import { DelimiterFramer } from './delimiter-framer.js';
import type { Framer } from './framer.js';
import { LengthFieldFramer } from './length-field-framer.js';
import { RawFramer } from './raw-framer.js';
import type { ResolvedFraming } from './validate-framing.js';
import { VarintFramer } from './varint-framer.js';

/** A framer for one stream of bytes (it remembers how far it has looked). */
export function makeFramer(framing: ResolvedFraming): Framer {
  switch (framing.format) {
    case 'length-field':
      return new LengthFieldFramer(framing);
    case 'delimiter':
      return new DelimiterFramer(framing);
    case 'varint':
      return new VarintFramer(framing.maxFrameLength);
    case 'raw':
      return new RawFramer();
  }
}
