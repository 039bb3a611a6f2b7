/** One connection of a client: its requests in flight, by id. */
import type { CloseInfo, Connection } from '../engine/engine.js';
import { Status } from '../engine/tables.gen.js';
import { limits } from '../limits.js';
import { encodeHello, Feature, parseHello } from '../protocol/hello.js';
import { parseMeta } from '../protocol/meta.js';
import { StatusError } from '../protocol/status-error.js';
import { At, Flag, HEADER_BYTES, Kind, readU32 } from '../protocol/rmp.js';
import { RmpWriter } from '../protocol/rmp-writer.js';
import { streamWindow } from '../protocol/stream-window.js';
import type { Call } from './call.js';

/** Bytes of one stream that may wait for its consumer before the link thinks of reading no further. */
const SLOW_STREAM_BYTES = 1_048_576;

/** A client of an echo that does not speak RMP (behind a `plain` listener) is asked its own request and reads its own refusal. */
const SERVES_NOTHING = Buffer.from(
  'this side is a client and serves nothing (if the request is its own: the port sends back what it gets, and seems to speak another protocol than rmp)',
);

/** What links need of their client. */
export interface LinkOwner {
  readonly maxFrameLength: number;
  /** Partial responses of a stream granted at most; 0: no stream windows are offered. */
  readonly streamWindow: number;
  /** Those granted with each request. */
  readonly firstStreamWindow: number;
  readonly maxStreamBufferedBytes: number;
  ignoredFrame(): void;
  /** The bytes of a frame being delivered, as a Buffer that may be kept. */
  keep(bytes: Uint8Array, start: number, end: number): Buffer;
  /** The peer goes away, or the link is worn out: new requests need another. */
  retire(link: ClientLink): void;
}

export class ClientLink {
  readonly connection: Connection;
  readonly #owner: LinkOwner;
  readonly #writer: RmpWriter;
  /** An ended call stays until its final response came: the id is taken until then. */
  readonly #calls = new Map<number, Call>();
  /** Calls in `#calls` that have ended here. */
  #abandoned = 0;
  #slow = 0;
  #paused = false;
  #nextId = 1;
  #windows = false;
  #peerMaxFrameLength: number;
  #helloSeen = false;
  #otherFrameSeen = false;
  /** Something was received since the last heartbeat. */
  #alive = true;
  #pingOpen = false;
  /** No new requests: closes when the last call has its answer. */
  #retired = false;
  #ended = false;

  constructor(owner: LinkOwner, connection: Connection) {
    this.#owner = owner;
    this.connection = connection;
    this.#writer = new RmpWriter(connection);
    this.#peerMaxFrameLength = owner.maxFrameLength;
  }

  /** Takes requests now. */
  get flowing(): boolean {
    return !this.#ended && !this.#retired && !this.#writer.congested && this.connection.state === 'open';
  }

  get inFlight(): number {
    return this.#calls.size - this.#abandoned;
  }

  /** The connection is open: says hello. */
  opened(): void {
    const { maxFrameLength, firstStreamWindow } = this.#owner;
    const features = firstStreamWindow > 0 ? Feature.streamWindows : 0;
    const hello = encodeHello({ features, maxFrameLength, streamWindow: firstStreamWindow });
    this.#writer.write(Kind.hello, 0, 0, 0, 0, hello);
  }

  send(call: Call): void {
    const { bytes } = call;
    if (bytes.length > this.#peerMaxFrameLength) {
      call.fail(tooLong(bytes.length, this.#peerMaxFrameLength));
      return;
    }
    call.id = this.#takeId();
    call.sentAt = this.connection.bytesQueued;
    call.granted = this.#owner.firstStreamWindow;
    const { id, route, flags, remainingMs } = call;
    const silent = (flags & Flag.noReply) !== 0;
    if (!silent) this.#calls.set(id, call);
    call.sent(this);
    this.#writer.write(Kind.request, flags, route, id, remainingMs, bytes);
    if (silent) call.final(Buffer.alloc(0));
    if (this.#paused) this.#regulate();
  }

  /** One frame. The bytes are valid during the call only. */
  frame(bytes: Uint8Array, start: number, end: number): void {
    if (this.#ended) return;
    this.#alive = true;
    const kind = bytes[start + At.kind];
    if (kind === Kind.response) this.#response(bytes, start, end);
    else this.#control(kind, bytes, start, end);
    if (kind !== Kind.hello) this.#otherFrameSeen = true;
  }

  #control(kind: number, bytes: Uint8Array, start: number, end: number): void {
    const payload = start + HEADER_BYTES;
    switch (kind) {
      case Kind.hello:
        this.#hello(bytes, payload, end);
        return;
      case Kind.ping:
        this.#writer.write(Kind.pong, 0, 0, readU32(bytes, start + At.id), 0, bytes, payload, end);
        return;
      case Kind.pong:
        return;
      case Kind.goingAway:
        this.retire();
        return;
      case Kind.request:
        this.#refuse(bytes, start);
        return;
      case Kind.cancel:
      case Kind.push:
      case Kind.ack:
      case Kind.window:
        this.#owner.ignoredFrame();
        return;
      default:
        if (kind >= 128) this.#owner.ignoredFrame();
        else this.#protocolError(`unknown kind ${kind}`);
    }
  }

  #hello(bytes: Uint8Array, start: number, end: number): void {
    const hello = parseHello(bytes, start, end);
    if (hello === undefined) {
      this.#protocolError(`a hello of ${end - start} bytes or of version 0`);
      return;
    }
    if (this.#helloSeen) {
      this.#protocolError('a second hello');
      return;
    }
    if (this.#otherFrameSeen) {
      this.#protocolError('a hello that is not the first frame');
      return;
    }
    this.#helloSeen = true;
    this.#windows = this.#owner.firstStreamWindow > 0 && (hello.features & Feature.streamWindows) !== 0;
    if (hello.maxFrameLength > 0) this.#peerMaxFrameLength = hello.maxFrameLength;
  }

  #refuse(bytes: Uint8Array, start: number): void {
    this.#owner.ignoredFrame();
    if ((bytes[start + At.flags] & Flag.noReply) !== 0) return;
    const id = readU32(bytes, start + At.id);
    this.#writer.write(Kind.response, Flag.notExecuted, 0, id, Status.UNIMPLEMENTED, SERVES_NOTHING);
  }

  #response(bytes: Uint8Array, start: number, end: number): void {
    const id = readU32(bytes, start + At.id);
    const call = this.#calls.get(id);
    if (call === undefined) {
      this.#owner.ignoredFrame();
      return;
    }
    const flags = bytes[start + At.flags];
    const payload = this.#payloadStart(flags, bytes, start, end);
    if (payload === undefined) return;
    if ((flags & Flag.more) !== 0) {
      if (!call.done) this.#partial(call, this.#owner.keep(bytes, payload, end));
      return;
    }
    this.#calls.delete(id);
    if (call.done) this.#abandoned--;
    else this.#final(call, readU32(bytes, start + At.arg), flags, this.#owner.keep(bytes, payload, end));
    this.#removed(call);
  }

  /** Behind the response's meta, where it has some. Undefined: it broke the protocol. */
  #payloadStart(flags: number, bytes: Uint8Array, start: number, end: number): number | undefined {
    if ((flags & Flag.meta) === 0) return start + HEADER_BYTES;
    const parsed = parseMeta(bytes, start + HEADER_BYTES, end);
    if (parsed === undefined) this.#protocolError('a response with malformed meta');
    return parsed?.payloadStart;
  }

  #final(call: Call, status: number, flags: number, payload: Buffer): void {
    if (status === Status.OK) {
      call.final(payload);
      return;
    }
    const notExecuted = (flags & Flag.notExecuted) !== 0;
    call.fail(new StatusError(status, payload.toString(), { notExecuted, idempotent: call.idempotent }));
  }

  #partial(call: Call, payload: Buffer): void {
    call.received++;
    if (payload.length > call.longest) call.longest = payload.length;
    call.partial(payload);
    const { bufferedBytes } = call;
    const { maxStreamBufferedBytes } = this.#owner;
    if (bufferedBytes > maxStreamBufferedBytes) {
      const sentence = `more than ${maxStreamBufferedBytes} bytes of the stream waited for its reader`;
      call.abandon(new StatusError(Status.RESOURCE_EXHAUSTED, sentence));
    } else if (this.#windows) this.#grant(call);
    else if (bufferedBytes > SLOW_STREAM_BYTES && !call.slow) this.#setSlow(call, true);
  }

  /** The reader of a call took partial responses. */
  consumed(call: Call, count: number): void {
    if (call.done || this.#ended) return;
    if (call.slow && call.bufferedBytes * 2 <= SLOW_STREAM_BYTES) this.#setSlow(call, false);
    call.granted -= count;
    if (this.#windows) this.#grant(call);
  }

  /**
   * As many more as may wait for the reader, half a window at a time: a frame for each would double the traffic. Half of what
   * may be buffered, so that some that are twice as long as those before them still find room.
   */
  #grant(call: Call): void {
    if (call.done) return;
    const { streamWindow: most, maxStreamBufferedBytes } = this.#owner;
    const window = streamWindow(most, call.received, call.longest, maxStreamBufferedBytes / 2);
    const missing = window - call.granted;
    if (missing * 2 < window) return;
    call.granted = window;
    this.#writer.write(Kind.window, 0, call.route, call.id, missing);
  }

  /** The call has ended here; its id stays taken until the final response. */
  cancel(call: Call): void {
    if (this.#calls.get(call.id) !== call) return;
    this.#abandoned++;
    this.#writer.write(Kind.cancel, 0, call.route, call.id, 0);
    this.#removed(call);
    if (this.#abandoned > limits.maxAbandonedIds) this.retire();
  }

  /** Asks a silent peer for life. */
  heartbeat(): void {
    if (this.#ended || this.#paused || this.connection.state !== 'open') return;
    if (this.#alive) {
      this.#alive = false;
      this.#pingOpen = false;
    } else if (this.#pingOpen) this.connection.abort('unhealthy', 'the peer did not answer a ping');
    else {
      this.#pingOpen = true;
      this.#writer.write(Kind.ping, 0, 0, 0, 0);
    }
  }

  /** @returns whether requests may follow. */
  drained(): boolean {
    const flows = this.#writer.drained();
    if (this.#slow > 0) this.#regulate();
    return flows;
  }

  retire(): void {
    if (this.#retired || this.#ended) return;
    this.#retired = true;
    this.#owner.retire(this);
    this.#closeIfDone();
  }

  /** The connection is gone: what is in flight fails. */
  end(info: CloseInfo): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#writer.end();
    for (const call of [...this.#calls.values()]) {
      if (call.done) continue;
      // A frame that begins at or after what the kernel took never left; all others may have been executed.
      const notExecuted = call.sentAt >= info.bytesHandedToKernel;
      const { idempotent } = call;
      call.fail(new StatusError(Status.UNAVAILABLE, `the link broke: ${info.message}`, { notExecuted, idempotent }));
    }
    this.#calls.clear();
    this.#abandoned = 0;
  }

  /** The client is closed. */
  close(error: StatusError): void {
    for (const call of [...this.#calls.values()]) call.fail(error);
    this.connection.close();
  }

  #takeId(): number {
    do {
      this.#nextId = (this.#nextId + 1) >>> 0;
    } while (this.#calls.has(this.#nextId));
    return this.#nextId;
  }

  #setSlow(call: Call, slow: boolean): void {
    call.slow = slow;
    this.#slow += slow ? 1 : -1;
    this.#regulate();
  }

  /** A call ended or was given up. */
  #removed(call: Call): void {
    if (call.slow) this.#setSlow(call, false);
    else if (this.#paused || this.#slow > 0) this.#regulate();
    this.#closeIfDone();
  }

  /**
   * Without stream windows, reading stops only while nobody but slow readers waits for anything, and never while something waits to
   * be sent: the peer may read no further until we take what it sends.
   */
  #regulate(): void {
    const pause = this.#slow > 0 && this.#slow === this.inFlight && !this.#writer.congested;
    if (pause === this.#paused || this.#ended) return;
    this.#paused = pause;
    if (pause) this.connection.pause();
    else this.connection.resume();
  }

  #closeIfDone(): void {
    if (this.#retired && !this.#ended && this.inFlight === 0) this.connection.close('going-away');
  }

  #protocolError(sentence: string): void {
    this.connection.close('protocol-error', sentence);
  }
}

export function tooLong(length: number, limit: number): StatusError {
  const sentence = `a request of ${length} bytes is over the ${limit} that the peer takes`;
  return new StatusError(Status.INVALID_ARGUMENT, sentence, { notExecuted: true });
}
