/** What users of `connectClient` write against. */
import type { Engine, EngineName } from '../engine/engine.js';
import type { Meta } from '../protocol/meta.js';

/** Options of one request. */
export interface RequestOptions {
  /** Which pool or command, 0 to 65,535. Default 0. */
  readonly route?: number;
  /** Time budget in ms, waiting for a connection included. Default: the client's `deadlineMs`. 0: the gateway's default. */
  readonly deadlineMs?: number;
  /** Cancels the request, here and at the backend; it then rejects with CANCELLED and the signal's reason as `cause`. */
  readonly signal?: AbortSignal;
  /** May run twice, so that the gateway may try again where it cannot know. Default false. */
  readonly idempotent?: boolean;
  /** Fields that travel with the request. */
  readonly meta?: Meta;
}

/** Options of `connectClient`. Numbers are whole; one that is not, or out of its range, is refused with both named. */
export interface ClientOptions {
  /** An engine to share (then yours to close), or the name of one that all in the process share who name it. Default `auto`. */
  readonly engine?: Engine | EngineName;
  /** For requests that bring none, in ms. Default 0: the gateway's default holds. */
  readonly deadlineMs?: number;
  /** Requests without a deadline wait so long for a connection. Default 10,000 ms. */
  readonly queueTimeoutMs?: number;
  /**
   * Whether requests wait while no connection can be made. False: those waiting end UNAVAILABLE with the first attempt that
   * fails. Default true.
   */
  readonly waitForReady?: boolean;
  /** Requests that wait for a connection or for room on it; one more is refused with RESOURCE_EXHAUSTED. 0: none may wait. Default 10,000. */
  readonly maxQueued?: number;
  /** Largest payload of a request and of a response, in bytes. Default 16 MiB. */
  readonly maxFrameLength?: number;
  /**
   * Partial responses of a stream that may be on their way or wait for its consumer, where the peer knows stream windows; fewer
   * while they together could take more than half of `maxStreamBufferedBytes`. 0: no stream windows; then a slow consumer is
   * waited for by reading no further, which works only while nothing else is asked on this connection. Default 32.
   */
  readonly streamWindow?: number;
  /** Bytes of one stream that wait for its consumer; more end it with RESOURCE_EXHAUSTED. Default 16 MiB. */
  readonly maxStreamBufferedBytes?: number;
  /** 0: as long as the kernel tries. Default 5,000 ms. */
  readonly connectTimeoutMs?: number;
  /** First pause before connecting again, doubled each time, halved at random. Default 100 ms. */
  readonly reconnectMinMs?: number;
  /** Longest such pause. Default 10,000 ms. */
  readonly reconnectMaxMs?: number;
  /** A link silent for so long is asked for life, and given up when as long passes again. 0: never. Default 30,000 ms. */
  readonly pingIntervalMs?: number;
}

/** What a client holds now and has counted. */
export interface ClientStats {
  /** Of its connection; `connecting` also between two attempts. */
  readonly state: 'connecting' | 'open' | 'closed';
  /** Sent and unanswered. */
  readonly inFlight: number;
  /** Waiting for a connection or for room on it. */
  readonly queued: number;
  /** Connections opened so far. */
  readonly connects: number;
  /** Responses to nothing in flight, pushes, and kinds of 128 and above: passed over. */
  readonly ignoredFrames: number;
  /** Why the last connection ended or could not be made. */
  readonly lastError: string | undefined;
}

/** Requests to a gateway or a backend, on one connection that is kept up. Made by `connectClient`. */
export interface Client {
  /**
   * Sends one request. Partial responses, where the backend sends them, are put together with the final one.
   * @throws (rejects with) StatusError: the backend's or the gateway's status; UNAVAILABLE when no connection could be had
   *   in time (`notExecuted`) or the link broke (`notExecuted` when the request provably never left);
   *   DEADLINE_EXCEEDED, CANCELLED; RESOURCE_EXHAUSTED when too much waits; INVALID_ARGUMENT for a payload over the limit, and for
   *   one, or an option, that makes no sense.
   *   `retryable` says whether the same request may be sent again.
   */
  request(payload: Uint8Array | string, options?: RequestOptions): Promise<Buffer>;
  /**
   * Sends one request at once and gives its responses as they come; the final one too, unless it is empty. Reading slowly
   * slows the backend down. Leaving the loop early cancels the request. Errors as of `request`, after what came before them.
   */
  stream(payload: Uint8Array | string, options?: RequestOptions): AsyncIterableIterator<Buffer>;
  /** Sends one request that is not answered. Resolves when it was given to the connection. */
  notify(payload: Uint8Array | string, options?: RequestOptions): Promise<void>;
  /** Resolves when a connection is open. Rejects when the client is closed or its engine cannot run. */
  ready(): Promise<void>;
  /** What it holds and has counted at this moment. */
  stats(): ClientStats;
  /** Ends everything open with CANCELLED, closes the connection. */
  close(): Promise<void>;
}
