import { describe, expect, it } from 'vitest';
import { COUNTERS, type CounterName } from '../../src/engine/tables.gen.js';
import { createMetrics } from '../../src/metrics.js';
import { makeBackendReport, makeReport } from '../support/gateway-report.js';

async function scrape(...reports: Parameters<typeof makeReport>): Promise<string[]> {
  const text = await createMetrics(() => makeReport(...reports)).metrics();
  return text.split('\n');
}

describe('metrics', () => {
  it('tells engine, tasks, outcomes and reasons', async () => {
    const lines = await scrape({
      received: 10,
      open: 3,
      outcomes: { answered: 6, failed: 1 },
      statuses: { OK: 6, UNAVAILABLE: 1 },
      closeReasons: { 'idle-timeout': 2 },
      events: { retries: 4, partial_responses: 5, client_pauses: 6, failures_closed: 7 },
    });
    expect(lines).toContain('ringway_engine_info{engine="epoll",reactors="2",reason="asked for"} 1');
    expect(lines).toContain('ringway_tasks_received_total 10');
    expect(lines).toContain('ringway_tasks_open 3');
    expect(lines).toContain('ringway_tasks_total{outcome="answered"} 6');
    expect(lines).toContain('ringway_responses_total{status="UNAVAILABLE"} 1');
    expect(lines).toContain('ringway_connections_closed_total{reason="idle-timeout"} 2');
    expect(lines).toContain('ringway_retries_total 4');
    expect(lines).toContain('ringway_late_responses_total 0');
    expect(lines).toContain('ringway_partial_responses_total 5');
    expect(lines).toContain('ringway_client_pauses_total 6');
    expect(lines).toContain('ringway_failures_closed_total 7');
    expect(lines).toContain('ringway_client_connections{listener="public"} 7');
  });

  it('tells every counter of the engine, with its help', async () => {
    const engineCounters = Object.fromEntries(COUNTERS.map(({ name }, at) => [name, at])) as Record<
      CounterName,
      number
    >;
    const lines = await scrape({ engineCounters });
    COUNTERS.forEach(({ name, help }, at) => {
      expect(lines).toContain(`ringway_engine_${name}_total ${at}`);
      expect(lines).toContain(`# HELP ringway_engine_${name}_total ${help}`);
    });
  });

  it('tells each backend with its state, and forgets one that is gone', async () => {
    let backends = [
      makeBackendReport({ name: 'a:1', state: 'ejected', ejections: 2 }),
      makeBackendReport({ name: 'b:1', inFlight: 5, latencyMs: 20 }),
    ];
    const registry = createMetrics(() => makeReport({ backends }));
    const first = (await registry.metrics()).split('\n');
    expect(first).toContain('ringway_backend_state{pool="chat",backend="a:1",state="ejected"} 1');
    expect(first).toContain('ringway_backend_state{pool="chat",backend="a:1",state="up"} 0');
    expect(first).toContain('ringway_backend_ejections_total{pool="chat",backend="a:1"} 2');
    expect(first).toContain('ringway_backend_in_flight{pool="chat",backend="b:1"} 5');
    expect(first).toContain('ringway_backend_latency_seconds{pool="chat",backend="b:1"} 0.02');
    backends = backends.slice(1);
    const second = await registry.metrics();
    expect(second).not.toContain('a:1');
    expect(second).toContain('b:1');
  });

  it('tells latency as a cumulative histogram in seconds', async () => {
    const lines = await scrape({ latency: { boundsMs: [1, 10], buckets: [3, 2, 1], sumMs: 500 } });
    expect(lines.filter((line) => line.startsWith('ringway_task_seconds'))).toEqual([
      'ringway_task_seconds_bucket{le="0.001"} 3',
      'ringway_task_seconds_bucket{le="0.01"} 5',
      'ringway_task_seconds_bucket{le="+Inf"} 6',
      'ringway_task_seconds_sum 0.5',
      'ringway_task_seconds_count 6',
    ]);
  });

  it('asks for one report per scrape', async () => {
    let asked = 0;
    const registry = createMetrics(() => {
      asked++;
      return makeReport({});
    });
    await registry.metrics();
    expect(asked).toBe(1);
    await registry.metrics();
    expect(asked).toBe(2);
  });

  it('escapes what labels cannot hold', async () => {
    const lines = await scrape({ engine: { name: 'epoll', reactors: 1, reason: 'a "b"\nc' } });
    expect(lines).toContain('ringway_engine_info{engine="epoll",reactors="1",reason="a \\"b\\"\\nc"} 1');
  });
});
