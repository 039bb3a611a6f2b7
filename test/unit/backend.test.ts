import { describe, expect, it } from 'vitest';
import { Backend } from '../../src/gateway/backend.js';
import { PoolHealth } from '../../src/gateway/health.js';

const options = { consecutiveFailures: 3, ejectMs: 1000, slowStartMs: 0 };

function pool(size: number, overrides: Partial<typeof options> = {}): Backend[] {
  const health = new PoolHealth({ ...options, ...overrides });
  const backends = Array.from({ length: size }, (_, index) => {
    return new Backend({ index, name: `127.0.0.1:${9000 + index}`, weight: 1, maxInFlight: 10 }, health);
  });
  health.backendsChanged(backends);
  for (const backend of backends) connect(backend, 0);
  return backends;
}

function connect(backend: Backend, now: number): void {
  backend.connected++;
  backend.onConnected(now);
}

function fail(backend: Backend, times: number, now: number): void {
  for (let i = 0; i < times; i++) backend.onFailure(now);
}

describe('Backend', () => {
  it('is available while it has a link, room and does not go away', () => {
    const [backend] = pool(2);
    expect(backend.available(0)).toBe(true);
    expect(backend.state(0)).toBe('up');
    backend.outstanding = 10;
    expect(backend.available(0)).toBe(false);
    backend.outstanding = 9;
    backend.goingAway = true;
    expect(backend.available(0)).toBe(false);
    expect(backend.state(0)).toBe('draining');
    backend.goingAway = false;
    backend.connected = 0;
    expect(backend.available(0)).toBe(false);
    expect(backend.state(0)).toBe('down');
  });

  it('is ejected by failures in a row, and by no fewer', () => {
    const [backend] = pool(3);
    fail(backend, 2, 10);
    backend.onSuccess(5, 20);
    fail(backend, 2, 30);
    expect(backend.state(30)).toBe('up');
    backend.onFailure(40);
    expect(backend.state(40)).toBe('ejected');
    expect(backend.available(40)).toBe(false);
    expect(backend.ejections).toBe(1);
  });

  it('counts an unanswered ping as a failure', () => {
    const [backend] = pool(3);
    for (let i = 0; i < 3; i++) backend.onPingTimeout(1);
    expect(backend.state(1)).toBe('ejected');
  });

  it('is never ejected with 0 consecutive failures', () => {
    const [backend] = pool(3, { consecutiveFailures: 0 });
    fail(backend, 1000, 1);
    expect(backend.state(1)).toBe('up');
  });

  it('gets one request on trial after its time out, and comes back when that succeeds', () => {
    const [backend] = pool(3);
    fail(backend, 3, 100);
    expect(backend.available(1099)).toBe(false);
    expect(backend.available(1100)).toBe(true);
    expect(backend.state(1100)).toBe('trial');
    backend.onSent(1100);
    expect(backend.available(1100)).toBe(false);
    backend.onSuccess(20, 1120);
    expect(backend.state(1120)).toBe('up');
    expect(backend.available(1120)).toBe(true);
  });

  it('stays out for a multiple of the time after each failed trial, and starts afresh after a success', () => {
    const [backend] = pool(3);
    fail(backend, 3, 0);
    let now = 1000;
    for (const times of [2, 3, 4]) {
      backend.onSent(now);
      backend.onFailure(now + 1);
      expect(backend.available(now + 1 + times * 1000 - 1)).toBe(false);
      now = now + 1 + times * 1000;
      expect(backend.available(now)).toBe(true);
    }
    backend.onSent(now);
    backend.onSuccess(1, now + 1);
    fail(backend, 3, now + 2);
    expect(backend.available(now + 1002)).toBe(true);
  });

  it('allows another trial when the verdict on the last never came', () => {
    const [backend] = pool(3);
    fail(backend, 3, 0);
    backend.onSent(1000);
    expect(backend.available(1999)).toBe(false);
    expect(backend.available(2000)).toBe(true);
  });

  it('does not come back for the answer to a request that was sent before it was ejected', () => {
    const [backend] = pool(3);
    fail(backend, 3, 100);
    backend.onSuccess(90, 150);
    expect(backend.state(150)).toBe('ejected');
  });

  it('is tried although ejected when more than half of the pool is out', () => {
    const [a, b, c] = pool(3);
    fail(a, 3, 10);
    expect(a.available(10)).toBe(false);
    fail(b, 3, 10);
    expect([a, b, c].map((backend) => backend.available(10))).toEqual([true, true, true]);
    // What then succeeds is back, and with it the judge.
    b.onSent(20);
    b.onSuccess(5, 30);
    expect([a, b, c].map((backend) => backend.available(30))).toEqual([false, true, true]);
  });

  it('counts a backend without a link as out', () => {
    const [a, b] = pool(2);
    fail(a, 3, 10);
    expect(a.available(10)).toBe(false);
    b.connected = 0;
    expect(a.available(11)).toBe(true);
  });

  it('is tried when it is the only one', () => {
    const [backend] = pool(1);
    fail(backend, 100, 10);
    expect(backend.available(10)).toBe(true);
  });

  it('grows its weight from a tenth to the whole after it connected', () => {
    const [backend] = pool(2, { slowStartMs: 1000 });
    backend.weight = 4;
    expect(backend.effectiveWeight(0)).toBeCloseTo(0.4);
    expect(backend.effectiveWeight(500)).toBeCloseTo(2);
    expect(backend.effectiveWeight(1000)).toBe(4);
    connect(backend, 2000);
    expect(backend.effectiveWeight(2000)).toBe(4);
    backend.connected = 0;
    connect(backend, 3000);
    expect(backend.effectiveWeight(3000)).toBeCloseTo(0.4);
  });

  it('starts slowly after an ejection', () => {
    const [backend] = pool(3, { slowStartMs: 1000 });
    fail(backend, 3, 2000);
    backend.onSent(3000);
    backend.onSuccess(1, 3001);
    expect(backend.effectiveWeight(3001)).toBeCloseTo(0.1);
    expect(backend.effectiveWeight(4001)).toBe(1);
  });

  it('remembers a peak of latency and forgets it gradually', () => {
    const [backend] = pool(1);
    expect(backend.peakLatencyMs(0)).toBe(1);
    backend.onSuccess(200, 1000);
    expect(backend.peakLatencyMs(1000)).toBe(200);
    backend.onSuccess(10, 1001);
    expect(backend.peakLatencyMs(1001)).toBeGreaterThan(190);
    expect(backend.peakLatencyMs(11_001)).toBeLessThan(110);
    expect(backend.peakLatencyMs(1e9)).toBe(1);
  });

  it('makes failures look slow, so that fast ones do not attract work', () => {
    const [backend] = pool(1);
    backend.onFailure(10);
    expect(backend.peakLatencyMs(10)).toBe(5000);
  });

  it('reports the average latency of its answers', () => {
    const [backend] = pool(1);
    for (let i = 0; i < 200; i++) backend.onSuccess(40, i);
    expect(backend.latencyMs).toBeCloseTo(40);
    expect(backend.successes).toBe(200);
  });
});
