/** What users of `serve` write against. */
import type { BoundAddress, Engine, EngineName, EngineOptions, SocketAddress } from '../engine/engine.js';
import type { Meta } from '../protocol/meta.js';

/** One request, as a handler sees it. */
export interface Task {
  /** Yours to keep. */
  readonly payload: Buffer;
  /** The route number the request came with, 0 to 65,535. */
  readonly route: number;
  /** The correlation id on its link: for logs; it says nothing beyond the link. */
  readonly id: number;
  /** What is left of the time budget, in whole ms, at the moment of reading; never below 0. */
  readonly deadlineMs: number;
  /** Fields that travelled with the request (trace context, tenant, …). */
  readonly meta: Meta | undefined;
  /** The client said that this may run twice. */
  readonly idempotent: boolean;
  /** Nobody waits for an answer: what the handler returns is dropped. */
  readonly noReply: boolean;
}

/** What a handler can do beside answering. */
export interface TaskContext {
  /**
   * Aborted when the task is cancelled, its deadline passes, its link ends or the drain's grace is over; `reason` is a
   * `StatusError`. The requester has its final response by then. Made on first use: a handler that never reads it costs none.
   */
  readonly signal: AbortSignal;
  /**
   * Sends a partial response. Resolves when the link takes more, so awaiting it is the backpressure. Rejects with a
   * `StatusError` when the task has ended; a promise nobody awaits does not crash the process. What is neither bytes nor text
   * ends the task with INTERNAL and rejects with a TypeError.
   */
  readonly partial: (bytes: Uint8Array | string) => Promise<void>;
}

/** An answer: bytes, text, or nothing, which is an empty payload (so is the end of a handler without `return`). */
// biome-ignore lint/suspicious/noConfusingVoidType: a handler need not return
export type Reply = Uint8Array | string | undefined | void;

/** A request whose bytes lie in the engine's memory: the hot path, without an allocation for each. */
export interface InPlaceRequest {
  /** The payload is `bytes[start, end)`, ONLY VALID DURING THE CALL. */
  readonly bytes: Uint8Array;
  /** First byte of the payload. */
  readonly start: number;
  /** Behind its last byte. */
  readonly end: number;
  /** The route number the request came with, 0 to 65,535. */
  readonly route: number;
  /** The client said that this may run twice. */
  readonly idempotent: boolean;
  /** Nobody waits for an answer: it is dropped. */
  readonly noReply: boolean;
  /**
   * Answers OK with `bytes[start, end)`, which may be the request's own.
   * @throws TypeError for what is no Uint8Array, RangeError where it is shorter; the request then gets INTERNAL, unless the handler
   *   answers otherwise.
   */
  respond(bytes: Uint8Array, start: number, end: number): void;
  /** Answers with an error. */
  fail(status: number, sentence: string): void;
}

/** The work of a backend, a task at a time; many run at once. */
export interface BackendHandler {
  /**
   * Answers one task. What it returns (or resolves to) is the payload of the final response; nothing at all is an empty one.
   * A `StatusError` it throws is answered as it stands, anything else as INTERNAL with the error's message. One that
   * returns a plain value, not a promise, is answered at once.
   */
  handle(task: Task, context: TaskContext): Reply | Promise<Reply>;
}

/** The work of a backend that answers at once. */
export interface InPlaceHandler {
  /**
   * For echo-like handlers: answers before it returns (else the request gets INTERNAL). No deadline, cancellation or
   * partial responses, and meta is cut off: there is no time in which they could matter.
   */
  handleInPlace(request: InPlaceRequest): void;
}

/** Options of `serve`: where it listens (beyond loopback is your explicit choice), and how it works. */
export type ServeOptions = SocketAddress & {
  /** An engine to share (then yours to close), or which to make. Default `auto`. */
  readonly engine?: Engine | EngineName | EngineOptions;
  /** Tasks that run at once. Default 1,024. */
  readonly maxConcurrent?: number;
  /** Tasks that wait for their turn; one more is refused with RESOURCE_EXHAUSTED, not executed. Default 1,024. */
  readonly maxQueued?: number;
  /** Largest payload of a request and of a response, in bytes. Default 16 MiB. */
  readonly maxFrameLength?: number;
  /** Time budget of requests that bring none, in ms. Default 60,000. */
  readonly defaultDeadlineMs?: number;
  /**
   * Partial responses of one task that wait to be granted or sent, in bytes; more fail the task with RESOURCE_EXHAUSTED. Give it room
   * for the largest one. Default 16 MiB.
   */
  readonly maxPendingPartialBytes?: number;
  /** Open links. Default 10,000. */
  readonly maxConnections?: number;
  /** Links without traffic or open tasks are closed after so long. Default 300,000 ms. */
  readonly idleTimeoutMs?: number;
  /** Several processes on one port, by SO_REUSEPORT. Default false. */
  readonly reusePort?: boolean;
  /** What `drain` without an argument (and a signal, with `handleSignals`) gives tasks in flight before they are cut. Default 30,000 ms. */
  readonly drainGraceMs?: number;
  /**
   * Drains on SIGTERM and SIGINT and sets the exit status: 0, or 1 when tasks were cut. A second signal exits at once. Default false,
   * because signals are the program's: without it (or a handler of your own that calls `drain`) SIGTERM ends the process at once, and
   * what is in flight is lost. A program that is a backend and nothing else sets it, as `ringway backend` drains.
   */
  readonly handleSignals?: boolean;
  /** A handler threw something other than a `StatusError`: for your log. The requester got INTERNAL. */
  readonly onError?: (error: unknown, task: Task | undefined) => void;
};

/** What a backend has counted and holds now; counts are of its whole life. */
export interface BackendStats {
  /** Links open now. */
  readonly links: number;
  /** Tasks in a handler now. */
  readonly running: number;
  /** Tasks that wait for their turn now. */
  readonly queued: number;
  /** Requests that came. */
  readonly requests: number;
  /** Final responses with OK. */
  readonly answered: number;
  /** Final responses with a status of the handler's, or INTERNAL. */
  readonly failed: number;
  /** Ended by their requester, or with its link. */
  readonly cancelled: number;
  /** Ended by their deadline. */
  readonly timedOut: number;
  /** Refused, not executed: full, or draining. */
  readonly refused: number;
  /** Frames passed over: kinds of 128 and above, responses nobody asked for, pushes. */
  readonly ignoredFrames: number;
  /** Links closed because the peer broke the protocol. */
  readonly protocolErrors: number;
}

/** How a backend's drain went. */
export interface DrainReport {
  /** Tasks that the grace period cut; they got UNAVAILABLE. */
  readonly cut: number;
}

/** A backend that listens. Made by `serve`. */
export interface BackendServer {
  /** Where it listens, with the real port. */
  readonly address: BoundAddress;
  /** The bound port; 0 for a unix socket. */
  readonly port: number;
  /** What moves its bytes. */
  readonly engine: Engine;
  /** What it has counted and holds at this moment. */
  stats(): BackendStats;
  /**
   * Stops accepting, says going-away, refuses new requests (UNAVAILABLE, not executed), finishes what is in flight within
   * `graceMs`, flushes and closes. Calling it again shortens the grace at most.
   */
  drain(graceMs?: number): Promise<DrainReport>;
  /** `drain(0)`: tasks in flight get UNAVAILABLE now. */
  close(): Promise<void>;
  /** Resolves when everything is closed, however that came about. */
  readonly closed: Promise<DrainReport>;
}
