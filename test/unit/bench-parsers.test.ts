import { describe, expect, test } from 'vitest';
import { parseSlabinfo, parseSockstat, serverEndBytes } from '../../bench/kernel-memory.js';
import { backendsCpu, coresUsed, generatorShare, readSample, serverCpu, serverShare } from '../../bench/load.js';
import { perMessage } from '../../bench/inside.js';
import { parsePerfStat, parseStrace } from '../../bench/system-calls.js';

describe('the load generator’s line', () => {
  const printed = {
    ...{ messages: 1000, seconds: 2, msgPerSec: 500, loadCpuUsPerMessage: 40, connects_per_s: 7, partials: 300 },
    latency_us: { p50: 1, p90: 2, p99: 3, p999: 4, max: 5 },
    cpu: [
      { pid: 1, cpuUs: 6000, userTicks: 1, systemTicks: 3 },
      { pid: 2, cpuUs: 1000, userTicks: 0, systemTicks: 0 },
    ],
  };

  test('becomes a sample', () => {
    const sample = readSample(JSON.stringify(printed));
    expect(serverCpu(sample)).toBe(6);
    expect(backendsCpu(sample)).toBe(1);
    expect(serverShare(sample)).toBe(0.003);
    expect(generatorShare(sample)).toBe(0.02);
    expect(coresUsed(sample)).toBe(0.0235);
    expect(sample.cpu[0]).toEqual({ totalUs: 6000, userTicks: 1, systemTicks: 3 });
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
    expect(parsePerfStat(text)).toEqual({
      ...{ tool: 'perf', calls: 4000, contextSwitches: 120 },
      byName: { recvfrom: 2500, sendto: 1500 },
    });
    expect(parsePerfStat('<not counted>,,raw_syscalls:sys_enter,0,100.00,,')).toBeUndefined();
  });

  test('as strace prints them', () => {
    const text = `% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.000600           1       600           sendto
 40.00    0.000400           1       400        12 recvfrom
------ ----------- ----------- --------- --------- ----------------
100.00    0.001000           1      1000        12 total
`;
    expect(parseStrace(text)).toEqual({
      ...{ tool: 'strace', calls: 1000, contextSwitches: undefined },
      byName: { sendto: 600, recvfrom: 400 },
    });
    expect(parseStrace('strace: attach: Operation not permitted')).toBeUndefined();
  });
});

test('calls per message are those of the messages that were counted', () => {
  const counted = { tool: 'strace', calls: 3000, contextSwitches: 500, byName: { read: 1000 } } as const;
  expect(perMessage(counted, 1000)).toEqual({
    ...{ tool: 'strace', callsPerMessage: 3, switchesPerMessage: 0.5 },
    byName: { read: 1 },
  });
});

describe('kernel memory', () => {
  const slabs = (counts: Record<string, number>) => {
    const bytes: Record<string, number> = { TCP: 2368, filp: 192, io_kiocb: 256, 'kmalloc-96': 96, eventpoll_epi: 128 };
    const lines = Object.entries(counts).map(
      ([name, active]) => `${name} ${active} 9999 ${bytes[name]} 13 8 : tunables 0`,
    );
    return parseSlabinfo(`slabinfo - version: 2.1\n# name <active_objs> <num_objs> <objsize>\n${lines.join('\n')}\n`);
  };
  const apart = (name: string) => name;

  test('what both ends have is halved, what the server’s end has alone is not', () => {
    const before = slabs({ TCP: 10, filp: 100, io_kiocb: 0, 'kmalloc-96': 500 });
    const after = slabs({ TCP: 30, filp: 120, io_kiocb: 10, 'kmalloc-96': 510 });
    expect(serverEndBytes(before, after, 10, apart)).toBe(10 * (2368 + 192) + 10 * (256 + 96));
    expect(serverEndBytes(before, before, 10, apart)).toBe(0);
  });

  test('a cache that is kept as one with another is counted once, without the ports of the clients', () => {
    // Three kinds of 128 bytes under the name of one: 10 polls of the server, and two objects of each client's port.
    const merged = (name: string) => (/^(eventpoll_epi|tcp_bind2?_bucket)$/.test(name) ? ':A-0000128' : name);
    const [before, after] = [slabs({ eventpoll_epi: 7 }), slabs({ eventpoll_epi: 37 })];
    expect(serverEndBytes(before, after, 10, merged)).toBe(10 * 128);
    const underAnother = parseSlabinfo('tcp_bind_bucket 37 9999 128 13 8\n');
    expect(serverEndBytes(parseSlabinfo('tcp_bind_bucket 7 9999 128 13 8\n'), underAnother, 10, merged)).toBe(10 * 128);
  });

  test('buffers in sockstat', () => {
    expect(parseSockstat('sockets: used 17\nTCP: inuse 1 orphan 0 tw 500 alloc 1 mem 51\n')).toBe(51 * 4096);
    expect(parseSockstat('')).toBe(0);
  });
});
