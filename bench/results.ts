/** The file of one run: all samples, so that tables, charts and comparisons can be made from it again. */
import { readFileSync } from 'node:fs';
import type { ArrivalSeries } from './arrivals.js';
import type { InsideLine } from './inside.js';
import type { Machine } from './machine.js';
import type { MemorySeries } from './memory.js';
import type { Series } from './rounds.js';

export const FORMAT = 3;

export interface Results {
  readonly format: typeof FORMAT;
  readonly at: string;
  readonly machine: Machine;
  readonly rounds: number;
  readonly seconds: number;
  /** Of the order in which servers were measured. */
  readonly seed: number;
  readonly backends: string;
  readonly minutes: number;
  readonly notes: readonly string[];
  readonly failures: readonly string[];
  readonly series: readonly Series[];
  /** Of cases that are not in the table (`--shape`), and of all others: what the name stands for. */
  readonly shapes: Readonly<Record<string, string>>;
  readonly arrivals: readonly ArrivalSeries[];
  readonly memory: readonly MemorySeries[];
  readonly inside: readonly InsideLine[];
}

/** @throws with a sentence when it is not such a file. */
export function readResults(file: string): Results {
  let read: Results;
  try {
    read = JSON.parse(readFileSync(file, 'utf8')) as Results;
  } catch (error) {
    throw new Error(`${file}: ${(error as Error).message}`);
  }
  if (read.format !== FORMAT) throw new Error(`${file}: not results of this bench in format ${FORMAT}`);
  return read;
}
