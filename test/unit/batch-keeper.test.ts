import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { BatchKeeper } from '../../src/engine/batch-keeper.js';
import { SlabPool } from '../../src/engine/slab-pool.js';
import { KeptBytes } from '../../src/gateway/kept-bytes.js';
import { NO_PLACE } from '../../src/gateway/places.js';

const RING_BYTES = 65_536;

/** Tasks that keep frames of a ring that is written anew for each batch, and end in any order. */
class World {
  readonly pool = new SlabPool();
  readonly keeper = new BatchKeeper(this.pool);
  readonly kept = new KeptBytes((slab) => this.keeper.giveBack(slab));
  readonly ring = new Uint8Array(RING_BYTES);
  readonly tasks: { place: number; start: number; length: number; fill: number }[] = [];
  #fill = 0;
  #at = 0;

  batch(): void {
    this.keeper.reset();
    this.#at = 0;
  }

  keep(length: number): void {
    if (this.#at + length > RING_BYTES) this.batch();
    this.#fill = (this.#fill + 1) & 255;
    const start = this.#at;
    this.#at += length;
    this.ring.fill(this.#fill, start, this.#at);
    // The frames behind this one are not there yet, so what the keeper copies beyond it is not theirs: each is its batch's last.
    const kept = this.keeper.keep(this.ring, start, this.#at, this.#at);
    const place = this.kept.hold(kept.bytes, kept.isReusable === true);
    this.tasks.push({ place, start: kept.start, length, fill: this.#fill });
  }

  own(length: number): void {
    this.#fill = (this.#fill + 1) & 255;
    const place = this.kept.hold(new Uint8Array(length).fill(this.#fill), false);
    this.tasks.push({ place, start: 0, length, fill: this.#fill });
  }

  end(index: number): void {
    const [task] = this.tasks.splice(index % this.tasks.length, 1);
    this.kept.drop(task.place);
  }

  check(): void {
    for (const { place, start, length, fill } of this.tasks) {
      const bytes = this.kept.at(place)!.subarray(start, start + length);
      expect(bytes.length).toBe(length);
      expect(bytes.every((byte) => byte === fill)).toBe(true);
    }
  }
}

const step = fc.oneof(
  fc.record({
    kind: fc.constant('keep' as const),
    of: fc.oneof(fc.integer({ min: 1, max: 200 }), fc.integer({ min: 4_000, max: 30_000 })),
  }),
  fc.record({ kind: fc.constant('own' as const), of: fc.integer({ min: 1, max: 100 }) }),
  fc.record({ kind: fc.constant('end' as const), of: fc.nat() }),
  fc.record({ kind: fc.constant('batch' as const), of: fc.constant(0) }),
);

describe('memory of payloads that is used again', () => {
  test('what a task keeps stays as it is until the task ends, whoever else comes and goes', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const world = new World();
        for (const { kind, of } of steps) {
          if (kind === 'batch') world.batch();
          else if (kind === 'end') {
            if (world.tasks.length > 0) world.end(of);
          } else world[kind](of);
          world.check();
        }
        while (world.tasks.length > 0) world.end(0);
        expect(world.kept.size).toBe(0);
        expect(world.kept.bytes).toBe(0);
      }),
    );
  });

  test('the frames of a batch share a slab, which serves again after the batch in which its last task ended', () => {
    const pool = new SlabPool();
    const keeper = new BatchKeeper(pool);
    const ring = new Uint8Array(RING_BYTES).map((_, i) => i);
    keeper.reset();
    const first = keeper.keep(ring, 0, 100, 8_000);
    const second = keeper.keep(ring, 100, 200, 8_000);
    expect(second.bytes).toBe(first.bytes);
    expect([first.start, second.start, first.isReusable]).toEqual([0, 100, true]);
    keeper.giveBack(first.bytes);
    // The batch goes on, and so does its slab.
    expect(keeper.keep(ring, 200, 300, 8_000).bytes).toBe(first.bytes);
    keeper.reset();
    expect(keeper.keep(ring, 0, 100, 8_000).bytes).not.toBe(first.bytes);
    keeper.giveBack(first.bytes);
    const before = first.bytes.slice();
    const third = keeper.keep(ring, 10_000, 18_000, 18_000);
    expect(third.bytes).not.toBe(first.bytes);
    expect(first.bytes).toEqual(before);
    keeper.reset();
    expect(keeper.keep(ring, 10_000, 18_000, 18_000).bytes).toBe(first.bytes);
  });

  test('unused slabs hold 4 MB at most, and less than a page is not kept for use again', () => {
    const pool = new SlabPool();
    const slabs = Array.from({ length: 100 }, () => pool.take(65_536));
    for (const slab of slabs) pool.giveBack(slab);
    expect(pool.freeBytes).toBe(0);
    pool.settle();
    expect(pool.freeBytes).toBe(4 * 1024 * 1024);
    pool.giveBack(pool.take(100));
    pool.settle();
    expect(pool.freeBytes).toBe(4 * 1024 * 1024);
  });

  test('a slab that is held again behind another one is one slab still', () => {
    const back: Uint8Array[] = [];
    const kept = new KeptBytes((slab) => back.push(slab));
    const [slab, other] = [new Uint8Array(100), new Uint8Array(50)];
    const first = kept.hold(slab, true);
    const between = kept.hold(other, false);
    expect(kept.hold(slab, true)).toBe(first);
    expect([kept.size, kept.bytes]).toEqual([2, 150]);
    kept.drop(first);
    kept.drop(between);
    expect(back).toEqual([]);
    kept.drop(first);
    expect(back).toEqual([slab]);
    expect(kept.at(NO_PLACE)).toBe(undefined);
  });
});

describe('memory of frames that belong to their holders', () => {
  test('small batches share it, side by side, and what is kept of them is never written again', () => {
    const keeper = new BatchKeeper();
    const ring = new Uint8Array(RING_BYTES);
    const kept: { bytes: Uint8Array; start: number; length: number; fill: number }[] = [];
    for (let batch = 0; batch < 2_000; batch++) {
      keeper.reset();
      const start = (batch * 24) % 4_096;
      const length = batch % 700;
      ring.fill(batch & 255, start, start + 2 * length);
      // Two frames of one batch, one behind the other.
      for (const at of [start, start + length]) {
        const { bytes, start: place } = keeper.keep(ring, at, at + length, start + 2 * length);
        kept.push({ bytes, start: place, length, fill: batch & 255 });
      }
    }
    for (const { bytes, start, length, fill } of kept) {
      const frame = bytes.subarray(start, start + length);
      expect([frame.length, frame.every((byte) => byte === fill)]).toEqual([length, true]);
    }
    const small = kept.filter(({ length }) => length <= 256).map(({ bytes }) => bytes);
    expect(new Set(small).size).toBeLessThan(small.length / 8);
  });

  test('a kept one holds 16 KB at most where its batch was small', () => {
    const keeper = new BatchKeeper();
    const ring = new Uint8Array(RING_BYTES);
    for (let batch = 0; batch < 100; batch++) {
      keeper.reset();
      expect(keeper.keep(ring, 0, 64, 64).bytes.buffer.byteLength).toBeLessThanOrEqual(16_384);
    }
  });
});
