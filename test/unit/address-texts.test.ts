import { describe, expect, it } from 'vitest';
import { AddressTexts } from '../../src/engine/address-texts.js';

/** Among other bytes, as addresses lie in a ring. */
function read(texts: AddressTexts, address: string): string {
  const bytes = new TextEncoder().encode(`<${address}>`);
  return texts.take(bytes, 1, bytes.length - 1);
}

describe('AddressTexts', () => {
  it('reads each address as it is, also those of one slot', () => {
    const texts = new AddressTexts();
    const addresses = Array.from({ length: 1_000 }, (_, i) => `10.0.${i >> 8}.${i & 255}`);
    // The second time each meets what another left in its slot, or itself.
    for (const address of [...addresses, ...addresses, '', '::1', '::ffff:10.0.0.1', '']) {
      expect(read(texts, address)).toBe(address);
    }
  });
});
