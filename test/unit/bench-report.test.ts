import { describe, expect, test } from 'vitest';
import type { ArrivalSeries } from '../../bench/arrivals.js';
import { cpuChart, escapeXml, goalChart, latencyChart } from '../../bench/chart.js';
import { compareResults, compareSamples, comparisonTables, differencesOfMachines } from '../../bench/compare.js';
import { judgeGoals } from '../../bench/goals.js';
import type { MemorySeries } from '../../bench/memory.js';
import { addedLatencyTable } from '../../bench/added-latency.js';
import { caseTables, describeCommit, memoryTable, renderAll, warnings } from '../../bench/report.js';
import type { Series } from '../../bench/rounds.js';
import { markdownReport } from '../../bench/save.js';
import { threadsOf } from '../../bench/subjects.js';
import { divisionOf, generatorWasTheLimit, latencyOf, machineWasFull } from '../../bench/summary.js';
import { figure, renderMarkdown, renderText } from '../../bench/table.js';
import { cpuTime, results, sample, series } from '../support/bench-results.js';

const memory: MemorySeries = {
  ...{ subject: 'io_uring', connections: 10_000, touchedBytes: [9e6], kernelBytes: [30e6], socketBufferBytes: [2e6] },
  addedBytes: [7e6, 5e6, 6e6],
};

describe('goals', () => {
  const measured = [
    series('echo-500x1', 'io_uring', [5, 5.1, 4.9]),
    series('echo-500x1', 'epoll', [6.4, 6.5, 6.6]),
    series('echo-500x1', 'node:net', [10, 10.2, 9.9]),
    series('echo-500x1', 'c-io_uring', [4, 4, 4]),
    series('echo-10000x1', 'io_uring', [7, 7, 7]),
    series('echo-10000x1', 'c-io_uring', [5.6, 5.6, 5.6]),
  ];
  const find = (row: string, subject: string, against?: string) =>
    judgeGoals(measured, [memory]).find(
      (one) => one.row === row && one.subject === subject && (!against || one.against === against),
    );

  test('the aim, what must be, or neither', () => {
    expect(find('echo 500 × 1', 'io_uring', 'node:net')).toMatchObject({
      value: 0.5,
      must: 0.6,
      aim: 0.5,
      verdict: 'aim met',
    });
    expect(find('echo 500 × 1', 'epoll', 'node:net')).toMatchObject({ value: 0.65, verdict: 'MISSED' });
    expect(find('echo 500 × 1', 'io_uring', 'c-io_uring')).toMatchObject({ value: 1.25, verdict: 'must met' });
  });

  test('the better of two floors, and the better of two gateways, is what counts; a row without a limit is shown', () => {
    const floors = [...measured, series('echo-500x1', 'c-epoll', [2.5, 2.5, 2.5])];
    const rows = judgeGoals(floors, []).filter(
      ({ row, subject }) => /^echo 500 × 1/.test(row) && subject === 'io_uring',
    );
    expect(rows.map(({ row, against, value, verdict }) => [row, against, value, verdict])).toEqual([
      ['echo 500 × 1', 'node:net', 0.5, 'aim met'],
      ['echo 500 × 1', 'c-io_uring', 1.25, 'must met'],
      ['echo 500 × 1, the better floor', 'c-epoll', 2, 'shown'],
    ]);
    const gateways = [
      series('relay-500x1', 'io_uring', [4]),
      series('relay-500x1', 'node:net-gateway', [10]),
      series('relay-500x1', 'node:net-gateway-per-chunk', [8]),
    ];
    expect(judgeGoals(gateways, [])).toMatchObject([{ against: 'node:net-gateway-per-chunk', value: 0.5 }]);
    expect(goalChart(rows)).not.toMatch(/NaN|undefined/);
  });

  test('growth is a ratio of ratios', () => {
    const grown = find('CPU per message at 10,000 connections over 500', 'io_uring');
    expect(grown?.value).toBeCloseTo(7 / 5 / (5.6 / 4));
    expect(grown?.verdict).toBe('aim met');
  });

  test('memory is a number of bytes, of each connection and of all', () => {
    expect(find('bytes per idle connection', 'io_uring')).toMatchObject({ value: 600, verdict: 'must met' });
    expect(find('MB of 10,000 idle connections', 'io_uring')).toMatchObject({ value: 6e6, verdict: 'must met' });
  });

  test('what was not measured is not judged', () => {
    expect(judgeGoals([measured[0]], [])).toEqual([]);
  });

  test('rmp gateways are compared with a portable one that speaks rmp', () => {
    const relay = [
      series('relay-500x1', 'io_uring:rmp', [4]),
      series('relay-500x1', 'portable:rmp', [10]),
      series('relay-500x1', 'portable', [1]),
    ];
    expect(judgeGoals(relay, [])).toMatchObject([{ against: 'portable:rmp', value: 0.4, verdict: 'must met' }]);
  });
});

describe('tables', () => {
  test('medians and spread of a case, user and system apart', () => {
    const [table] = caseTables(results([series('echo-500x1', 'io_uring', [5, 4, 6])]));
    const row = Object.fromEntries(table.headings.map((heading, index) => [heading, table.rows[0][index]]));
    expect(table.title).toBe('echo-500x1: 500 × 1, 64 B');
    expect(row).toMatchObject({
      server: 'ringway io_uring',
      'CPU-µs/msg': '5.00',
      'lowest–highest': '4.00–6.00',
      user: '1.00',
    });
    expect(row).toMatchObject({
      system: '4.00',
      'msg/s': '100,000',
      'p50 µs': '50.0',
      'worst p99.9': '480',
      max: '960',
      load: '50 %',
    });
  });

  test('one round is too short to tell user from system time: ticks are added up over all', () => {
    const rounds = [1, 0, 2, 0].map((userTicks) => sample(5, { cpu: [{ totalUs: 5e5, userTicks, systemTicks: 9 }] }));
    const division = divisionOf(rounds)!;
    expect(division.user).toBeCloseTo(3 / 39);
    expect(division.uncertain).toBeGreaterThan(0.05);
    expect(divisionOf([sample(5, { cpu: [{ totalUs: 9, userTicks: 0, systemTicks: 0 }] })])).toBeUndefined();
    const none = divisionOf([sample(5, { cpu: [{ totalUs: 5e5, userTicks: 0, systemTicks: 50 }] })])!;
    expect(none.uncertain).toBeGreaterThan(0.03);
    const [table] = caseTables(results([{ case: 'echo-500x1', subject: 'io_uring', samples: rounds }]));
    expect(table.rows[0].slice(3, 5)).toEqual(['0.385', '4.62']);
    expect(table.note).toMatch(/clock ticks of all rounds, ±\d+ %/);
  });

  test('the maximum is that of all rounds, p99.9 that of the worst, the others are medians', () => {
    const latency = latencyOf([sample(1), sample(2), sample(9)]);
    expect(latency).toEqual({ p50: 20, p90: 40, p99: 80, p999: 720, max: 1440 });
  });

  test('backends have their own column', () => {
    const withBackends = [
      sample(5, {
        cpu: [cpuTime(2e5), cpuTime(5e4), cpuTime(5e4)],
      }),
    ];
    const [table] = caseTables(results([{ case: 'relay-500x1', subject: 'haproxy', samples: withBackends }]));
    expect(table.rows[0][table.headings.indexOf('backends')]).toBe('1.00');
  });

  describe('added latency', () => {
    const lone = (...of: Series[]) => addedLatencyTable(results(of))?.rows;
    const arriving = (subject: string, cpuUs: number, answered = 1): ArrivalSeries => ({
      ...{ case: 'relay-added', subject, share: undefined, ratePerSec: 30_000 },
      samples: [sample(cpuUs, { due: 100_000 / answered })],
    });
    const atRate = (...arrivals: ArrivalSeries[]) => addedLatencyTable(results([], { arrivals }))?.rows;

    test('is with minus without, in the same protocol', () => {
      const series1x1 = (subject: string, cpuUs: number) => series('relay-1x1', subject, [cpuUs]);
      expect(lone(series1x1('io_uring', 5), series1x1('direct', 2))).toEqual([
        ['one lone client', 'gateway io_uring, plain', '30.0', '60.0', '120', ''],
      ]);
      expect(lone(series1x1('io_uring', 5))).toBeUndefined();
      expect(lone(series1x1('io_uring:rmp', 5), series1x1('direct', 2))).toBeUndefined();
    });

    test('is there for every relay at one rate', () => {
      const rows = atRate(arriving('direct', 2), arriving('haproxy', 3), arriving('portable', 4));
      expect(rows?.map((row) => row.slice(0, 3))).toEqual([
        ['30,000 msg/s', 'haproxy', '10.0'],
        ['30,000 msg/s', 'gateway portable, plain', '20.0'],
      ]);
    });

    test('is refused, with the reason, when either side fell behind', () => {
      expect(atRate(arriving('direct', 2), arriving('haproxy', 3, 0.97))).toEqual([
        ['30,000 msg/s', 'haproxy', '', '', '', 'the gateway answered 97.0 % of what was due'],
      ]);
      expect(atRate(arriving('direct', 2, 0.5), arriving('haproxy', 3))?.[0].at(-1)).toContain('the backend alone');
    });
  });

  test('memory per connection: the kernel’s objects of the server’s end, half of the data at both', () => {
    expect(memoryTable([memory])?.rows[0]).toEqual(['ringway io_uring', '600', '900', '3,000', '100', '6.0']);
    expect(memoryTable([])).toBeUndefined();
  });

  test('as text the numbers stand to the right, as Markdown bars are escaped', () => {
    const table = {
      title: 'a title',
      headings: ['name', 'n'],
      rows: [
        ['a|b', '1'],
        ['c', '100'],
      ],
    };
    expect(renderText(table)).toBe('a title\n  name    n\n  a|b     1\n  c     100\n');
    expect(renderMarkdown(table)).toBe('### a title\n\n| name | n |\n| --- | ---: |\n| a\\|b | 1 |\n| c | 100 |\n');
    expect([0.1234, 1.234, 12.34, 1234.5, Number.NaN].map(figure)).toEqual(['0.123', '1.23', '12.3', '1,235', '']);
  });
});

describe('warnings', () => {
  test('the generator was the limit when its core was full and the server’s threads had cores left', () => {
    const limited = (cpuUs: number, generatorUs: number, threads = 1, cores = 2) =>
      generatorWasTheLimit([sample(cpuUs, { generatorUs })], threads, cores);
    expect(limited(5, 990_000)).toBe(true);
    expect(limited(9.5, 990_000)).toBe(false);
    expect(limited(5, 700_000)).toBe(false);
    // One and a half cores used: all that a server with one thread can have, but not one with two.
    expect(limited(15, 990_000, 2)).toBe(true);
    expect(limited(15, 990_000, 3, 8)).toBe(true);
    expect(limited(18.5, 990_000, 3, 2)).toBe(false);
    expect(['io_uring', 'epoll/0', 'epoll/2:rmp', 'haproxy'].map(threadsOf)).toEqual([1, 1, 3, 1]);
  });

  test('the machine was full when server, backends and generator had all of it', () => {
    const full = sample(8, { generatorUs: 600_000, cpu: [cpuTime(8e5), cpuTime(3e5), cpuTime(3e5)] });
    expect(machineWasFull([full], 2)).toBe(true);
    expect(machineWasFull([full], 4)).toBe(false);
    const text = warnings(results([{ case: 'relay-500x1', subject: 'haproxy', samples: [full] }])).join();
    expect(text).toContain('in 1 of 1 rows all 2 cores were full');
  });

  test('a busy machine, a rate that was not reached, a generator that was late', () => {
    const base = results([]);
    const arrivals = [
      {
        case: 'echo-arrivals',
        subject: 'io_uring',
        share: 0.8,
        ratePerSec: 120_000,
        samples: [sample(5, { due: 120_000 })],
      },
      {
        case: 'echo-arrivals',
        subject: 'epoll',
        share: 0.5,
        ratePerSec: 100_000,
        samples: [sample(5, { latenessP99Us: 150 })],
      },
    ];
    const found = warnings(results([], { machine: { ...base.machine, load: 3 }, arrivals }));
    expect(found).toHaveLength(3);
    expect(found[0]).toContain('busy');
    expect(found[1]).toContain('only 83 %');
    expect(found[2]).toContain('late');
    expect(warnings(base)).toEqual([]);
  });
});

describe('the report', () => {
  const whole = results([series('echo-500x1', 'io_uring', [5]), series('echo-500x1', 'node:net', [10])], {
    arrivals: [
      {
        case: 'echo-arrivals',
        subject: 'io_uring',
        share: 0.5,
        ratePerSec: 1e5,
        samples: [sample(5)],
      },
    ],
    memory: [memory],
    inside: [
      {
        case: 'echo-500x1',
        subject: 'io_uring',
        msgPerSec: 1,
        system: { tool: 'perf', callsPerMessage: 2, switchesPerMessage: 0.5, byName: { read: 1 } },
      },
    ],
    notes: ['a peer: not installed'],
  });

  test('says machine, settings, what was left out, and counts goals', () => {
    const text = renderAll(whole);
    for (const part of [
      'a processor, 2 cores',
      'haproxy 2.6, nginx not installed',
      'commit abc1234',
      '--seed 7',
      'left out: a peer',
    ]) {
      expect(text).toContain(part);
    }
    expect(text).toContain('goals: 1 reached the aim, 2 what they must, 0 missed');
  });

  test('is Markdown with its charts', () => {
    const markdown = markdownReport(whole, ['x.svg']);
    expect(markdown).toContain('![x.svg](x.svg)');
    expect(markdown).toContain('measured: commit abc1234.');
    expect(describeCommit({ ...whole.machine, commit: 'abc1234+' })).toBe(
      'measured: commit abc1234, with files changed since',
    );
    expect(markdown).toContain('| ringway io_uring | 5.00 |');
    expect(markdown).toContain('- a peer: not installed');
  });

  test('charts are well-formed: every value drawn, markup escaped', () => {
    const charts = [cpuChart(whole), latencyChart(whole), goalChart(judgeGoals(whole.series, whole.memory))];
    for (const chart of charts) {
      expect(chart).toMatch(/^<svg [^>]*>.*<\/svg>\n$/s);
      expect(chart).not.toMatch(/NaN|undefined|Infinity/);
    }
    expect(charts[0].match(/<rect [^>]*fill="#4477aa"/g)).toHaveLength(3);
    expect(escapeXml('<a & "b">')).toBe('&lt;a &amp; &quot;b&quot;&gt;');
  });
});

describe('comparing two runs', () => {
  const before = [5.0, 5.1, 4.9, 5.05, 4.95];

  test('a change beyond the noise, in either direction', () => {
    expect(
      compareSamples(
        before,
        before.map((one) => one * 0.8),
      ),
    ).toMatchObject({ change: 'better', ratio: 0.8 });
    expect(
      compareSamples(
        before,
        before.map((one) => one * 1.2),
      ).change,
    ).toBe('worse');
  });

  test('overlapping samples, a change below 2 %, or one no larger than what peers moved are none', () => {
    expect(compareSamples(before, [4.9, 5.2, 5.0, 4.85, 5.15]).change).toBe('same');
    expect(compareSamples([1, 1.001, 1.002, 1.003], [1.01, 1.011, 1.012, 1.013]).change).toBe('same');
    expect(
      compareSamples(
        before,
        before.map((one) => one * 1.2),
        1.25,
      ).change,
    ).toBe('same');
  });

  test('three against three is a guess, one against one nothing', () => {
    expect(compareSamples([5, 5.1, 4.9], [4, 4.1, 3.9]).change).toBe('better?');
    expect(compareSamples([5, 5.1, 4.9], [4, 5.05, 3.9]).change).toBe('same');
    expect(compareSamples([5], [4]).change).toBe('too few rounds');
  });

  test('two runs of the same code seldom differ', () => {
    let seed = 1;
    const random = () => (seed = (seed * 16_807) % 2_147_483_647) / 2_147_483_647;
    const run = () => Array.from({ length: 5 }, () => 5 * (1 + 0.1 * (random() + random() - 1)));
    const changes = Array.from({ length: 100 }, () => compareSamples(run(), run()).change);
    expect(changes.filter((change) => change !== 'same').length / 100).toBeLessThan(0.1);
    const found = Array.from(
      { length: 100 },
      () =>
        compareSamples(
          run(),
          run().map((one) => one * 0.8),
        ).change,
    );
    expect(found.filter((change) => change === 'better').length / 100).toBeGreaterThan(0.9);
  });

  test('only our own servers are judged, against how far the peers moved', () => {
    const a = results([series('echo-500x1', 'io_uring', before), series('echo-500x1', 'node:net', before)]);
    const slower = before.map((one) => one * 1.3);
    const b = results([series('echo-500x1', 'io_uring', slower), series('echo-500x1', 'node:net', slower)]);
    const compared = compareResults(a, b);
    expect(compared.map(({ subject, measure, change }) => [subject, measure, change])).toEqual([
      ['io_uring', 'CPU-µs/msg', 'same'],
      ['io_uring', 'p50 µs', 'same'],
      ['io_uring', 'p99 µs', 'same'],
    ]);
    const alone = compareResults(results([a.series[0]]), results([b.series[0]]));
    expect(alone.every(({ change }) => change === 'worse')).toBe(true);
    expect(comparisonTables(alone)[0].title).toBe('changed beyond the noise: 3 of 3');
  });

  test('memory, latency at constant rates and connections per second are compared too', () => {
    const arriving = (cpuUs: number, ratePerSec: number, share?: number): ArrivalSeries => ({
      ...{ case: 'relay-added', subject: 'io_uring', share, ratePerSec },
      samples: [1, 1.01, 0.99, 1.02, 0.98].map((each) => sample(each * cpuUs)),
    });
    const connecting = (rate: number): Series => ({
      ...{ case: 'echo-churn', subject: 'epoll' },
      samples: [1, 1.01, 0.99, 1.02, 0.98].map((each) => sample(5, { connectsPerSec: each * rate })),
    });
    const held = (bytes: number): MemorySeries => ({
      ...{ ...memory, addedBytes: [1, 1.001, 0.999].map((each) => each * bytes), touchedBytes: [9e6, 9e6, 9e6] },
    });
    const run = (cpuUs: number, rate: number, bytes: number, capacity: number) =>
      results([connecting(rate)], {
        arrivals: [arriving(cpuUs, 5_000), arriving(cpuUs, capacity, 0.5)],
        memory: [held(bytes)],
      });
    const changes = compareResults(run(5, 20_000, 8e6, 50_000), run(6, 25_000, 6e6, 60_000))
      .filter(({ change }) => change !== 'same')
      .map(({ case: name, measure, change }) => `${name}, ${measure}: ${change}`);
    expect(changes).toEqual([
      'echo-churn, connects/s: better',
      'relay-added at 5000 msg/s, p50 µs: worse',
      'relay-added at 5000 msg/s, p99 µs: worse',
      'memory, bytes/connection: better?',
    ]);
  });

  test('another machine is said', () => {
    const a = results([]);
    expect(differencesOfMachines(a, a)).toEqual([]);
    expect(differencesOfMachines(a, { ...a, machine: { ...a.machine, kernel: '6.2' } })).toEqual([
      'kernel: 6.1 and 6.2',
    ]);
  });
});
