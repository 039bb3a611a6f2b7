import { expect, test } from 'vitest';
import { COUNTERS, type CounterName } from '../../src/engine/tables.gen.js';
import { RefusalLog } from '../../src/gateway/refusal-log.js';

test('one line a second says what increased, and nothing else', () => {
  const counted = Object.fromEntries(COUNTERS.map(({ name }) => [name, 0])) as Record<CounterName, number>;
  counted.accept_errors = 7;
  const links = { lateResponses: 0, unknownResponses: 0, ignoredFrames: 0, protocolErrors: 0 };
  const lines: unknown[] = [];
  const refusals = new RefusalLog({ counters: () => ({ ...counted }) }, links, (...line) => lines.push(line));
  refusals.tick(0);
  expect(lines).toEqual([]);
  counted.refused_max_connections = 3;
  counted.accepted = 50;
  links.lateResponses = 2;
  refusals.tick(999);
  expect(lines).toEqual([]);
  refusals.tick(1_000);
  expect(lines).toEqual([
    ['warn', 'client.refused', { refused_max_connections: 3 }],
    ['warn', 'backend.unexpected-answers', { lateResponses: 2 }],
  ]);
  counted.refused_max_connections = 4;
  counted.accept_errors = 8;
  refusals.tick(2_000);
  expect(lines.at(-1)).toEqual(['warn', 'client.refused', { refused_max_connections: 1, accept_errors: 1 }]);
  refusals.tick(3_000);
  expect(lines).toHaveLength(3);
});
