// One outcome per task, and counts that add up.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Status } from '../../src/engine/tables.gen.js';
import { TaskTable, Time } from '../../src/gateway/task-table.js';
import { LATENCY_BOUNDS_MS, Outcome, Tracker } from '../../src/gateway/tracker.js';

function sum(counts: ArrayLike<number>): number {
  return Array.from(counts).reduce((total, count) => total + count, 0);
}

describe('tracker', () => {
  test('a task is settled once', () => {
    const tracker = new Tracker(new TaskTable());
    const slot = tracker.receive();
    tracker.settle(slot, Outcome.answered, Status.OK, 0);
    expect(() => tracker.settle(slot, Outcome.failed, Status.UNAVAILABLE, 0)).toThrow('settled once');
    tracker.table.release(slot);
    expect(() => tracker.settle(slot, Outcome.failed, Status.UNAVAILABLE, 0)).toThrow('settled once');
  });

  test('received is the sum of outcomes and open', () => {
    const tracker = new Tracker(new TaskTable());
    const slots = Array.from({ length: 10 }, () => tracker.receive());
    for (let i = 0; i < 7; i++) tracker.settle(slots[i], i % 5, Status.OK, 0);
    expect(tracker.open).toBe(3);
    expect(sum(tracker.outcomes) + tracker.open).toBe(tracker.received);
  });

  test('latency goes to the bucket whose bound it does not pass', () => {
    const tracker = new Tracker(new TaskTable());
    for (const latencyMs of [0, 1, 1.5, 30_000, 30_001]) {
      const slot = tracker.receive();
      tracker.table.setTime(slot, Time.received, 100);
      tracker.settle(slot, Outcome.answered, Status.OK, 100 + latencyMs);
    }
    expect(Array.from(tracker.latencyBuckets.slice(0, 2))).toEqual([2, 1]);
    expect(Array.from(tracker.latencyBuckets.slice(LATENCY_BOUNDS_MS.length - 1))).toEqual([1, 1]);
    expect(tracker.latencySumMs).toBe(60_003.5);
  });

  test('close settles everything', () => {
    const tracker = new Tracker(new TaskTable());
    for (let i = 0; i < 5; i++) tracker.receive();
    tracker.close((slot) => tracker.settle(slot, Outcome.failed, Status.UNAVAILABLE, 0));
    expect(tracker.open).toBe(0);
    tracker.receive();
    expect(() => tracker.close(() => {})).toThrow('no open task');
  });

  test('statuses beyond the table share a place', () => {
    const tracker = new Tracker(new TaskTable());
    for (const status of [Status.NOT_FOUND, 17, 4_000_000_000]) {
      tracker.settle(tracker.receive(), Outcome.failed, status, 0);
    }
    expect(tracker.statuses[Status.NOT_FOUND]).toBe(1);
    expect(tracker.statuses.at(-1)).toBe(2);
  });

  test('whatever comes and ends in whatever order, the counts are those of a list', () => {
    const step = fc.record({
      settles: fc.boolean(),
      which: fc.nat(),
      outcome: fc.nat(4),
      status: fc.nat(20),
      waitMs: fc.nat(50),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const tracker = new Tracker(new TaskTable());
        const open: { slot: number; receivedMs: number }[] = [];
        const outcomes = [0, 0, 0, 0, 0];
        const latencies: number[] = [];
        let now = 0;
        for (const { settles, which, outcome, status, waitMs } of steps) {
          now += waitMs;
          if (!settles || open.length === 0) {
            const slot = tracker.receive();
            expect(open.map((task) => task.slot)).not.toContain(slot);
            tracker.table.setTime(slot, Time.received, now);
            open.push({ slot, receivedMs: now });
          } else {
            const [{ slot, receivedMs }] = open.splice(which % open.length, 1);
            tracker.settle(slot, outcome, status, now);
            expect(() => tracker.settle(slot, outcome, status, now)).toThrow('settled once');
            tracker.table.release(slot);
            outcomes[outcome]++;
            if (outcome <= Outcome.failed) latencies.push(now - receivedMs);
          }
          expect(tracker.open).toBe(open.length);
          expect(Array.from(tracker.outcomes)).toEqual(outcomes);
          expect(tracker.received).toBe(sum(outcomes) + open.length);
        }
        expect(sum(tracker.statuses)).toBe(sum(outcomes));
        expect(sum(tracker.latencyBuckets)).toBe(latencies.length);
        expect(tracker.latencySumMs).toBe(sum(latencies));
        const ended: number[] = [];
        tracker.close((slot) => {
          ended.push(slot);
          tracker.settle(slot, Outcome.failed, Status.UNAVAILABLE, now);
        });
        expect(ended.sort()).toEqual(open.map(({ slot }) => slot).sort());
      }),
    );
  });
});
