import { describe, expect, test } from 'vitest';
import { parseSlabinfo, parseSockstat } from '../../bench/kernel-memory.js';
import { backendsCpu, generatorShare, readSample, serverCpu, serverShare } from '../../bench/load.js';
import { parsePerfStat, parseStrace } from '../../bench/system-calls.js';

describe('the load generator’s line', () => {
  const printed = {
    ...{ messages: 1000, seconds: 2, msgPerSec: 500, loadCpuUsPerMessage: 40, connects_per_s: 7, partials: 300 },
    latency_us: { p50: 1, p90: 2, p99: 3, p999: 4, max: 5 },
    cpu: [
      { pid: 1, cpuUserUs: 2000, cpuSystemUs: 4000 },
      { pid: 2, cpuUserUs: 1000, cpuSystemUs: 0 },
    ],
  };

  test('becomes a sample', () => {
    const sample = readSample(JSON.stringify(printed));
    expect(serverCpu(sample)).toBe(6);
    expect(backendsCpu(sample)).toBe(1);
    expect(serverShare(sample)).toBe(0.003);
    expect(generatorShare(sample)).toBe(0.02);
    expect(sample).toMatchObject({ connectsPerSec: 7, partialsPerSec: 150, latencyUs: { p90: 2, max: 5 } });
  });

  test('is refused when it is something else', () => {
    expect(() => readSample('{"messages":0}')).toThrow('something else');
    expect(() => readSample('')).toThrow(SyntaxError);
  });
});

describe('system calls', () => {
  test('as perf stat prints them', () => {
    const text = [
      '4000,,raw_syscalls:sys_enter,0,100.00,,',
      '120,,context-switches,700000,100.00,,',
      '2500,,syscalls:sys_enter_recvfrom,0,100.00,,',
      '1500,,syscalls:sys_enter_sendto,0,100.00,,',
      '0,,syscalls:sys_enter_futex,0,100.00,,',
    ].join('\n');
    expect(parsePerfStat(text, 0.5)).toEqual({
      ...{ tool: 'perf', seconds: 0.5, calls: 4000, contextSwitches: 120 },
      byName: { recvfrom: 2500, sendto: 1500 },
    });
    expect(parsePerfStat('<not counted>,,raw_syscalls:sys_enter,0,100.00,,', 0.5)).toBeUndefined();
  });

  test('as strace prints them', () => {
    const text = `% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.000600           1       600           sendto
 40.00    0.000400           1       400        12 recvfrom
------ ----------- ----------- --------- --------- ----------------
100.00    0.001000           1      1000        12 total
`;
    expect(parseStrace(text, 2)).toEqual({
      ...{ tool: 'strace', seconds: 2, calls: 1000, contextSwitches: undefined },
      byName: { sendto: 600, recvfrom: 400 },
    });
    expect(parseStrace('strace: attach: Operation not permitted', 2)).toBeUndefined();
  });
});

describe('kernel memory', () => {
  test('objects of sockets in slabinfo', () => {
    const text = `slabinfo - version: 2.1
# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab>
TCP                   92    143   2368   13    8 : tunables    0    0    0
filp                  10     20    192   21    1 : tunables    0    0    0
kmalloc-64          5000   5000     64   64    1 : tunables    0    0    0
`;
    expect(parseSlabinfo(text)).toBe(92 * 2368 + 10 * 192);
  });

  test('buffers in sockstat', () => {
    expect(parseSockstat('sockets: used 17\nTCP: inuse 1 orphan 0 tw 500 alloc 1 mem 51\n')).toBe(51 * 4096);
    expect(parseSockstat('')).toBe(0);
  });
});
