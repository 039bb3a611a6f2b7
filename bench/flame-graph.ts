/**
 * Draws a flame graph: each frame as wide as its share of the samples, callers below, callees above, siblings by name. Ours, because it is
 * eighty lines: what npm has for it either starts and profiles the program itself or brings a viewer of many packages.
 */
import { escapeXml } from './chart.js';
import { roomOf, type StackTree } from './perf-script.js';

const WIDTH = 1200;
const ROW = 16;
const LEAST_WIDTH = 0.4;
/** A letter at 11 px, more or less. */
const LETTER = 6.4;

const COLORS = {
  kernel: '#f0a04b',
  JavaScript: '#8ac926',
  V8: '#c7e59b',
  addon: '#4d9de0',
  native: '#c8a2c8',
} as const;

export function drawFlameGraph(tree: StackTree, title: string): string {
  const depth = depthOf(tree);
  const height = (depth + 1) * ROW + 70;
  const frames: string[] = [];
  draw(tree, 0, 0, tree.samples, height - 30 - ROW, frames);
  const legend = Object.entries(COLORS).map(
    ([name, color], index) =>
      `<rect x="${10 + index * 100}" y="28" width="12" height="12" fill="${color}"/><text x="${26 + index * 100}" y="38">${name}</text>`,
  );
  const style = 'font-family="system-ui, sans-serif" font-size="11"';
  const head = `<text x="10" y="18" font-size="14" font-weight="bold">${escapeXml(title)}</text>`;
  const ground = `<rect width="${WIDTH}" height="${height}" fill="#fff"/>`;
  return `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" ${style}>${ground}${head}${legend.join('')}${frames.join('')}</svg>\n`;
}

function draw(tree: StackTree, before: number, level: number, total: number, bottom: number, into: string[]): void {
  const scale = (WIDTH - 20) / total;
  const width = tree.samples * scale;
  if (width < LEAST_WIDTH) return;
  into.push(frame(tree, 10 + before * scale, bottom - level * ROW, width, total));
  let at = before;
  for (const child of [...tree.children.values()].sort((a, b) => (a.name < b.name ? -1 : 1))) {
    draw(child, at, level + 1, total, bottom, into);
    at += child.samples;
  }
}

function frame({ name, samples }: StackTree, x: number, y: number, width: number, total: number): string {
  const shown = name.replace(/_\[[kj]\]$/, '');
  const share = ((100 * samples) / total).toFixed(1);
  const room = Math.floor((width - 4) / LETTER);
  const label = room < 3 ? '' : shown.length <= room ? shown : `${shown.slice(0, room - 1)}…`;
  const text = label === '' ? '' : `<text x="${(x + 2).toFixed(1)}" y="${y + 12}">${escapeXml(label)}</text>`;
  const box = `<rect x="${x.toFixed(1)}" y="${y}" width="${Math.max(0.2, width - 0.3).toFixed(1)}" height="${ROW - 1}" fill="${COLORS[roomOf(name)]}"/>`;
  return `<g><title>${escapeXml(`${shown}: ${samples} samples, ${share} %`)}</title>${box}${text}</g>`;
}

function depthOf({ children }: StackTree): number {
  return 1 + Math.max(0, ...[...children.values()].map(depthOf));
}
