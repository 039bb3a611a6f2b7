/** What is printed: the line while it runs, and the table at the end. */
import type { Load } from './load.js';

const PROGRESS_MS = 200;
/** Where nothing can be overwritten, a line now and then is enough. */
const PROGRESS_LINES_MS = 3_000;

/** Prints how far `load` is, until the returned function is called. */
export function showProgress(load: Load): () => void {
  const { isTTY } = process.stdout;
  const begin = performance.now();
  const print = (): void => {
    const { answered, failed, options } = load;
    const perSecond = (answered / Math.max(0.001, (performance.now() - begin) / 1000)).toFixed(0);
    const line = `${answered + failed} of ${options.requests} requests · ${perSecond}/s · ${failed} errors`;
    process.stdout.write(isTTY ? `\r\x1b[K${line}` : `${line}\n`);
  };
  const timer = setInterval(print, isTTY ? PROGRESS_MS : PROGRESS_LINES_MS);
  return () => {
    clearInterval(timer);
    if (isTTY) process.stdout.write('\r\x1b[K');
  };
}

export type Row = readonly [name: string, value: string];

export function resultRows(load: Load, engine: string, wrong: number): Row[] {
  const { answered, failed, unexpected, seconds, options, perServer, errors, samples } = load;
  const latencies = load.latencies.slice(0, answered).sort();
  const servers = [...perServer].sort(([a], [b]) => a.localeCompare(b));
  return [
    ['engine', engine],
    ['clients', String(options.clients)],
    ['requests', `${answered + failed}, ${answered} answered once, ${failed} failed`],
    ...servers.map(([name, count]): Row => [name, `${count} answers`]),
    ['throughput', `${(answered / seconds).toFixed(0)} answers/s over ${seconds.toFixed(1)} s`],
    ['latency', `p50 ${percentile(latencies, 0.5)} ms · p99 ${percentile(latencies, 0.99)} ms`],
    ['computed again', `${samples.length} answers, ${wrong} differ`],
    ['unasked frames', String(unexpected)],
    ['errors', errors.size === 0 ? 'none' : [...errors].map(([name, count]) => `${count} ${name}`).join(', ')],
  ];
}

export function table(rows: readonly Row[]): string {
  const width = Math.max(...rows.map(([name]) => name.length));
  return rows.map(([name, value]) => `  ${name.padEnd(width)}  ${value}`).join('\n');
}

function percentile(sorted: Float64Array, share: number): string {
  if (sorted.length === 0) return '–';
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))].toFixed(2);
}
