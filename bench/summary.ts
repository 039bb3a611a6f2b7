/** One series of samples, a sample per round, as one row of a table. */
import { coresUsed, generatorShare, type Latency, type Sample, serverShare } from './load.js';
import { median } from './statistics.js';

/** From this share of a core on the generator has no more to give. */
const GENERATOR_FULL = 0.95;
/** Below this share of the cores that its threads could have a server was waiting for work. */
const SERVER_BUSY = 0.9;
/** From this share of all cores on there was nothing left for anybody. */
const MACHINE_FULL = 0.95;

/** The median over the rounds of one figure of each sample. */
export function mid(samples: readonly Sample[], of: (sample: Sample) => number): number {
  return median(samples.map(of));
}

/**
 * p50, p90 and p99: the median of the rounds. p99.9: of the worst round, as a round has too few messages beyond it for a median to
 * mean anything. The maximum: of all rounds.
 */
export function latencyOf(samples: readonly Sample[]): Latency {
  const all = samples.map(({ latencyUs }) => latencyUs);
  const middle = (name: keyof Latency) => median(all.map((one) => one[name]));
  const worst = (name: keyof Latency) => Math.max(...all.map((one) => one[name]));
  return { p50: middle('p50'), p90: middle('p90'), p99: middle('p99'), p999: worst('p999'), max: worst('max') };
}

/** At a constant arrival rate: what was answered in the measured time, over what was due in it. */
export function answeredShare(samples: readonly Sample[]): number {
  return mid(samples, ({ messages, due = messages }) => messages / due);
}

/** How the CPU time of the server divides, by the clock ticks of all rounds together. */
export interface Division {
  /** 0 to 1. */
  readonly user: number;
  /** 95 % of such counts of ticks lie within so much of the truth. */
  readonly uncertain: number;
}

/** Undefined: not one tick. */
export function divisionOf(samples: readonly Sample[]): Division | undefined {
  const user = samples.reduce((sum, { cpu }) => sum + cpu[0].userTicks, 0);
  const all = samples.reduce((sum, { cpu }) => sum + cpu[0].systemTicks, user);
  if (all === 0) return undefined;
  // Agresti and Coull: two ticks of either kind more, so that no tick at all is not certainty.
  const share = (user + 2) / (all + 4);
  return { user: user / all, uncertain: 1.96 * Math.sqrt((share * (1 - share)) / (all + 4)) };
}

/** The generator's core was full while the server's threads had cores left: the server could have done more. */
export function generatorWasTheLimit(samples: readonly Sample[], threads: number, cores: number): boolean {
  const room = Math.min(threads, cores);
  return mid(samples, generatorShare) >= GENERATOR_FULL && mid(samples, serverShare) < SERVER_BUSY * room;
}

/** Generator, server and what stands behind it had all cores between them: msg/s then say who got them. */
export function machineWasFull(samples: readonly Sample[], cores: number): boolean {
  return mid(samples, coresUsed) >= MACHINE_FULL * cores;
}
