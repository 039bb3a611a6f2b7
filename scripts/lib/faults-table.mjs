const MIB = 2 ** 20;

/** The figures of the fault suite as a Markdown table: one row per fault and engine, as docs/RELIABILITY.md has it. */
export function faultsTable(figures) {
  const head = [
    '| fault | engine | sent | answered | typed errors | cut | lost | bystanders | RSS MiB: before, most, after | fds |',
    '|---|---|---|---|---|---|---|---|---|---|',
  ];
  return [...head, ...figures.map(row)].join('\n');
}

function row({ fault, engine, exposed, bystanders, memory }) {
  const errors = Object.entries(exposed.failed).map(([status, count]) => `${status} ${count}`);
  const cells = [
    ...[fault, engine, exposed.sent, exposed.answered, errors.join(', ') || '0', exposed.cut, exposed.lost],
    ...[`${bystanders.answered} of ${bystanders.sent}`, ...held(memory)],
  ];
  return `| ${cells.join(' | ')} |`;
}

/** Nothing of a gateway that ended in the fault. */
function held(memory) {
  if (memory === undefined) return ['–', '–'];
  const { before, after, peakRssBytes } = memory;
  const rss = [before.rssBytes, peakRssBytes, after.rssBytes].map((bytes) => Math.round(bytes / MIB)).join(', ');
  return [rss, `${before.fds} → ${after.fds}`];
}
