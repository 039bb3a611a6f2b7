/** The lines as text. */
import type { Comparison, IdleLine, Line } from './report.js';

const HEADINGS = [
  '',
  'CPU-µs/msg',
  'lowest–highest',
  'against',
  'ratio',
  'limit',
  '',
  'msg/s',
  'p50 µs',
  'p99 µs',
  'backends',
  'load',
];
const IDLE_HEADINGS = ['', 'added MB', 'bytes each', 'limit', '', 'after one message each, MB'];

/** One block per row of the bench. */
export function renderLines(lines: readonly Line[]): string {
  const rows = [...new Set(lines.map(({ row }) => row))];
  return rows
    .map((row) => `${row}\n${grid([HEADINGS, ...lines.filter((one) => one.row === row).flatMap(cells)])}`)
    .join('\n');
}

export function renderIdle(lines: readonly IdleLine[]): string {
  if (lines.length === 0) return '';
  const megabytes = (bytes: number | undefined) => (bytes === undefined ? '' : (bytes / 1e6).toFixed(1));
  const body = lines.map((one) => [
    one.server,
    megabytes(one.addedBytes),
    Math.round(one.addedPerConnection).toString(),
    megabytes(one.limitBytes),
    one.verdict ?? '',
    megabytes(one.touchedBytes),
  ]);
  return `${lines[0].row}\n${grid([IDLE_HEADINGS, ...body])}`;
}

/** A server's own line, and one more for each further comparison. */
function cells(line: Line): string[][] {
  const [first, ...more] = line.comparisons;
  const own = [
    line.server,
    cpu(line.cpuUsPerMessage),
    `${cpu(line.cpuLowest)}–${cpu(line.cpuHighest)}`,
    ...comparison(first),
    Math.round(line.msgPerSec).toLocaleString('en-US'),
    Math.round(line.p50Us).toLocaleString('en-US'),
    Math.round(line.p99Us).toLocaleString('en-US'),
    line.backendsCpuUsPerMessage === undefined ? '' : cpu(line.backendsCpuUsPerMessage),
    cpu(line.loadCpuUsPerMessage),
  ];
  return [own, ...more.map((one) => ['', '', '', ...comparison(one), '', '', '', '', ''])];
}

function comparison(one: Comparison | undefined): string[] {
  if (one === undefined) return ['', '', '', ''];
  return [one.against, one.ratio.toFixed(2), one.limit?.toFixed(2) ?? '', one.verdict ?? ''];
}

const cpu = (microseconds: number): string => microseconds.toFixed(microseconds < 1 ? 3 : 2);

/** The first column and what is compared with to the left, numbers to the right. */
function grid(rows: readonly string[][]): string {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => row[column].length)));
  const text = (cell: string, column: number) =>
    column === 0 || rows[0][column] === 'against' ? cell.padEnd(widths[column]) : cell.padStart(widths[column]);
  return rows.map((row) => `  ${row.map(text).join('  ').trimEnd()}\n`).join('');
}
