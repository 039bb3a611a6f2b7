/** Which cases are measured on which servers, how often, and how long that takes. */
import {
  ARRIVAL_SHARES,
  ARRIVALS,
  type ArrivalCase,
  CASES,
  type Case,
  COMMON_RATES,
  casesOfShape,
  isDirect,
  type Room,
} from './cases.js';
import { type BenchOptions, matches, UsageError } from './options.js';
import { MEMORY_SUBJECTS, memoryRounds } from './memory.js';
import { INSIDE_SUBJECTS } from './inside.js';
import { directOf, parseEngine } from './subjects.js';

/** Every server answers so long before anything counts: V8 compiles for seconds. */
export const FIRST_WARM_UP_SECONDS = 1.5;
/** Each measurement warms up until its connections had so many answers each: buffers have grown, and nobody is still in the first burst. */
const WARM_UP_ANSWERS = { each: 20, mostSeconds: 1.5 } as const;
const QUICK_WARM_UP_ANSWERS = { each: 10, mostSeconds: 0.5 } as const;
export const ARRIVAL_ROUNDS = 3;
export const ARRIVAL_SECONDS = 0.8;

/** Measured before, on 2 cores: what a run takes besides its own time, and what each connection adds. */
const RUN_OVERHEAD_SECONDS = 0.06;
const CONNECTION_SECONDS = 0.00008;
/** What the slower ones of a room answer per second, for the length of a warm-up. */
const ANSWERS_PER_SECOND: Readonly<Record<Room, number>> = { echo: 110_000, relay: 60_000 };
const START_SECONDS = 0.35;
const MEMORY_SECONDS = 1.6;
const INSIDE_SECONDS = 3.6;

export function planCases(options: BenchOptions): Case[] {
  const asked = options.shapes.flatMap(casesOfShape);
  const fromTable = options.shapes.length > 0 && options.cases === undefined ? [] : CASES;
  const wanted = fromTable.filter(({ name, key }) =>
    options.cases === undefined ? key || !options.quick : matches(name, options.cases),
  );
  if (options.cases !== undefined && wanted.length === 0) {
    throw new UsageError(`--case ${options.cases.join(',')}: no such case; --list shows them`);
  }
  const cases = [...wanted, ...asked]
    .filter(({ room }) => options.parts.includes(room))
    .map((one) => ({ ...one, subjects: subjectsOf(one, options) }))
    .filter(({ subjects }) => subjects.length > 0);
  if (
    options.servers !== undefined &&
    cases.length === 0 &&
    options.parts.some((part) => part === 'echo' || part === 'relay')
  ) {
    throw new UsageError(`--server ${options.servers.join(',')}: none of the cases is measured on such a server`);
  }
  return cases;
}

/** In a quick look the engine chooses its reactors itself. */
function subjectsOf({ subjects }: Case, { servers, quick }: BenchOptions): string[] {
  return subjects.filter(
    (name) => matches(name, servers) && !(quick && servers === undefined && parseEngine(name)?.reactors !== undefined),
  );
}

export function planArrivals(options: BenchOptions): ArrivalCase[] {
  if (!options.parts.includes('arrivals')) return [];
  return ARRIVALS.filter(({ room }) => options.parts.includes(room))
    .map((one) => ({ ...one, subjects: arrivingAt(one, options) }))
    .filter(({ subjects }) => subjects.length > 0);
}

/** Whatever relay was asked for is compared with the load straight on its backend. */
function arrivingAt({ subjects }: ArrivalCase, { servers }: BenchOptions): string[] {
  const asked = subjects.filter((name) => matches(name, servers) && !isDirect(name));
  return [...new Set(asked.map(directOf))].filter((name) => subjects.includes(name)).concat(asked);
}

/** A case with a goal is measured in every round, others and fixed numbers of reactors in every second one. */
export function isMeasuredIn(round: number, { key }: Case, subject: string): boolean {
  const often = key && parseEngine(subject)?.reactors === undefined;
  return often || round % 2 === 1;
}

/** Seconds that the whole will take, roughly: servers that are not installed count too. */
export function estimateSeconds(options: BenchOptions): number {
  let seconds = estimateRounds(planCases(options), options);
  for (const { subjects, capacityOf } of planArrivals(options)) {
    const rates = capacityOf === undefined ? COMMON_RATES.length : ARRIVAL_SHARES.length;
    seconds += subjects.length * rates * ARRIVAL_ROUNDS * (ARRIVAL_SECONDS + options.warmupSeconds + 0.1);
  }
  if (options.parts.includes('memory')) seconds += MEMORY_SUBJECTS.length * memoryRounds(options) * MEMORY_SECONDS;
  if (options.parts.includes('inside'))
    seconds += INSIDE_SUBJECTS.echo.length * INSIDE_SECONDS + INSIDE_SUBJECTS.relay.length * INSIDE_SECONDS;
  return seconds;
}

/** Of the closed loops alone, and of starting what they are measured on. */
export function estimateRounds(cases: readonly Case[], options: BenchOptions): number {
  const starts = new Set(cases.flatMap(({ room, subjects }) => subjects.map((name) => `${room} ${name}`)));
  let seconds = [...starts].reduce(
    (sum, name) => sum + likelihood(name.split(' ')[1]) * (START_SECONDS + firstWarmUp(options)),
    0,
  );
  for (const one of cases) {
    const each = options.seconds + warmUpSeconds(one, options) + RUN_OVERHEAD_SECONDS;
    const connections = (one.shape.connections + one.shape.idle) * CONNECTION_SECONDS;
    for (const subject of one.subjects) {
      for (let round = 1; round <= options.rounds; round++) {
        if (isMeasuredIn(round, one, subject)) seconds += (each + connections) * likelihood(subject);
      }
    }
  }
  return seconds;
}

function warmUpSeconds({ room, shape: { connections } }: Case, options: BenchOptions): number {
  const { each, mostSeconds } = warmUpAnswers(options);
  const answers = (each * connections) / ANSWERS_PER_SECOND[room];
  return Math.max(options.warmupSeconds, Math.min(mostSeconds, answers));
}

/** One of the three numbers of reactors is what the engine takes by itself, and then not measured a second time. */
function likelihood(subject: string): number {
  return parseEngine(subject)?.reactors === undefined ? 1 : 2 / 3;
}

export function firstWarmUp({ quick }: BenchOptions): number {
  return quick ? 1 : FIRST_WARM_UP_SECONDS;
}

export function warmUpAnswers({ quick }: BenchOptions): { readonly each: number; readonly mostSeconds: number } {
  return quick ? QUICK_WARM_UP_ANSWERS : WARM_UP_ANSWERS;
}

/** Rooms that have cases, with theirs. */
export function byRoom(cases: readonly Case[], room: Room): Case[] {
  return cases.filter((one) => one.room === room);
}

/** Of the table, or a shape in both rooms. @throws UsageError when there is none of that name. */
export function findCase(name: string): Case {
  const found = CASES.find((one) => one.name === name);
  if (found === undefined) throw new UsageError(`${name}: no such case; --list shows them`);
  return found;
}

/** The server that one case is looked at with. */
export function subjectNameFor({ name, subjects }: Case, { servers }: BenchOptions): string {
  const preset = subjects.find((one) => parseEngine(one) !== undefined)!;
  const wanted = servers === undefined ? preset : subjects.find((one) => matches(one, servers));
  if (wanted === undefined) throw new UsageError(`--server ${servers?.join(',')}: ${name} has ${subjects.join(', ')}`);
  return wanted;
}
