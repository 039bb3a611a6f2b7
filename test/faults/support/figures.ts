/** One line of figures per fault and engine, for docs/RELIABILITY.md: printed, and appended to the file that FAULTS_FIGURES names. */
import { appendFileSync } from 'node:fs';
import { failedTotal, type Verdict } from './ledger.js';
import type { PaceVerdict } from './pace.js';
import type { BackAtStart } from './start-line.js';

export interface Figures {
  readonly fault: string;
  readonly engine: string;
  readonly exposed: Verdict;
  readonly bystanders: Verdict;
  readonly waits: PaceVerdict;
  readonly memory: BackAtStart & { readonly peakRssBytes: number };
}

const MIB = 2 ** 20;

/** Of a gateway that ended in the fault. */
export function recordEnd(figures: Pick<Figures, 'fault' | 'engine' | 'exposed' | 'bystanders'>): void {
  append(figures);
  const { fault, engine, exposed, bystanders } = figures;
  console.log(`${fault} on ${engine}: ${outcomes(exposed)}; bystanders: ${outcomes(bystanders)}`);
}

export function record(figures: Figures): void {
  append(figures);
  console.log(sentence(figures));
}

function append(figures: object): void {
  const file = process.env.FAULTS_FIGURES;
  if (file !== undefined) appendFileSync(file, `${JSON.stringify(figures)}\n`);
}

function outcomes(verdict: Verdict): string {
  const { sent, answered, failed, cut, lost } = verdict;
  const errors = Object.entries(failed).map(([status, count]) => `${status} ${count}`);
  const missing = sent - answered - failedTotal(verdict) - cut - lost;
  const all = [`${sent} sent: ${answered} answered`, ...errors, `cut ${cut}`, `lost ${lost}`];
  return [...all, ...(missing === 0 ? [] : [`UNACCOUNTED ${missing}`])].join(', ');
}

function sentence({ fault, engine, exposed, bystanders, waits, memory }: Figures): string {
  const { before, after, peakRssBytes } = memory;
  return [
    `${fault} on ${engine}: ${outcomes(exposed)}`,
    `bystanders ${bystanders.answered}/${bystanders.sent}, p99 ${waits.p99Ms.toFixed(1)} of ${waits.p99BoundMs.toFixed(0)} ms, max ${waits.maxMs.toFixed(0)} of ${waits.maxBoundMs.toFixed(0)} ms`,
    `witness p99 ${waits.witnessP99Ms.toFixed(1)} ms, max ${waits.witnessMaxMs.toFixed(0)} ms`,
    `fds ${before.fds} → ${after.fds}, RSS ${mib(before.rssBytes)} → ${mib(peakRssBytes)} → ${mib(after.rssBytes)}, heap ${mib(before.heapBytes)} → ${mib(after.heapBytes)} MiB`,
  ].join('; ');
}

function mib(bytes: number): string {
  return (bytes / MIB).toFixed(0);
}
