// What JavaScript gives back of the event ring's bytes.
import { expect, test } from 'vitest';
import { allocateRings, Control } from '../../src/engine/native.js';
import { ReactorRings } from '../../src/engine/reactor-rings.js';

test('a batch that ends early gives back nothing of the frame behind it, however close it lies', () => {
  const rings = new ReactorRings(0, allocateRings(), () => undefined);
  // A frame at [2, 3) was looked at, the next one lies at [5, 6): both within the first 8 bytes.
  rings.position = 8;
  rings.stopBefore(5);
  rings.release(false, [rings]);
  expect(rings.control[Control.bytesTail]).toBe(0);
  // Where it lies further behind, everything before it goes back.
  rings.position = 8;
  rings.stopBefore(16);
  rings.release(false, [rings]);
  expect(rings.control[Control.bytesTail]).toBe(8);
});

test('positions go on behind 32 bits', () => {
  const rings = new ReactorRings(0, allocateRings(), () => undefined);
  rings.control[Control.bytesTail] = 0xffff_fff0;
  rings.position = 0;
  rings.stopBefore(0xffff_fffd);
  expect(rings.position).toBe(0xffff_fff8 | 0);
  rings.release(false, [rings]);
  expect(rings.control[Control.bytesTail]).toBe(0xffff_fff8 | 0);
});
