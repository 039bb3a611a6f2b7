/** `--list`: what would be measured, and why. */
import { COMMON_RATES } from './cases.js';
import type { BenchOptions } from './options.js';
import { estimateSeconds, planArrivals, planCases } from './plan.js';
import { describeShape } from './shape.js';
import { renderText } from './table.js';

function ratesOf(capacityOf: string | undefined): string {
  return capacityOf === undefined ? `${COMMON_RATES.join(' and ')} msg/s` : `shares of ${capacityOf}`;
}

export function listCases(options: BenchOptions): string {
  const rows = planCases(options).map(({ name, shape, key, subjects, why }) => [
    ...[name, describeShape(shape), key ? 'every round' : 'every second round', why, subjects.join(' ')],
  ]);
  const arrivals = planArrivals(options).map(({ name, shape, capacityOf, subjects }) => [
    ...[name, describeShape(shape), '', `arrivals at ${ratesOf(capacityOf)}`, subjects.join(' ')],
  ]);
  const table = renderText({
    title: 'cases',
    headings: ['name', 'connections × in flight, payload', 'measured', 'why', 'servers'],
    rows: [...rows, ...arrivals],
  });
  return `${table}also: ${options.parts.filter((part) => part === 'memory' || part === 'inside').join(', ') || 'nothing'}\nabout ${(estimateSeconds(options) / 60).toFixed(1)} minutes\n`;
}
