/** Writes one run into bench/results/: samples as JSON, the report as Markdown, charts as SVG beside it. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { cpuChart, goalChart, latencyChart } from './chart.js';
import { judgeGoals } from './goals.js';
import { allTables, describeCommit, describeIt, describeRun, warnings } from './report.js';
import type { Results } from './results.js';
import { root } from './root.js';
import { renderMarkdown } from './table.js';

/** A folder of results, relative paths of what was written in it. */
export function saveResults(results: Results, directory = join(root, 'bench', 'results')): string[] {
  mkdirSync(directory, { recursive: true });
  const stem = results.at.replace(/[:.]/g, '-');
  const written: string[] = [];
  const write = (name: string, text: string) => {
    writeFileSync(join(directory, name), text);
    written.push(relative(root, join(directory, name)));
    return name;
  };
  write(`${stem}.json`, `${JSON.stringify(results, null, 1)}\n`);
  const charts: string[] = [];
  const goals = judgeGoals(results.series, results.memory);
  if (goals.length > 0) charts.push(write(`${stem}-goals.svg`, goalChart(goals)));
  if (results.series.length > 0) charts.push(write(`${stem}-cpu.svg`, cpuChart(results)));
  if (results.arrivals.length > 0) charts.push(write(`${stem}-latency.svg`, latencyChart(results)));
  write(`${stem}.md`, markdownReport(results, charts));
  return written;
}

export function markdownReport(results: Results, charts: readonly string[]): string {
  const list = (title: string, lines: readonly string[]) =>
    lines.length === 0 ? [] : [`### ${title}`, '', ...lines.map((line) => `- ${line}`), ''];
  return [
    `# Bench of ${results.at}`,
    '',
    `${describeIt(results.machine)}; ${describeCommit(results.machine)}.`,
    '',
    `${describeRun(results)}. How to read it: bench/README.md.`,
    '',
    ...list('Warnings', warnings(results)),
    ...list('Left out', results.notes),
    ...list('Failed', results.failures),
    ...charts.flatMap((chart) => [`![${chart}](${chart})`, '']),
    ...allTables(results).map(renderMarkdown),
  ].join('\n');
}
