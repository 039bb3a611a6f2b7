import { describe, expect, test } from 'vitest';
import { agreement, generatorAgreement, rangeAgreement, reportCapture } from '../../bench/capture.js';
import { readGatewayClock, readingBetween } from '../../bench/gateway-clock.js';
import { percentiles, timesOfPackets } from '../../bench/packet-times.js';
import { ByteStream, readPcap, type Segment } from '../../bench/pcap.js';
import { sample } from '../support/bench-results.js';

const [CLIENT, GATEWAY, LINK, BACKEND] = [40_001, 9_000, 50_001, 9_101];

interface Packet {
  readonly us: number;
  readonly from: number;
  readonly to: number;
  readonly sequence: number;
  readonly payload: Uint8Array;
  readonly syn?: boolean;
}

/** A pcap file of Ethernet, IPv4, TCP with these packets. */
function pcap(packets: readonly Packet[], { nano = true, little = true } = {}): Uint8Array {
  const header = Buffer.alloc(24);
  const u32 = (buffer: Buffer, value: number, at: number) =>
    little ? buffer.writeUInt32LE(value >>> 0, at) : buffer.writeUInt32BE(value >>> 0, at);
  u32(header, nano ? 0xa1b23c4d : 0xa1b2c3d4, 0);
  u32(header, 1, 20);
  const records = packets.map(({ us, from, to, sequence, payload, syn = false }) => {
    const frame = Buffer.alloc(14 + 20 + 20 + payload.length);
    frame[14] = 0x45;
    frame.writeUInt16BE(40 + payload.length, 16);
    frame[23] = 6;
    frame.writeUInt16BE(from, 34);
    frame.writeUInt16BE(to, 36);
    frame.writeUInt32BE(sequence >>> 0, 38);
    frame[46] = 5 << 4;
    frame[47] = syn ? 2 : 16;
    frame.set(payload, 54);
    const record = Buffer.alloc(16);
    u32(record, 1_700_000_000 + Math.floor(us / 1e6), 0);
    u32(record, (us % 1e6) * (nano ? 1000 : 1), 4);
    u32(record, frame.length, 8);
    u32(record, frame.length, 12);
    return Buffer.concat([record, frame]);
  });
  return Buffer.concat([header, ...records]);
}

function plain(connection: number, sequence: number): Buffer {
  const bytes = Buffer.alloc(4 + 12);
  bytes.writeUInt32BE(12, 0);
  bytes.writeUInt32BE(connection, 4);
  bytes.writeUInt32BE(sequence, 8);
  return bytes;
}

function rmp(kind: number, id: number, connection: number, sequence: number, flags = 0): Buffer {
  const bytes = Buffer.alloc(16 + 12);
  bytes.writeUInt32BE(24, 0);
  bytes[4] = kind;
  bytes[5] = flags;
  bytes.writeUInt32BE(id, 8);
  bytes.writeUInt32BE(connection, 16);
  bytes.writeUInt32BE(sequence, 20);
  return bytes;
}

/** Gives each packet of a direction the sequence number that follows. */
function wire(packets: readonly Omit<Packet, 'sequence'>[]): Packet[] {
  const next = new Map<string, number>();
  return packets.map((packet) => {
    const key = `${packet.from} ${packet.to}`;
    const sequence = next.get(key) ?? 0xffff_fff0;
    next.set(key, sequence + packet.payload.length);
    return { ...packet, sequence };
  });
}

const CONVERSATION = wire([
  { us: 100, from: CLIENT, to: GATEWAY, payload: Buffer.concat([plain(7, 0), plain(7, 1)]) },
  { us: 110, from: LINK, to: BACKEND, payload: rmp(1, 31, 7, 0) },
  { us: 115, from: LINK, to: BACKEND, payload: rmp(1, 32, 7, 1) },
  { us: 140, from: BACKEND, to: LINK, payload: rmp(2, 32, 7, 1) },
  { us: 150, from: BACKEND, to: LINK, payload: rmp(2, 31, 7, 0) },
  { us: 170, from: GATEWAY, to: CLIENT, payload: Buffer.concat([plain(7, 0), plain(7, 1).subarray(0, 5)]) },
  { us: 190, from: GATEWAY, to: CLIENT, payload: plain(7, 1).subarray(5) },
]);

describe('a capture file', () => {
  test.each([
    { nano: true, little: true },
    { nano: false, little: false },
  ])('is read: %o', (format) => {
    const segments = readPcap(pcap(CONVERSATION, format));
    expect(segments).toHaveLength(7);
    expect(segments[0]).toMatchObject({
      sourcePort: CLIENT,
      destinationPort: GATEWAY,
      sequence: 0xffff_fff0,
      isSyn: false,
    });
    expect(segments[6].timeNs - segments[0].timeNs).toBe(90_000);
    expect(Buffer.from(segments[6].payload)).toEqual(plain(7, 1).subarray(5));
  });

  test('that is none, or cut off, is refused or read as far as it goes', () => {
    expect(() => readPcap(new Uint8Array(3))).toThrow('at least 24 bytes');
    expect(() => readPcap(new Uint8Array(24))).toThrow('not a pcap file');
    const file = pcap(CONVERSATION);
    expect(readPcap(file.subarray(0, file.length - 1))).toHaveLength(6);
  });
});

describe('a byte stream', () => {
  const segment = (sequence: number, text: string, timeNs = 0, isSyn = false): Segment => ({
    ...{ timeNs, sourcePort: 1, destinationPort: 2, sequence, isSyn, payload: Buffer.from(text) },
  });
  const read = (stream: ByteStream, segments: readonly Segment[]) => {
    let text = '';
    const timesNs: number[] = [];
    for (const one of segments) {
      stream.take(one, (bytes, timeNs) => {
        text += Buffer.from(bytes).toString();
        timesNs.push(timeNs);
      });
    }
    return { text, timesNs };
  };

  test('puts early segments in order, at the time at which they could be read', () => {
    const stream = new ByteStream();
    const { text, timesNs } = read(stream, [
      segment(9, '', 0, true),
      segment(13, 'ef', 1),
      segment(10, 'abc', 5),
      segment(15, 'g', 6),
    ]);
    expect(text).toBe('abcefg');
    expect(timesNs).toEqual([5, 5, 6]);
    expect(stream.retransmissions).toBe(0);
  });

  test('counts what was sent again, and takes only what is new of it', () => {
    const stream = new ByteStream();
    expect(read(stream, [segment(10, 'abc'), segment(10, 'abc'), segment(11, 'bcd')]).text).toBe('abcd');
    expect(stream.retransmissions).toBe(2);
  });
});

describe('times from packets', () => {
  test('of plain clients: matched by order, split into gateway and backend', () => {
    const times = timesOfPackets(readPcap(pcap(CONVERSATION)), GATEWAY, [BACKEND], 'plain');
    expect(times).toMatchObject({
      ...{ roundTripUs: [70, 90], backendUs: [40, 25], gatewayUs: [30, 65], jitterUs: 20 },
      ...{ segments: 7, retransmissions: 0, unmatched: 0 },
    });
  });

  test('of rmp clients: matched by id, partial responses do not end a request', () => {
    const packets = wire([
      { us: 0, from: CLIENT, to: GATEWAY, payload: rmp(1, 1, 7, 0) },
      { us: 10, from: LINK, to: BACKEND, payload: rmp(1, 77, 7, 0) },
      { us: 20, from: BACKEND, to: LINK, payload: rmp(2, 77, 7, 0, 1) },
      { us: 25, from: GATEWAY, to: CLIENT, payload: rmp(2, 1, 7, 0, 1) },
      { us: 50, from: BACKEND, to: LINK, payload: rmp(2, 77, 7, 0) },
      { us: 60, from: GATEWAY, to: CLIENT, payload: rmp(2, 1, 7, 0) },
    ]);
    const times = timesOfPackets(readPcap(pcap(packets)), GATEWAY, [BACKEND], 'rmp');
    expect(times).toMatchObject({ roundTripUs: [60], backendUs: [40], gatewayUs: [20], unmatched: 0 });
  });

  test('an answer to nothing, and one that no backend gave, are counted', () => {
    const packets = wire([
      { us: 0, from: GATEWAY, to: CLIENT, payload: plain(7, 0) },
      { us: 1, from: CLIENT, to: GATEWAY, payload: plain(7, 1) },
      { us: 2, from: GATEWAY, to: CLIENT, payload: plain(7, 1) },
    ]);
    expect(timesOfPackets(readPcap(pcap(packets)), GATEWAY, [BACKEND], 'plain')).toMatchObject({
      roundTripUs: [],
      unmatched: 2,
    });
  });

  test('percentiles', () => {
    expect(percentiles([5, 1, 2, 3, 4])).toEqual([3, 5, 5, 5, 5]);
  });
});

describe('the report of a capture', () => {
  test('says whether the other clocks agree: within a fifth or 30 µs', () => {
    expect(agreement('a clock', 1000, 1190)).toContain(': agrees with');
    expect(agreement('a clock', 1000, 1210)).toContain('DOES NOT AGREE');
    expect(agreement('a clock', 1000, 790)).toContain('DOES NOT AGREE');
    expect(agreement('a clock', 100, 129)).toContain(': agrees with');
    expect(agreement('a clock', 100, 131)).toContain('DOES NOT AGREE');
    expect(rangeAgreement('a clock', 1_100, { low: 0, high: 1_000 })).toContain(': agrees with');
    expect(rangeAgreement('a clock', 1_300, { low: 0, high: 1_000 })).toContain('DOES NOT AGREE');
    expect(rangeAgreement('a clock', 60_000, { low: 30_000, high: Number.POSITIVE_INFINITY })).toContain(
      ': agrees with',
    );
    expect(generatorAgreement(100, 60)).toContain('DOES NOT AGREE');
    expect(generatorAgreement(100, 180)).toContain('80.0 µs of its own wake-ups');
  });

  test('reads the gateway’s own clock: mean, and percentiles to a bucket', () => {
    const metrics = (counts: readonly number[], sum: number) =>
      [
        ...['0.001', '0.002', '+Inf'].map((le, index) => `ringway_task_seconds_bucket{le="${le}"} ${counts[index]}`),
        ...[`ringway_task_seconds_sum ${sum}`, `ringway_task_seconds_count ${counts.at(-1)}`, ''],
      ].join('\n');
    const [before, after] = [metrics([10, 10, 10], 0.001), metrics([100, 109, 110], 0.101)].map(
      (text) => readGatewayClock(text)!,
    );
    const reading = readingBetween(before, after)!;
    expect(reading.meanUs).toBeCloseTo(1_000);
    expect(reading).toMatchObject({ p50Us: { low: 0, high: 1_000 }, p99Us: { low: 1_000, high: 2_000 } });
    expect(readingBetween(before, before)).toBeUndefined();
    expect(readGatewayClock('nothing')).toBeUndefined();
  });

  test('has every percentile, and what cannot be trusted', () => {
    const times = timesOfPackets(readPcap(pcap(CONVERSATION)), GATEWAY, [BACKEND], 'plain');
    const gateway = (meanUs: number) => ({ meanUs, p50Us: { low: 0, high: 1_000 }, p99Us: { low: 0, high: 1_000 } });
    const report = (meanUs: number) =>
      reportCapture('a gateway', times, { sample: sample(10), gateway: gateway(meanUs), dropped: 3 });
    const text = report(75);
    expect(text).toMatch(/client round trip +80\.0 +70\.0 +90\.0 +90\.0 +90\.0 +90\.0/);
    expect(text).toContain('3 dropped by the capture');
    // In the gateway 30 and 65 µs, at the backend 40 and 25.
    expect(text).toContain('mean time in it: agrees with the packets (42.5 and 47.5 µs');
    expect(text).toContain('p99 of its tasks: agrees');
    expect(report(130)).toContain('mean time in it: DOES NOT AGREE');
    expect(
      reportCapture('a gateway', { ...times, roundTripUs: [] }, { sample: sample(1), gateway: undefined, dropped: 0 }),
    ).toContain('no message');
  });
});
