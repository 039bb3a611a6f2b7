/** SVG charts of a run: bars of CPU time per case, percentiles over arrival rates, goals. Plain SVG, no script, no font but the reader's. */
import type { ArrivalSeries } from './arrivals.js';
import type { GoalLine } from './goals.js';
import { type Latency, serverCpu } from './load.js';
import type { Results } from './results.js';
import { describeSubject } from './subjects.js';
import { divisionOf, latencyOf, mid } from './summary.js';
import { figure } from './table.js';

const USER = '#4477aa';
const SYSTEM = '#aabbcc';
const LINES = ['#4477aa', '#ee6677', '#228833', '#ccbb44', '#66ccee', '#aa3377', '#888888', '#000000'];
const GOOD = { 'aim met': '#228833', 'must met': '#4477aa', MISSED: '#ee6677', shown: '#888888' } as const;

interface Bar {
  readonly label: string;
  readonly parts: readonly number[];
  readonly text: string;
}

/** One bar per server and case: user and system time of a message. */
export function cpuChart({ series, shapes }: Results): string {
  const names = [...new Set(series.map((one) => one.case))];
  let y = 44;
  const blocks: string[] = [];
  for (const name of names) {
    const room = name.startsWith('relay') ? 'relay' : 'echo';
    const bars = series
      .filter((one) => one.case === name)
      .map(({ subject, samples }): Bar => {
        const total = mid(samples, serverCpu);
        const user = total * (divisionOf(samples)?.user ?? 0);
        return { label: describeSubject(room, subject), parts: [user, total - user], text: figure(total) };
      });
    blocks.push(text(10, y, `${name}: ${shapes[name] ?? ''}`, 'bold'), ...barRows(bars, y + 8));
    y += 8 + bars.length * 18 + 30;
  }
  const legend = `${swatch(560, 8, USER)}${text(576, 18, 'user')}${swatch(620, 8, SYSTEM)}${text(636, 18, 'system')}`;
  return svg(900, y, [text(10, 18, 'CPU-µs per message of the server process', 'bold'), legend, ...blocks].join(''));
}

function barRows(bars: readonly Bar[], top: number): string[] {
  const most = Math.max(...bars.map(({ parts }) => parts[0] + parts[1]));
  return bars.map(({ label, parts, text: value }, index) => {
    const y = top + index * 18;
    const [user, system] = parts.map((part) => (part / most) * 560);
    const bar = `${rect(220, y, user, 14, USER)}${rect(220 + user, y, system, 14, SYSTEM)}`;
    return `${text(212, y + 11, label, 'end')}${bar}${text(226 + user + system, y + 11, value)}`;
  });
}

const RANKS = ['p50', 'p90', 'p99', 'p999', 'max'] as const satisfies readonly (keyof Latency)[];

/** Latency by percentile (both logarithmic), a panel per share of capacity or common rate. */
export function latencyChart({ arrivals, shapes }: Results): string {
  const panelOf = ({ case: name, share, ratePerSec }: ArrivalSeries) => `${name}|${share ?? ratePerSec}`;
  const panels = [...new Set(arrivals.map(panelOf))];
  const height = 230;
  const drawn = panels.map((key, index) => {
    const inPanel = arrivals.filter((one) => panelOf(one) === key);
    const room = inPanel[0].case.startsWith('relay') ? 'relay' : 'echo';
    const lines = inPanel.map(({ subject, samples }) => ({
      label: describeSubject(room, subject),
      values: RANKS.map((rank) => latencyOf(samples)[rank]),
    }));
    const { share, ratePerSec } = inPanel[0];
    const load = share === undefined ? `${figure(ratePerSec)} msg/s` : `${Math.round(100 * share)} % of capacity`;
    const title = `${inPanel[0].case} (${shapes[inPanel[0].case] ?? ''}) at ${load}, µs`;
    return panel(title, lines, 30 + index * height);
  });
  const head = text(10, 18, 'latency at a constant arrival rate, from the time at which a message was due', 'bold');
  return svg(900, 40 + panels.length * height, head + drawn.join(''));
}

function panel(title: string, lines: readonly { label: string; values: number[] }[], top: number): string {
  const all = lines.flatMap(({ values }) => values).filter((value) => value > 0);
  const low = Math.floor(Math.log10(Math.min(...all)));
  const high = Math.ceil(Math.log10(Math.max(...all)));
  const x = (index: number) => 80 + index * 120;
  const y = (value: number) =>
    top + 170 - ((Math.log10(Math.max(value, 10 ** low)) - low) / Math.max(1, high - low)) * 150;
  const grid = Array.from({ length: high - low + 1 }, (_, step) => {
    const value = 10 ** (low + step);
    return `<line x1="80" x2="560" y1="${y(value)}" y2="${y(value)}" stroke="#ddd"/>${text(72, y(value) + 4, figure(value), 'end')}`;
  });
  const ranks = RANKS.map((rank, index) => text(x(index), top + 190, rank === 'p999' ? 'p99.9' : rank, 'middle'));
  const drawn = lines.map(({ label, values }, index) => {
    const color = LINES[index % LINES.length];
    const points = values.map((value, rank) => `${x(rank)},${y(value).toFixed(1)}`).join(' ');
    const line = `<polyline points="${points}" fill="none" stroke="${color}" stroke-width="2"/>`;
    return `${line}${swatch(600, top + 14 + index * 18, color)}${text(616, top + 24 + index * 18, label)}`;
  });
  return [text(10, top + 8, title, 'bold'), ...grid, ...ranks, ...drawn].join('');
}

/** Room for the longest row and both its servers. */
const GOAL_LEFT = 500;

/** Each goal as a bar of what was measured over what it must be, the line at 1. */
export function goalChart(lines: readonly GoalLine[]): string {
  const judged = lines.flatMap(({ must, ...line }) => (must === undefined ? [] : [{ ...line, must }]));
  const most = Math.max(1.2, ...judged.map(({ value, must }) => value / must));
  const scale = (share: number) => (Math.min(share, most) / most) * 420;
  const rows = judged.map(({ row, subject, against, value, must, aim, verdict }, index) => {
    const y = 40 + index * 20;
    const room = row.startsWith('relay') ? 'relay' : 'echo';
    const label = `${row}: ${describeSubject(room, subject)}${against === undefined ? '' : ` / ${describeSubject(room, against)}`}`;
    const mark =
      aim === undefined
        ? ''
        : `<line x1="${GOAL_LEFT + scale(aim / must)}" x2="${GOAL_LEFT + scale(aim / must)}" y1="${y}" y2="${y + 14}" stroke="#000" stroke-dasharray="2"/>`;
    return `${text(GOAL_LEFT - 8, y + 11, label, 'end')}${rect(GOAL_LEFT, y, scale(value / must), 14, GOOD[verdict])}${mark}${text(GOAL_LEFT + 6 + scale(value / must), y + 11, `${figure(value)} of ${figure(must)}`)}`;
  });
  const bottom = 40 + judged.length * 20;
  const limit = `<line x1="${GOAL_LEFT + scale(1)}" x2="${GOAL_LEFT + scale(1)}" y1="30" y2="${bottom}" stroke="#000"/>`;
  const head = text(10, 18, 'goals: measured over what it must not exceed (line), the aim dashed', 'bold');
  return svg(1060, bottom + 20, head + rows.join('') + limit);
}

function svg(width: number, height: number, content: string): string {
  const font = 'font-family="system-ui, sans-serif" font-size="11"';
  const ground = `<rect width="${width}" height="${height}" fill="#fff"/>`;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" ${font}>${ground}${content}</svg>\n`;
}

function text(x: number, y: number, content: string, style: 'bold' | 'end' | 'middle' | '' = ''): string {
  const how = style === 'bold' ? ' font-weight="bold"' : style === '' ? '' : ` text-anchor="${style}"`;
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}"${how}>${escapeXml(content)}</text>`;
}

function rect(x: number, y: number, width: number, height: number, color: string): string {
  return `<rect x="${x.toFixed(1)}" y="${y}" width="${Math.max(0, width).toFixed(1)}" height="${height}" fill="${color}"/>`;
}

function swatch(x: number, y: number, color: string): string {
  return rect(x, y, 12, 12, color);
}

export function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;');
}
