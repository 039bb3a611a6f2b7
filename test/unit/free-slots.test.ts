// The free places of a table: against a plain set, and that neighbours stay neighbours.
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { FreeSlots } from '../../src/gateway/free-slots.js';

/** Ends with the places that are taken. */
function takeAndGive(slots: FreeSlots, taken: number[], steps: number): number[] {
  for (let step = 0; step < steps; step++) {
    // Answered in an order of its own, 16 at a time, as clients' batches are.
    const at = (step * 7919) % Math.max(1, taken.length - 16);
    for (const place of taken.splice(at, 16)) slots.give(place);
    for (let i = 0; i < 16; i++) taken.push(slots.take());
  }
  return taken;
}

describe('FreeSlots', () => {
  it('never hands out a place that is taken, whatever is given back and when', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(9), { maxLength: 400 }), (steps) => {
        const slots = new FreeSlots(64);
        const taken: number[] = [];
        for (const step of steps) {
          if (step < 6 || taken.length === 0) {
            if (slots.isCrowded) slots.grow(slots.capacity * 2);
            const place = slots.take();
            expect(taken).not.toContain(place);
            expect(place).toBeLessThan(slots.capacity);
            taken.push(place);
          } else {
            slots.give(taken.splice(step % taken.length, 1)[0]);
          }
          expect(slots.taken).toBe(taken.length);
        }
      }),
    );
  });

  it('is crowded before it is full, and finds the last place all the same', () => {
    const slots = new FreeSlots(64);
    const taken = Array.from({ length: 64 }, () => slots.take());
    expect([...taken].sort((a, b) => a - b)).toEqual(Array.from({ length: 64 }, (_, i) => i));
    expect(slots.isCrowded).toBe(true);
    for (const place of taken.slice(0, 8)) slots.give(place);
    expect(slots.isCrowded).toBe(true);
    slots.give(taken[8]);
    expect(slots.isCrowded).toBe(false);
  });

  it('keeps what comes together side by side, however long it runs', () => {
    const slots = new FreeSlots(8_192);
    const taken = takeAndGive(
      slots,
      Array.from({ length: 4_000 }, () => slots.take()),
      100_000,
    );
    const last = taken.slice(-1_600);
    const besides = last.filter((place, i) => i > 0 && place === last[i - 1] + 1).length;
    expect(besides / last.length).toBeGreaterThan(0.8);
  });

  it('stays within one and a half times what is taken, in a table that was large once', () => {
    const slots = new FreeSlots(65_536);
    const many = Array.from({ length: 50_000 }, () => slots.take());
    for (const place of many.slice(100)) slots.give(place);
    const taken = takeAndGive(slots, many.slice(0, 100), 1_000);
    expect(Math.max(...taken)).toBeLessThan(64 + 150);
  });

  it('begins anew where nothing is taken: one task at a time has one record', () => {
    const slots = new FreeSlots(256);
    for (let i = 0; i < 100; i++) {
      const place = slots.take();
      expect(place).toBe(0);
      slots.give(place);
    }
  });
});
