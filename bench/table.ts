/** A table as text for the terminal and as Markdown for the report. */

export interface Table {
  readonly title: string;
  /** A sentence below the title. */
  readonly note?: string;
  readonly headings: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

/** Names to the left, numbers to the right. */
export function renderText({ title, note, headings, rows }: Table): string {
  const all = [headings, ...rows];
  const widths = headings.map((_, column) => Math.max(...all.map((row) => row[column].length)));
  const cell = (text: string, column: number) =>
    isText(rows, column) ? text.padEnd(widths[column]) : text.padStart(widths[column]);
  const lines = all.map((row) => `  ${row.map(cell).join('  ').trimEnd()}`);
  return `${[title, ...(note === undefined ? [] : [`  ${note}`]), ...lines].join('\n')}\n`;
}

export function renderMarkdown({ title, note, headings, rows }: Table): string {
  const line = (cells: readonly string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  const rule = headings.map((_, column) => (isText(rows, column) ? '---' : '---:'));
  const head = [`### ${title}`, '', ...(note === undefined ? [] : [note, ''])];
  return `${[...head, line(headings), line(rule), ...rows.map(line)].join('\n')}\n`;
}

function isText(rows: readonly (readonly string[])[], column: number): boolean {
  return rows.some((row) => /^[A-Za-z]/.test(row[column]));
}

/** Three significant figures, or whole numbers with commas. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return '';
  if (Math.abs(value) >= 100) return Math.round(value).toLocaleString('en-US');
  return value.toFixed(Math.abs(value) < 1 ? 3 : Math.abs(value) < 10 ? 2 : 1);
}

/** Of a share. */
export function percent(share: number): string {
  return `${Math.round(100 * share)} %`;
}
