/** One whole run: closed loops, arrival rates, memory, a look inside. */
import { type ArrivalSeries, measureArrivals } from './arrivals.js';
import type { Bench } from './bench.js';
import { ARRIVALS, CASES, type Room } from './cases.js';
import { measureInside } from './inside.js';
import type { Machine } from './machine.js';
import { measureMemory } from './memory.js';
import { byRoom, planArrivals, planCases } from './plan.js';
import type { ProcessGroup } from './process-group.js';
import { FORMAT, type Results } from './results.js';
import { runRounds, type Series } from './rounds.js';
import { describeShape } from './shape.js';
import { SubjectPool } from './subjects.js';

export async function measure(bench: Bench, group: ProcessGroup, machine: Machine): Promise<Results> {
  const startMs = performance.now();
  const { options } = bench;
  const cases = planCases(options);
  const series: Series[] = [];
  const arrivals: ArrivalSeries[] = [];
  for (const room of ['echo', 'relay'] as const) {
    const measured = await measureRoom(bench, room, cases);
    series.push(...measured.series);
    arrivals.push(...measured.arrivals);
  }
  const memory = options.parts.includes('memory') ? await measureMemory(bench) : [];
  const inside = options.parts.includes('inside') ? await measureInside(bench, group) : [];
  bench.note('uWebSockets.js: it speaks HTTP and WebSocket only, and these frames are neither');
  const named = [...CASES, ...cases, ...ARRIVALS].map(({ name, shape }) => [name, describeShape(shape)]);
  return {
    ...{ format: FORMAT, at: new Date().toISOString(), machine, minutes: (performance.now() - startMs) / 60_000 },
    ...{ rounds: options.rounds, seconds: options.seconds, seed: options.seed, backends: options.backends },
    ...{ notes: bench.notes, failures: bench.failures, shapes: Object.fromEntries(named) },
    ...{ series, arrivals, memory, inside },
  };
}

async function measureRoom(bench: Bench, room: Room, all: ReturnType<typeof planCases>) {
  const cases = byRoom(all, room);
  if (cases.length === 0) return { series: [], arrivals: [] };
  const pool = new SubjectPool(bench, room, new Set(cases.map(({ behind }) => behind)));
  try {
    const series = await runRounds(bench, cases, pool);
    const arrivals: ArrivalSeries[] = [];
    for (const plan of planArrivals(bench.options).filter((one) => one.room === room)) {
      arrivals.push(...(await measureArrivals(bench, plan, series, pool)));
    }
    return { series, arrivals };
  } finally {
    await pool.stop();
  }
}
