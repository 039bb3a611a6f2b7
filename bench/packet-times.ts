/**
 * From packets to times. On the client's side a request is found by its order on the connection (`plain`) or by its id (`rmp`), on the
 * backend's side by the id on its link; the two sides are joined by the first 8 bytes of the payload, with which the load generator
 * names connection and sequence number.
 *
 *     client ──t0──▶ gateway ──t1──▶ backend
 *     client ◀──t3── gateway ◀──t2── backend      each: when the packet with the last byte of the frame was on the wire
 */
import type { LoadProtocol } from './load.js';
import { ByteStream, type Segment } from './pcap.js';
import { mean, quantile } from './statistics.js';

export interface PacketTimes {
  /** t3 − t0 of each message, in µs, in the order of the answers. */
  readonly roundTripUs: number[];
  /** (t1 − t0) + (t3 − t2). */
  readonly gatewayUs: number[];
  /** t2 − t1. */
  readonly backendUs: number[];
  /** The mean difference of one round trip to the next on the same connection, in µs. */
  readonly jitterUs: number;
  readonly segments: number;
  readonly retransmissions: number;
  /** Answers whose request, or whose way through a backend, was not found. */
  readonly unmatched: number;
}

const KIND = { request: 1, response: 2 } as const;
const MORE = 1;
const RMP_HEADER_BYTES = 16;

interface Frame {
  readonly bytes: Uint8Array;
  readonly timeNs: number;
}

/** A direction of a connection, cut into frames with a 4-byte length in front. */
class FrameStream {
  readonly stream = new ByteStream();
  #kept: Uint8Array = new Uint8Array(0);

  take(segment: Segment, deliver: (frame: Frame) => void): void {
    this.stream.take(segment, (bytes, timeNs) => {
      this.#kept = this.#kept.length === 0 ? bytes : Buffer.concat([this.#kept, bytes]);
      let at = 0;
      while (this.#kept.length - at >= 4) {
        const end = at + 4 + readU32(this.#kept, at);
        if (end > this.#kept.length) break;
        deliver({ bytes: this.#kept.subarray(at, end), timeNs });
        at = end;
      }
      this.#kept = this.#kept.subarray(at);
    });
  }
}

interface ClientConnection {
  /** Requests without an answer: by id, or in order. */
  readonly byId: Map<number, Frame>;
  readonly inOrder: Frame[];
  lastRoundTripUs: number | undefined;
}

class Matcher {
  readonly roundTripUs: number[] = [];
  readonly gatewayUs: number[] = [];
  readonly backendUs: number[] = [];
  readonly differencesUs: number[] = [];
  unmatched = 0;
  #protocol: LoadProtocol;
  #clients = new Map<number, ClientConnection>();
  /** What a request did on the backend's side, by its payload's first bytes. */
  #behind = new Map<string, { readonly sentNs: number; answeredNs?: number }>();
  #onLink = new Map<string, string>();

  constructor(protocol: LoadProtocol) {
    this.#protocol = protocol;
  }

  fromClient(port: number, frame: Frame): void {
    const client = this.#client(port);
    if (this.#protocol === 'plain') client.inOrder.push(frame);
    else if (frame.bytes[4] === KIND.request) client.byId.set(readU32(frame.bytes, 8), frame);
  }

  toBackend(link: string, { bytes, timeNs }: Frame): void {
    if (bytes[4] !== KIND.request) return;
    const key = keyOf(bytes, RMP_HEADER_BYTES);
    this.#onLink.set(`${link} ${readU32(bytes, 8)}`, key);
    this.#behind.set(key, { sentNs: timeNs });
  }

  fromBackend(link: string, { bytes, timeNs }: Frame): void {
    if (bytes[4] !== KIND.response || (bytes[5] & MORE) !== 0) return;
    const id = `${link} ${readU32(bytes, 8)}`;
    const behind = this.#behind.get(this.#onLink.get(id) ?? '');
    if (behind !== undefined) behind.answeredNs = timeNs;
    this.#onLink.delete(id);
  }

  toClient(port: number, { bytes, timeNs }: Frame): void {
    const client = this.#client(port);
    const request = this.#requestOf(client, bytes);
    if (request === undefined) return;
    const key = keyOf(request.bytes, this.#protocol === 'plain' ? 4 : RMP_HEADER_BYTES);
    const behind = this.#behind.get(key);
    this.#behind.delete(key);
    if (behind?.answeredNs === undefined) {
      this.unmatched++;
      return;
    }
    const roundTripUs = (timeNs - request.timeNs) / 1000;
    const backendUs = (behind.answeredNs - behind.sentNs) / 1000;
    this.roundTripUs.push(roundTripUs);
    this.backendUs.push(backendUs);
    this.gatewayUs.push(roundTripUs - backendUs);
    if (client.lastRoundTripUs !== undefined) this.differencesUs.push(Math.abs(roundTripUs - client.lastRoundTripUs));
    client.lastRoundTripUs = roundTripUs;
  }

  /** Undefined for what is no final answer, or one to nothing. */
  #requestOf(client: ClientConnection, bytes: Uint8Array): Frame | undefined {
    let request: Frame | undefined;
    if (this.#protocol === 'plain') {
      request = client.inOrder.shift();
    } else {
      if (bytes[4] !== KIND.response || (bytes[5] & MORE) !== 0) return undefined;
      request = client.byId.get(readU32(bytes, 8));
      client.byId.delete(readU32(bytes, 8));
    }
    if (request === undefined) this.unmatched++;
    return request;
  }

  #client(port: number): ClientConnection {
    let client = this.#clients.get(port);
    if (client === undefined) {
      this.#clients.set(port, (client = { byId: new Map(), inOrder: [], lastRoundTripUs: undefined }));
    }
    return client;
  }
}

export function timesOfPackets(
  segments: readonly Segment[],
  gatewayPort: number,
  backendPorts: readonly number[],
  protocol: LoadProtocol,
): PacketTimes {
  const streams = new Map<string, FrameStream>();
  const matcher = new Matcher(protocol);
  for (const segment of segments) {
    const { sourcePort: from, destinationPort: to } = segment;
    const key = `${from}>${to}`;
    let stream = streams.get(key);
    if (stream === undefined) streams.set(key, (stream = new FrameStream()));
    if (to === gatewayPort) stream.take(segment, (frame) => matcher.fromClient(from, frame));
    else if (from === gatewayPort) stream.take(segment, (frame) => matcher.toClient(to, frame));
    else if (backendPorts.includes(to)) stream.take(segment, (frame) => matcher.toBackend(`${from} ${to}`, frame));
    else if (backendPorts.includes(from)) stream.take(segment, (frame) => matcher.fromBackend(`${to} ${from}`, frame));
  }
  const { roundTripUs, gatewayUs, backendUs, differencesUs, unmatched } = matcher;
  const retransmissions = [...streams.values()].reduce((sum, { stream }) => sum + stream.retransmissions, 0);
  return {
    ...{ roundTripUs, gatewayUs, backendUs, unmatched, segments: segments.length, retransmissions },
    jitterUs: differencesUs.length === 0 ? 0 : mean(differencesUs),
  };
}

const FRACTIONS = [0.5, 0.9, 0.99, 0.999, 1] as const;

/** p50, p90, p99, p99.9, maximum. */
export function percentiles(values: readonly number[]): number[] {
  return FRACTIONS.map((fraction) => quantile(values, fraction));
}

function keyOf(bytes: Uint8Array, payloadAt: number): string {
  return `${readU32(bytes, payloadAt)} ${readU32(bytes, payloadAt + 4)}`;
}

function readU32(bytes: Uint8Array, at: number): number {
  return ((bytes[at] << 24) | (bytes[at + 1] << 16) | (bytes[at + 2] << 8) | bytes[at + 3]) >>> 0;
}
