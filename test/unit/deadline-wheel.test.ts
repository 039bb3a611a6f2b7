import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DeadlineWheel } from '../../src/gateway/deadline-wheel.js';
import { SLOT_SHIFT, TaskTable } from '../../src/gateway/task-table.js';

const GRANULE = 8;

/** Over the records of a task table, with its slots by their numbers. */
class Deadlines {
  readonly #table = new TaskTable((capacity) => this.#wheel.grow(capacity));
  readonly #wheel = new DeadlineWheel(this.#table, GRANULE);

  get size(): number {
    return this.#wheel.size;
  }

  arm(number: number, deadlineMs: number): void {
    this.#wheel.arm(number << SLOT_SHIFT, deadlineMs);
  }

  cancel(number: number): void {
    this.#wheel.cancel(number << SLOT_SHIFT);
  }

  advance(now: number, expire: (number: number) => void): void {
    this.#wheel.advance(now, (slot) => expire(slot >> SLOT_SHIFT));
  }

  nextMs(): number {
    return this.#wheel.nextMs();
  }

  /** The table gets larger than it was; answers with the number of its last record. */
  grow(): number {
    const { capacity } = this.#table;
    while (this.#table.capacity === capacity) this.#table.acquire();
    return this.#table.capacity - 1;
  }
}

function expired(wheel: Deadlines, now: number): number[] {
  const slots: number[] = [];
  wheel.advance(now, (slot) => slots.push(slot));
  return slots;
}

describe('DeadlineWheel', () => {
  it('expires a slot once its deadline has passed, and not again', () => {
    const wheel = new Deadlines();
    wheel.arm(2, 100);
    expect(expired(wheel, 99)).toEqual([]);
    expect(expired(wheel, 104)).toEqual([2]);
    expect(expired(wheel, 10_000)).toEqual([]);
    expect(wheel.size).toBe(0);
  });

  it('expires a deadline in the past at the next granule', () => {
    const wheel = new Deadlines();
    expired(wheel, 1000);
    wheel.arm(0, 3);
    expect(expired(wheel, 1000)).toEqual([]);
    expect(expired(wheel, 1008)).toEqual([0]);
  });

  it('forgets a cancelled slot, and one that is not armed may be cancelled', () => {
    const wheel = new Deadlines();
    for (const slot of [0, 1, 2]) wheel.arm(slot, 50);
    wheel.cancel(1);
    wheel.cancel(1);
    expect(expired(wheel, 60).sort()).toEqual([0, 2]);
    wheel.cancel(0);
    expect(wheel.size).toBe(0);
  });

  it('moves a slot that is armed anew', () => {
    const wheel = new Deadlines();
    wheel.arm(0, 50);
    wheel.arm(0, 500);
    expect(expired(wheel, 499)).toEqual([]);
    expect(expired(wheel, 504)).toEqual([0]);
  });

  it('lets the callback arm its slot again and cancel others', () => {
    const wheel = new Deadlines();
    wheel.arm(0, 50);
    wheel.arm(1, 50);
    wheel.arm(2, 50);
    const seen: number[] = [];
    wheel.advance(56, (slot) => {
      seen.push(slot);
      for (const other of [0, 1, 2]) wheel.cancel(other);
      wheel.arm(slot, 0);
    });
    expect(seen).toHaveLength(1);
    expect(wheel.size).toBe(1);
    expect(expired(wheel, 64)).toEqual(seen);
  });

  it('keeps what is armed when it grows', () => {
    const wheel = new Deadlines();
    wheel.arm(0, 20);
    const last = wheel.grow();
    wheel.arm(last, 20);
    expect(expired(wheel, 24).sort()).toEqual([0, last]);
  });

  it('holds deadlines beyond its own horizon of 37 hours', () => {
    const wheel = new Deadlines();
    const month = 30 * 24 * 3600 * 1000;
    wheel.arm(0, month);
    expect(expired(wheel, month - 1)).toEqual([]);
    expect(expired(wheel, month + GRANULE)).toEqual([0]);
  });

  it('starts far from time 0', () => {
    const now = 2 ** 40;
    const wheel = new Deadlines();
    wheel.arm(0, now + 5000);
    expect(expired(wheel, now + 4999)).toEqual([]);
    expect(wheel.nextMs()).toBeLessThanOrEqual(now + 5008);
    expect(expired(wheel, now + 5008)).toEqual([0]);
  });

  it('behaves like a naive model under any sequence of commands', () => {
    const slot = fc.nat(31);
    const span = fc.oneof(fc.nat(100), fc.nat(10_000), fc.nat(5_000_000), fc.nat(400_000_000));
    const command = fc.oneof(
      fc.record({ do: fc.constant('arm' as const), slot, span }),
      fc.record({ do: fc.constant('cancel' as const), slot, span }),
      fc.record({ do: fc.constant('advance' as const), slot, span }),
    );
    fc.assert(
      fc.property(fc.nat(10_000_000), fc.array(command, { maxLength: 80 }), (start, commands) => {
        const wheel = new Deadlines();
        const model = new Map<number, number>();
        let now = start;
        expired(wheel, now);
        for (const command of commands) {
          if (command.do === 'arm') {
            wheel.arm(command.slot, now + command.span);
            model.set(command.slot, now + command.span);
          } else if (command.do === 'cancel') {
            wheel.cancel(command.slot);
            model.delete(command.slot);
          } else {
            const next = wheel.nextMs();
            for (const deadline of model.values()) expect(next).toBeLessThanOrEqual(deadline + 2 * GRANULE);
            now += command.span;
            for (const slot of expired(wheel, now)) {
              expect(model.get(slot)).toBeLessThanOrEqual(now);
              model.delete(slot);
            }
            for (const deadline of model.values()) expect(deadline + GRANULE).toBeGreaterThan(now);
          }
          expect(wheel.size).toBe(model.size);
        }
      }),
      { numRuns: 500 },
    );
  });
});
