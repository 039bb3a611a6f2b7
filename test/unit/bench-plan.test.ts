import { describe, expect, test } from 'vitest';
import { ARRIVALS, CASES, casesOfShape } from '../../bench/cases.js';
import { descriptorsOf, relayConnections, SPARE_DESCRIPTORS } from '../../bench/descriptors.js';
import { GOALS } from '../../bench/goals.js';
import { MEMORY_SUBJECTS } from '../../bench/memory.js';
import { type BenchOptions, matches, parseOptions, UsageError } from '../../bench/options.js';
import { estimateSeconds, isMeasuredIn, planArrivals, planCases } from '../../bench/plan.js';
import { describeShape, parseShape, shape } from '../../bench/shape.js';
import { describeSubject, parseEngine, protocolOf } from '../../bench/subjects.js';

function options(...args: string[]): BenchOptions {
  const parsed = parseOptions(args);
  if (parsed === 'help') throw new Error('help was not asked for');
  return parsed;
}

describe('the table of cases', () => {
  test('every goal is measured: its case, the servers it judges and the one it judges them by', () => {
    for (const { case: name, of, against } of GOALS) {
      const subjects = name === 'memory' ? MEMORY_SUBJECTS : CASES.find((one) => one.name === name)?.subjects;
      for (const subject of [...of, ...against]) expect(subjects, name).toContain(subject);
    }
  });

  test('cases with a goal are measured in every round', () => {
    const judged = GOALS.map((goal) => goal.case).filter((name) => name !== 'memory');
    for (const name of judged) expect(CASES.find((one) => one.name === name)?.key, name).toBe(true);
  });

  test('names are unique, and every arrival rate has a case that measures its capacity', () => {
    expect(new Set(CASES.map(({ name }) => name)).size).toBe(CASES.length);
    for (const { capacityOf, subjects } of ARRIVALS.filter((one) => one.capacityOf !== undefined)) {
      expect(CASES.find(({ name }) => name === capacityOf)?.subjects).toEqual(expect.arrayContaining([...subjects]));
    }
  });

  test('a TCP relay is given as many connections as a limit of 20,000 descriptors allows, and no case asks for more', () => {
    expect(relayConnections(12_000, 1 << 20)).toBe(12_000);
    const most = relayConnections(12_000, 20_000);
    expect(2 * most + SPARE_DESCRIPTORS).toBeLessThanOrEqual(20_000);
    const relayed = CASES.filter(({ subjects }) => subjects.includes('haproxy'));
    for (const { name, shape: its } of relayed) {
      expect(its.connections + its.idle, name).toBeLessThanOrEqual(most);
      expect(descriptorsOf('haproxy', its), name).toBeLessThanOrEqual(20_000);
    }
    expect(relayed.some(({ shape: its }) => its.connections === 5_000)).toBe(true);
    expect(relayed.some(({ shape: its }) => its.idle > 9_000)).toBe(true);
    expect(descriptorsOf('io_uring', shape(100, 1, 64, { idle: 10_000 }))).toBe(10_200);
  });

  test('streams and cancels go to servers that know them', () => {
    const special = CASES.filter(({ shape: { mode } }) => mode === 'stream' || mode === 'cancel');
    expect(special.length).toBe(2);
    for (const { subjects } of special) for (const name of subjects) expect(protocolOf(name)).toBe('rmp');
  });

  test('a whole run takes less than 15 minutes, a quick one less than 2', () => {
    expect(estimateSeconds(options()) / 60).toBeLessThan(15);
    expect(estimateSeconds(options('--quick')) / 60).toBeLessThan(2);
  });
});

describe('what is asked for', () => {
  test('cases and servers by pattern', () => {
    const cases = planCases(options('--case', 'echo-500x*', '--server', 'io_uring*,node:net'));
    expect(cases.map(({ name }) => name)).toEqual(['echo-500x1', 'echo-500x16']);
    expect(cases[0].subjects).toEqual(['node:net', 'io_uring', 'io_uring/0', 'io_uring/1', 'io_uring/2']);
    expect(matches('epoll/1', ['epoll'])).toBe(false);
    expect(matches('node:net-in-place', ['node:net*'])).toBe(true);
  });

  test('a relay’s added latency comes with the same load straight on its backend', () => {
    const [, added] = planArrivals(options('--server', 'io_uring:rmp,epoll')).filter(({ room }) => room === 'relay');
    expect(added.subjects).toEqual(['direct:rmp', 'direct', 'io_uring:rmp', 'epoll']);
    const all = planArrivals(options()).find(({ name }) => name === 'relay-added')!.subjects;
    for (const name of ['haproxy', 'node:net-gateway', 'epoll', 'portable']) expect(all).toContain(name);
  });

  test('nothing else is measured along with cases that were named', () => {
    expect(planArrivals(options('--case', 'echo-1x1'))).toEqual([]);
    expect(options('--case', 'echo-1x1').parts).toEqual(['echo', 'relay']);
  });

  test('a shape of one’s own is measured in both rooms, or where it has a meaning', () => {
    const cases = planCases(options('--shape', '200x4x512 20x2x64/stream'));
    expect(cases.map(({ name }) => name)).toEqual([
      'echo-200 × 4, 512 B',
      'relay-200 × 4, 512 B',
      'relay-20 × 2, 64 B, 100 partials',
    ]);
    expect(casesOfShape(shape(1, 1, 8))).toHaveLength(2);
  });

  test('a quick look leaves cases without a goal and fixed reactors out', () => {
    const quick = planCases(options('--quick'));
    expect(quick.every(({ key }) => key)).toBe(true);
    expect(
      quick.flatMap(({ subjects }) => subjects).filter((name) => parseEngine(name)?.reactors !== undefined),
    ).toEqual([]);
  });

  test.each([
    ['--case', 'no-such-case'],
    ['--server', 'no-such-server'],
    ['--shape', '1x2'],
    ['--shape', '1x1x7'],
    ['--shape', '0x1x64'],
    ['--shape', '1x1x64/unknown'],
    ['--only', 'everything'],
    ['--rounds', '0'],
    ['--seconds', 'x'],
    ['--unknown', ''],
  ])('%s %s is refused', (name, value) => {
    expect(() => planCases(options(name, value))).toThrow(UsageError);
  });

  test('two things at a time are refused', () => {
    expect(() => options('--profile', 'echo-1x1', '--capture', 'relay-1x1')).toThrow(UsageError);
    expect(options('--capture', 'relay-1x1').task).toBe('capture');
    expect(parseOptions(['--help'])).toBe('help');
  });

  test('every second round for what has no goal', () => {
    const [key, other] = [CASES.find((one) => one.key)!, CASES.find((one) => !one.key)!];
    expect([1, 2, 3].map((round) => isMeasuredIn(round, key, 'io_uring'))).toEqual([true, true, true]);
    expect([1, 2, 3].map((round) => isMeasuredIn(round, key, 'io_uring/1'))).toEqual([true, false, true]);
    expect([1, 2, 3].map((round) => isMeasuredIn(round, other, 'io_uring'))).toEqual([true, false, true]);
  });
});

describe('names', () => {
  test('shapes', () => {
    expect(parseShape('100x1x64+10000idle')).toEqual(shape(100, 1, 64, { idle: 10_000 }));
    expect(describeShape(parseShape('50x4x64:90,4096:10/churn')!)).toBe('50 × 4, mixed sizes, connect-request-close');
    expect(describeShape(shape(50, 1, 16_384))).toBe('50 × 1, 16 KB');
  });

  test('servers', () => {
    expect(parseEngine('epoll/2:rmp')).toEqual({ engine: 'epoll', reactors: 2 });
    expect(parseEngine('node:net')).toBeUndefined();
    expect(describeSubject('relay', 'epoll/2:rmp')).toBe('gateway epoll, reactors 2, rmp');
    expect(describeSubject('echo', 'io_uring')).toBe('ringway io_uring');
    expect(describeSubject('relay', 'haproxy')).toBe('haproxy');
  });
});
