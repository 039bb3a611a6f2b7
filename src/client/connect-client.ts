/** `connectClient`: requests to a gateway (or straight to a backend) over RMP, on one connection that is kept up. */
import { lookup } from 'node:dns/promises';
import { bytesOf } from '../bytes.js';
import type { CloseInfo, Connection, Engine, Handler } from '../engine/engine.js';
import { KeptView } from '../engine/kept-view.js';
import { type EngineLease, leaseEngine } from '../engine/shared-engine.js';
import { ENGINE_LIMITS, Status } from '../engine/tables.gen.js';
import { RingwayError, shown } from '../errors.js';
import { LARGEST_MAX_FRAME_LENGTH } from '../framing/validate-framing.js';
import { checkInteger } from '../integer.js';
import { limits } from '../limits.js';
import { HELLO_BYTES } from '../protocol/hello.js';
import { encodeMeta } from '../protocol/meta.js';
import { StatusError } from '../protocol/status-error.js';
import { Flag, rmpFraming } from '../protocol/rmp.js';
import { Deadlines } from '../timer/deadlines.js';
import { Call, type CallHost } from './call.js';
import { ClientLink, type LinkOwner, tooLong } from './client-link.js';
import { type ClientAddress, parseClientUrl } from './client-url.js';
import { GatheredResponse, type ResponseSink, ResponseStream } from './response-sink.js';
import type { Client, ClientOptions, ClientStats, RequestOptions } from './types.js';

const DEFAULTS = {
  deadlineMs: 0,
  /** ms. As long as a gateway's default deadline. */
  queueTimeoutMs: limits.deadlineMs,
  /** Requests. At 1 KB each about 10 MB. */
  maxQueued: 10_000,
  maxFrameLength: ENGINE_LIMITS.maxFrameLength,
  streamWindow: limits.streamWindow,
  maxStreamBufferedBytes: ENGINE_LIMITS.maxFrameLength,
  connectTimeoutMs: ENGINE_LIMITS.connectTimeoutMs,
  reconnectMinMs: limits.reconnectMinMs,
  reconnectMaxMs: limits.reconnectMaxMs,
  /** ms. Far below the idle timeout of gateways, so that a quiet client stays connected. */
  pingIntervalMs: 30_000,
} as const satisfies Required<Omit<ClientOptions, 'engine' | 'waitForReady'>>;

/** Longest time of any timer: 24.8 days, as everywhere in Node. */
const LONGEST_MS = 2 ** 31 - 1;
const MOST = 2 ** 31 - 1;

/** A budget must fit its field of the header. */
const MAX_DEADLINE_MS = 0xffff_ffff;

/** The least and the most that each may be. */
const RANGES: { readonly [K in keyof typeof DEFAULTS]: readonly [least: number, most: number] } = {
  deadlineMs: [0, MAX_DEADLINE_MS],
  queueTimeoutMs: [0, LONGEST_MS],
  maxQueued: [0, MOST],
  // The peer's hello must fit.
  maxFrameLength: [HELLO_BYTES, LARGEST_MAX_FRAME_LENGTH],
  streamWindow: [0, MOST],
  maxStreamBufferedBytes: [1, Number.MAX_SAFE_INTEGER],
  connectTimeoutMs: [0, LONGEST_MS],
  reconnectMinMs: [1, LONGEST_MS],
  reconnectMaxMs: [1, LONGEST_MS],
  pingIntervalMs: [0, LONGEST_MS],
};

type Settings = { readonly [K in keyof typeof DEFAULTS]: number };

/**
 * Connects to `rmp://host:port`, `rmp://[v6]:port` or `unix:/path`. Returns at once: requests wait for the connection. The
 * connection keeps the process alive until `close`.
 * @throws TypeError or RangeError for an address or an option that makes no sense. What the network does shows in each request.
 * @example
 *   const client = connectClient('rmp://127.0.0.1:8080');
 *   const answer = await client.request('hello', { deadlineMs: 1000 });
 */
export function connectClient(url: string, options: ClientOptions = {}): Client {
  return new RmpClient(parseClientUrl(url), options);
}

class RmpClient implements Client, CallHost, LinkOwner {
  readonly deadlines: Deadlines;
  readonly maxFrameLength: number;
  readonly streamWindow: number;
  readonly firstStreamWindow: number;
  readonly maxStreamBufferedBytes: number;
  lastError: string | undefined;

  readonly #address: ClientAddress;
  readonly #settings: Settings;
  /** Why there is none is told to the requests, not to who makes a client. */
  #lease: EngineLease | undefined;
  readonly #handler: Handler;
  readonly #view = new KeptView();
  readonly #waitForReady: boolean;
  readonly #links = new Set<ClientLink>();
  readonly #readers: { resolve: () => void; reject: (error: StatusError) => void }[] = [];
  #engine: Engine | undefined;
  /** The link that takes requests; others only finish theirs. */
  #current: ClientLink | undefined;
  /** Calls that wait; those that ended meanwhile are passed over. */
  #queue: Call[] = [];
  #queued = 0;
  #attempts = 0;
  #openedAt = 0;
  #connects = 0;
  #ignoredFrames = 0;
  #reconnectTimer: NodeJS.Timeout | undefined;
  #stopHeartbeat: (() => void) | undefined;
  #closed: Promise<void> | undefined;
  #failure: StatusError | undefined;
  #linksGone: (() => void) | undefined;

  constructor(address: ClientAddress, options: ClientOptions) {
    this.#address = address;
    this.#settings = settingsOf(options);
    const { maxFrameLength, streamWindow, maxStreamBufferedBytes } = this.#settings;
    this.maxFrameLength = maxFrameLength;
    this.streamWindow = streamWindow;
    this.firstStreamWindow = Math.min(streamWindow, firstWindow(maxStreamBufferedBytes, maxFrameLength));
    this.maxStreamBufferedBytes = maxStreamBufferedBytes;
    this.#waitForReady = options.waitForReady ?? true;
    this.deadlines = new Deadlines(tick);
    this.#handler = {
      open: (connection) => this.#opened(linkOf(connection)),
      frame: (connection, bytes, start, end) => linkOf(connection).frame(bytes, start, end),
      batchEnd: () => this.#view.forget(),
      drain: (connection) => this.#drained(linkOf(connection)),
      idle: (connection) => this.#settings.pingIntervalMs > 0 || linkOf(connection).inFlight > 0,
      close: (connection, info) => this.#linkEnded(linkOf(connection), info),
    };
    void this.#start(options.engine);
  }

  request(payload: Uint8Array | string, options: RequestOptions = {}): Promise<Buffer> {
    const response = new GatheredResponse();
    this.#submit(response, payload, options, 0);
    return response.promise;
  }

  stream(payload: Uint8Array | string, options: RequestOptions = {}): AsyncIterableIterator<Buffer> {
    const response = new ResponseStream();
    this.#submit(response, payload, options, 0);
    return response;
  }

  async notify(payload: Uint8Array | string, options: RequestOptions = {}): Promise<void> {
    const response = new GatheredResponse();
    this.#submit(response, payload, options, Flag.noReply);
    await response.promise;
  }

  ready(): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (this.#current?.connection.state === 'open') return Promise.resolve();
    return new Promise((resolve, reject) => this.#readers.push({ resolve, reject }));
  }

  stats(): ClientStats {
    let inFlight = 0;
    for (const link of this.#links) inFlight += link.inFlight;
    const state = this.#failure ? 'closed' : this.#current?.connection.state === 'open' ? 'open' : 'connecting';
    const queued = this.#queued;
    return {
      state,
      inFlight,
      queued,
      connects: this.#connects,
      ignoredFrames: this.#ignoredFrames,
      lastError: this.lastError,
    };
  }

  close(): Promise<void> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  // What calls and links need.

  dequeued(): void {
    this.#queued--;
  }

  ignoredFrame(): void {
    this.#ignoredFrames++;
  }

  keep(bytes: Uint8Array, start: number, end: number): Buffer {
    const kept = (this.#engine as Engine).keep(bytes, start, end);
    return this.#view.of(kept, end - start);
  }

  retire(link: ClientLink): void {
    if (link !== this.#current) return;
    this.#current = undefined;
    this.#attempts = 0;
    void this.#connect();
  }

  // Requests.

  #submit(sink: ResponseSink, payload: Uint8Array | string, options: RequestOptions, flags: number): void {
    const refusal = this.#refusal(options);
    if (refusal !== undefined) {
      sink.fail(refusal);
      return;
    }
    let bytes: Uint8Array;
    try {
      bytes = bytesOf('the payload', payload);
      if (options.meta !== undefined) bytes = Buffer.concat([encodeMeta(options.meta), bytes]);
    } catch (cause) {
      sink.fail(invalid(messageOf(cause), cause));
      return;
    }
    if (options.meta !== undefined) flags |= Flag.meta;
    if (options.idempotent === true) flags |= Flag.idempotent;
    if (bytes.length > this.maxFrameLength) {
      sink.fail(tooLong(bytes.length, this.maxFrameLength));
      return;
    }
    const { deadlineMs, queueTimeoutMs, maxQueued } = this.#settings;
    const flowing = this.#queued === 0 && this.#current?.flowing === true;
    if (!flowing && this.#queued >= maxQueued) {
      const sentence = `${maxQueued} requests of this client wait already`;
      sink.fail(new StatusError(Status.RESOURCE_EXHAUSTED, sentence, { notExecuted: true }));
      return;
    }
    this.#queued++;
    const call = new Call(this, sink, {
      bytes,
      flags,
      route: options.route ?? 0,
      deadlineMs: options.deadlineMs ?? deadlineMs,
      queueTimeoutMs,
      signal: options.signal,
    });
    if (flowing) this.#current?.send(call);
    else {
      call.copyBytes();
      this.#queue.push(call);
    }
  }

  /** Why a request is not even tried. */
  #refusal({ route = 0, deadlineMs = 0, signal }: RequestOptions): StatusError | undefined {
    if (this.#failure !== undefined) return this.#failure;
    if (signal !== undefined && typeof signal?.addEventListener !== 'function')
      return invalid(`signal is ${shown(signal)}: an AbortSignal is needed`);
    if (signal?.aborted) {
      const options = { notExecuted: true, cause: signal.reason };
      return new StatusError(Status.CANCELLED, 'cancelled by the caller', options);
    }
    if (!Number.isInteger(route) || route < 0 || route > 0xffff)
      return invalid(`route is ${route}: 0 to 65535 is needed`);
    if (typeof deadlineMs === 'number' && deadlineMs >= 0 && deadlineMs <= MAX_DEADLINE_MS) return undefined;
    return invalid(`deadlineMs is ${deadlineMs}: 0 to ${MAX_DEADLINE_MS} is needed`);
  }

  #flush(): void {
    const link = this.#current;
    if (link === undefined || this.#queue.length === 0) return;
    const queue = this.#queue;
    let sent = 0;
    while (sent < queue.length && link.flowing) {
      const call = queue[sent++];
      if (!call.done) link.send(call);
    }
    this.#queue = queue.slice(sent);
  }

  // Connections.

  async #start(asked: ClientOptions['engine']): Promise<void> {
    try {
      this.#lease = leaseEngine(asked);
      this.#engine = this.#lease.engine;
    } catch (cause) {
      this.#engineFailed(cause);
      return;
    }
    const { pingIntervalMs } = this.#settings;
    if (this.#failure !== undefined) return;
    if (pingIntervalMs > 0) {
      this.#stopHeartbeat = this.#engine.every(pingIntervalMs, () => {
        for (const link of this.#links) link.heartbeat();
      });
    }
    await this.#connect();
  }

  async #connect(): Promise<void> {
    if (this.#failure !== undefined || this.#current !== undefined || this.#engine === undefined) return;
    let address: { host: string; port: number } | { path: string };
    try {
      address = await this.#resolve();
    } catch (error) {
      this.lastError = messageOf(error);
      this.#reconnectLater();
      return;
    }
    // The name took its time: the client may be closed, or another attempt have come first.
    if (this.#failure !== undefined || this.#current !== undefined) return;
    const { connectTimeoutMs, maxFrameLength } = this.#settings;
    const framing = rmpFraming(maxFrameLength);
    let connection: Connection;
    try {
      connection = this.#engine.connect({ ...address, framing, connectTimeoutMs }, this.#handler);
    } catch (cause) {
      this.#engineFailed(cause);
      return;
    }
    const link = new ClientLink(this, connection);
    connection.context = link;
    this.#links.add(link);
    this.#current = link;
  }

  /** Each attempt takes the next of the name's addresses. */
  async #resolve(): Promise<{ host: string; port: number } | { path: string }> {
    if (this.#address.path !== undefined) return { path: this.#address.path };
    const { host, port } = this.#address;
    const addresses = await lookup(host, { all: true });
    return { host: addresses[this.#attempts % addresses.length].address, port };
  }

  #opened(link: ClientLink): void {
    this.#connects++;
    this.#openedAt = performance.now();
    link.opened();
    for (const { resolve } of this.#readers.splice(0)) resolve();
    this.#flush();
  }

  #drained(link: ClientLink): void {
    if (link.drained() && link === this.#current) this.#flush();
  }

  #linkEnded(link: ClientLink, info: CloseInfo): void {
    this.#links.delete(link);
    this.lastError = info.message;
    link.end(info);
    if (this.#failure !== undefined) {
      if (this.#links.size === 0) this.#linksGone?.();
      return;
    }
    if (info.reason === 'engine-closed') this.#engineFailed(new RingwayError('ERR_ENGINE_CLOSED'));
    if (link !== this.#current) return;
    this.#current = undefined;
    if (this.#openedAt > 0 && performance.now() - this.#openedAt > limits.settledLinkMs) this.#attempts = 0;
    this.#openedAt = 0;
    this.#reconnectLater();
  }

  /** Exponential backoff with equal jitter: half of the pause is certain, half is random. */
  #reconnectLater(): void {
    if (this.#failure !== undefined || this.#reconnectTimer !== undefined) return;
    if (!this.#waitForReady) for (const call of this.#queue.splice(0)) call.unconnected();
    const { reconnectMinMs, reconnectMaxMs } = this.#settings;
    const pauseMs = Math.min(reconnectMaxMs, reconnectMinMs * 2 ** Math.min(this.#attempts++, 30));
    this.#reconnectTimer = setTimeout(
      () => {
        this.#reconnectTimer = undefined;
        void this.#connect();
      },
      pauseMs / 2 + Math.random() * (pauseMs / 2),
    );
  }

  async #close(): Promise<void> {
    this.#fail(new StatusError(Status.CANCELLED, 'the client was closed'));
    if (this.#links.size > 0) {
      await new Promise<void>((resolve) => {
        this.#linksGone = resolve;
      });
    }
    await this.#lease?.release();
  }

  /** It cannot be made, or its owner closed it: no later attempt can succeed. */
  #engineFailed(cause: unknown): void {
    this.#fail(new StatusError(Status.UNAVAILABLE, `the engine cannot run: ${messageOf(cause)}`, { cause }));
  }

  /** Nothing will be sent any more. */
  #fail(error: StatusError): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    clearTimeout(this.#reconnectTimer);
    this.#stopHeartbeat?.();
    const unsent = new StatusError(error.status, error.message, { notExecuted: true, cause: error.cause });
    for (const call of this.#queue) call.fail(unsent);
    this.#queue = [];
    for (const link of this.#links) link.close(error);
    for (const { reject } of this.#readers.splice(0)) reject(error);
    this.deadlines.stop();
  }
}

/** As many partial responses as find room whatever their length, which nobody knows before the first. */
function firstWindow(maxStreamBufferedBytes: number, maxFrameLength: number): number {
  return Math.max(limits.firstStreamWindow, Math.floor(maxStreamBufferedBytes / maxFrameLength));
}

/** Deadlines tick while a request waits, whichever engine runs and even while it starts; they keep no process alive. */
function tick(intervalMs: number, callback: () => void): () => void {
  const timer = setInterval(callback, intervalMs);
  timer.unref();
  return () => clearInterval(timer);
}

function linkOf(connection: Connection): ClientLink {
  return connection.context as ClientLink;
}

function settingsOf(options: ClientOptions): Settings {
  const settings: Record<string, number> = { ...DEFAULTS };
  for (const name of Object.keys(DEFAULTS) as (keyof typeof DEFAULTS)[]) {
    const value = options[name];
    if (value === undefined) continue;
    checkInteger(name, value, ...RANGES[name]);
    settings[name] = value;
  }
  return settings as Settings;
}

function invalid(sentence: string, cause?: unknown): StatusError {
  return new StatusError(Status.INVALID_ARGUMENT, sentence, { notExecuted: true, cause });
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
