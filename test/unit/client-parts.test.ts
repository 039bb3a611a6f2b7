// The parts of both SDKs that need no connection: deadlines, the limiter, the response stream.
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { TaskLimiter } from '../../src/backend-sdk/task-limiter.js';
import { ResponseStream } from '../../src/client/response-sink.js';
import { StatusError } from '../../src/protocol/status-error.js';
import { Deadlines, NOT_IN_WHEEL, type Timed } from '../../src/timer/deadlines.js';

class Waiting implements Timed {
  expiresAt = 0;
  wheelSlot = NOT_IN_WHEEL;
  wheelNext: Timed | undefined;
  wheelPrevious: Timed | undefined;
  expiredAt: number | undefined;
  onExpire = (): void => {};

  expire(): void {
    this.expiredAt = performance.now();
    this.onExpire();
  }
}

describe('deadlines', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  function makeDeadlines(): Deadlines {
    return new Deadlines((intervalMs, callback) => {
      const timer = setInterval(callback, intervalMs);
      return () => clearInterval(timer);
    });
  }

  test('never early, at most two ticks late, whatever is added and removed', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(20_000), fc.boolean()), { maxLength: 50 }),
        fc.nat(3_000),
        (entries, pause) => {
          const deadlines = makeDeadlines();
          vi.advanceTimersByTime(pause);
          const begin = performance.now();
          const waiting = entries.map(([delayMs, removed]) => {
            const timed = new Waiting();
            deadlines.add(timed, delayMs);
            return { timed, delayMs, removed };
          });
          for (const { timed, removed } of waiting) if (removed) deadlines.remove(timed);
          vi.advanceTimersByTime(21_000);
          for (const { timed, delayMs, removed } of waiting) {
            if (removed) expect(timed.expiredAt).toBeUndefined();
            else {
              expect(timed.expiredAt! - begin).toBeGreaterThanOrEqual(delayMs);
              expect(timed.expiredAt! - begin).toBeLessThanOrEqual(delayMs + 20);
            }
          }
          expect(vi.getTimerCount()).toBe(0);
        },
      ),
      { numRuns: 50 },
    );
  });

  test('one that expires may remove another of the same slot', () => {
    const deadlines = makeDeadlines();
    const [first, second] = [new Waiting(), new Waiting()];
    deadlines.add(first, 5);
    deadlines.add(second, 5);
    first.onExpire = () => deadlines.remove(second);
    second.onExpire = () => deadlines.remove(first);
    vi.advanceTimersByTime(100);
    expect([first, second].filter(({ expiredAt }) => expiredAt !== undefined)).toHaveLength(1);
  });
});

describe('task limiter', () => {
  test('against a naive model: never more running than allowed, first in first out, ended ones passed over', () => {
    const commands = fc.array(fc.oneof(fc.constant('add'), fc.constant('end'), fc.constant('drop')), {
      maxLength: 300,
    });
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 4 }), fc.nat(8), commands, (maxConcurrent, maxQueued, steps) => {
        const limiter = new TaskLimiter(maxConcurrent, maxQueued);
        const started: number[] = [];
        const waiting: { id: number; done: boolean; start: () => void }[] = [];
        let running = 0;
        steps.forEach((step, id) => {
          const task = { id, done: false, start: () => started.push(id) };
          if (step === 'add' && running < maxConcurrent) {
            expect(limiter.tryAcquire()).toBe(true);
            running++;
          } else if (step === 'add') {
            expect(limiter.tryAcquire()).toBe(false);
            expect(limiter.enqueue(task)).toBe(waiting.length < maxQueued);
            if (waiting.length < maxQueued) waiting.push(task);
          } else if (step === 'drop' && waiting.length > 0) {
            const [dropped] = waiting.splice(id % waiting.length, 1);
            dropped.done = true;
            limiter.dropQueued();
          } else if (step === 'end' && running > 0) {
            const next = waiting.shift();
            limiter.release();
            if (next === undefined) running--;
            else expect(started.at(-1)).toBe(next.id);
          }
          expect([limiter.running, limiter.queued]).toEqual([running, waiting.length]);
        });
      }),
    );
  });
});

describe('response stream', () => {
  test('readers before and after the responses get them in order, then the end', async () => {
    const stream = new ResponseStream();
    const early = [stream.next(), stream.next()];
    for (const text of ['a', 'b', 'c']) stream.partial(Buffer.from(text));
    stream.final(Buffer.from('d'));
    const late = [stream.next(), stream.next(), stream.next()];
    const results = await Promise.all([...early, ...late]);
    expect(results.map(({ value }) => value?.toString())).toEqual(['a', 'b', 'c', 'd', undefined]);
    expect(results.at(-1)?.done).toBe(true);
  });

  test('an error comes once, after what came before it', async () => {
    const stream = new ResponseStream();
    stream.partial(Buffer.from('a'));
    stream.fail(new StatusError('INTERNAL', 'broken'));
    expect((await stream.next()).value?.toString()).toBe('a');
    await expect(stream.next()).rejects.toThrow('broken');
    expect((await stream.next()).done).toBe(true);
  });

  test('leaving early abandons the request and forgets what waits', async () => {
    const stream = new ResponseStream();
    const abandoned: StatusError[] = [];
    stream.owner = { consumed: () => {}, abandon: (error) => abandoned.push(error) };
    stream.partial(Buffer.from('a'));
    const read: string[] = [];
    for await (const part of stream) {
      read.push(part.toString());
      stream.partial(Buffer.from('b'));
      break;
    }
    expect(read).toEqual(['a']);
    expect(abandoned.map(({ code }) => code)).toEqual(['CANCELLED']);
    expect(stream.bufferedBytes).toBe(0);
    expect((await stream.next()).done).toBe(true);
  });
});
