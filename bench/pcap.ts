/**
 * Reads the TCP segments of a capture file (pcap, microseconds or nanoseconds, either byte order) of Ethernet or Linux "cooked" packets
 * over IPv4. Ours, because it is little: what npm has for it is either a binding to libpcap or not kept.
 */

export interface Segment {
  /** Nanoseconds since the first packet of the file. */
  readonly timeNs: number;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly sequence: number;
  readonly isSyn: boolean;
  readonly payload: Uint8Array;
}

const FILE_HEADER_BYTES = 24;
const RECORD_HEADER_BYTES = 16;
const MICROSECONDS = 0xa1b2c3d4;
const NANOSECONDS = 0xa1b23c4d;
/** Bytes before the IP header, by link type: Ethernet, SLL, SLL2. */
const LINK_HEADER_BYTES: Readonly<Record<number, number>> = { 1: 14, 113: 16, 276: 20 };
const TCP = 6;
const SYN = 2;

/** @throws when it is no such file. */
export function readPcap(bytes: Uint8Array): Segment[] {
  if (bytes.length < FILE_HEADER_BYTES) throw new Error('a capture file has at least 24 bytes');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const little = [MICROSECONDS, NANOSECONDS].includes(view.getUint32(0, true));
  const magic = view.getUint32(0, little);
  if (magic !== MICROSECONDS && magic !== NANOSECONDS) throw new Error('not a pcap file');
  const linkHeaderBytes = LINK_HEADER_BYTES[view.getUint32(20, little)];
  if (linkHeaderBytes === undefined) throw new Error(`link type ${view.getUint32(20, little)} is not known here`);

  const segments: Segment[] = [];
  let firstSeconds: number | undefined;
  for (let at = FILE_HEADER_BYTES; at + RECORD_HEADER_BYTES <= bytes.length; ) {
    const seconds = view.getUint32(at, little);
    const fraction = view.getUint32(at + 4, little) * (magic === NANOSECONDS ? 1 : 1000);
    const captured = view.getUint32(at + 8, little);
    firstSeconds ??= seconds;
    const start = at + RECORD_HEADER_BYTES + linkHeaderBytes;
    at += RECORD_HEADER_BYTES + captured;
    if (at > bytes.length) break;
    const segment = readSegment(view, bytes, start, at, (seconds - firstSeconds) * 1e9 + fraction);
    if (segment !== undefined) segments.push(segment);
  }
  return segments;
}

/** Undefined: not TCP over IPv4. Loopback's segments may be longer than the IP header can say (65,535): the record's end counts then. */
function readSegment(view: DataView, bytes: Uint8Array, ip: number, end: number, timeNs: number): Segment | undefined {
  if (end - ip < 20 || bytes[ip] >> 4 !== 4 || bytes[ip + 9] !== TCP) return undefined;
  const ipLength = view.getUint16(ip + 2);
  const tcp = ip + (bytes[ip] & 15) * 4;
  if (end - tcp < 20) return undefined;
  const payload = tcp + (bytes[tcp + 12] >> 4) * 4;
  return {
    timeNs,
    sourcePort: view.getUint16(tcp),
    destinationPort: view.getUint16(tcp + 2),
    sequence: view.getUint32(tcp + 4),
    isSyn: (bytes[tcp + 13] & SYN) !== 0,
    payload: bytes.subarray(payload, ipLength === 0 ? end : Math.min(end, ip + ipLength)),
  };
}

/** One direction of one connection: bytes in order, however the segments came. */
export class ByteStream {
  #next: number | undefined;
  #early = new Map<number, Segment>();
  /** Segments whose bytes, or some of them, had come before. */
  retransmissions = 0;

  /** Calls back with each piece of the stream, in order, and the time at which it could be read. */
  take(segment: Segment, deliver: (bytes: Uint8Array, timeNs: number) => void): void {
    if (segment.isSyn) {
      this.#next = (segment.sequence + 1) >>> 0;
      return;
    }
    if (segment.payload.length === 0) return;
    // A connection that was open before the capture began.
    this.#next ??= segment.sequence;
    const ahead = (segment.sequence - this.#next) | 0;
    if (ahead > 0) {
      this.#early.set(segment.sequence, segment);
      return;
    }
    if (ahead < 0) this.retransmissions++;
    this.#deliver(segment, segment.timeNs, deliver);
    for (let next = this.#early.get(this.#next); next !== undefined; next = this.#early.get(this.#next)) {
      this.#early.delete(this.#next);
      this.#deliver(next, segment.timeNs, deliver);
    }
  }

  #deliver({ sequence, payload }: Segment, timeNs: number, deliver: (bytes: Uint8Array, timeNs: number) => void): void {
    const known = (this.#next! - sequence) | 0;
    if (known >= payload.length) return;
    this.#next = (sequence + payload.length) >>> 0;
    deliver(payload.subarray(known), timeNs);
  }
}
