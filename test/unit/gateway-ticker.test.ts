import { expect, test } from 'vitest';
import { Ticker } from '../../src/gateway/ticker.js';
import { limits } from '../../src/limits.js';

class Clock {
  nowMs = 0;
  everyMs = 0;
  #callback: () => void = () => {};

  now = (): number => this.nowMs;

  every = (everyMs: number, callback: () => void): (() => void) => {
    this.everyMs = everyMs;
    this.#callback = callback;
    return () => {
      if (this.#callback === callback) this.everyMs = 0;
    };
  };

  run(ms: number): number {
    const endMs = this.nowMs + ms;
    let ticks = 0;
    while (this.everyMs > 0 && this.nowMs + this.everyMs <= endMs) {
      this.nowMs += this.everyMs;
      this.#callback();
      ticks++;
    }
    this.nowMs = endMs;
    return ticks;
  }
}

function start() {
  const clock = new Clock();
  const state = { clock, open: 0, ticks: 0, next: undefined as (() => void) | undefined, task: () => {} };
  state.task = () => {
    const { next } = state;
    state.next = undefined;
    next?.();
  };
  const ticker = new Ticker({
    engine: clock,
    tick: () => state.ticks++,
    isBusy: () => state.open > 0,
    atNextTask: (callback) => {
      state.next = callback;
    },
  });
  ticker.wake();
  return { ...state, state, ticker };
}

test('a gateway without tasks rests after a second, and the next task wakes it', () => {
  const { clock, state } = start();
  clock.run(1_000);
  expect(clock.everyMs).toBe(limits.idleTickMs);
  expect(clock.run(10_000)).toBe(10_000 / limits.idleTickMs);
  state.task();
  expect(clock.everyMs).toBe(limits.tickMs);
  expect(clock.run(500)).toBe(50);
});

test('open tasks keep it awake, and so do tasks that come and go between two ticks', () => {
  const { clock, state } = start();
  state.open = 1;
  clock.run(5_000);
  expect(clock.everyMs).toBe(limits.tickMs);
  state.open = 0;
  for (let i = 0; i < 10; i++) {
    clock.run(900);
    state.task();
    expect(clock.everyMs).toBe(limits.tickMs);
  }
  clock.run(1_100);
  expect(clock.everyMs).toBe(limits.idleTickMs);
});

test('stopped it stays so, whoever wakes it', () => {
  const { clock, state, ticker } = start();
  clock.run(2_000);
  ticker.stop();
  expect(clock.everyMs).toBe(0);
  state.task();
  ticker.wake();
  expect(clock.run(1_000)).toBe(0);
});
