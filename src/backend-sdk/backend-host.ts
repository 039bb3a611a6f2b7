/** What the links of one backend share, and the handler that the engine calls. */
import type { CloseInfo, Connection, Engine, Handler } from '../engine/engine.js';
import { KeptView } from '../engine/kept-view.js';
import { ENGINE_LIMITS, Status } from '../engine/tables.gen.js';
import { limits } from '../limits.js';
import { StatusError } from '../protocol/status-error.js';
import { Deadlines } from '../timer/deadlines.js';
import { BackendLink, type Counts, type LinkHost } from './backend-link.js';
import { TaskLimiter } from './task-limiter.js';
import type { BackendHandler, InPlaceHandler, ServeOptions, Task } from './types.js';

const DEFAULTS = {
  /** Tasks. A gateway's `maxInFlight` per backend is the same. */
  maxConcurrent: limits.maxInFlight,
  /** Tasks. A second gateway's worth. */
  maxQueued: limits.maxInFlight,
  /** ms. Gateways always say how much is left; this is for clients that come directly and say nothing. */
  defaultDeadlineMs: 60_000,
  /** Bytes. As much as one frame may be. */
  maxPendingPartialBytes: ENGINE_LIMITS.maxFrameLength,
} as const;

/** The longest sentence of an unexpected error that is passed on, in characters. */
const MAX_SENTENCE = 500;

export class BackendHost implements LinkHost, Handler {
  readonly handler: BackendHandler;
  readonly inPlace: InPlaceHandler | undefined;
  readonly limiter: TaskLimiter;
  readonly deadlines: Deadlines;
  readonly maxFrameLength: number;
  readonly defaultDeadlineMs: number;
  readonly maxPendingPartialBytes: number;
  readonly counts: Counts = {
    requests: 0,
    answered: 0,
    failed: 0,
    cancelled: 0,
    timedOut: 0,
    refused: 0,
    ignoredFrames: 0,
    protocolErrors: 0,
  };
  readonly links = new Set<BackendLink>();
  /** Set by a drain: the grace in ms that new links are told, too. */
  drainGraceMs: number | undefined;
  /** The last link of a draining backend is gone. */
  onEmpty: () => void = () => {};

  readonly #engine: Engine;
  readonly #view = new KeptView();
  readonly #onError: ServeOptions['onError'];

  constructor(engine: Engine, options: ServeOptions, handler: BackendHandler | InPlaceHandler) {
    this.#engine = engine;
    this.#onError = options.onError;
    this.inPlace = 'handleInPlace' in handler ? handler : undefined;
    this.handler = handler as BackendHandler;
    this.limiter = new TaskLimiter(
      options.maxConcurrent ?? DEFAULTS.maxConcurrent,
      options.maxQueued ?? DEFAULTS.maxQueued,
    );
    this.deadlines = new Deadlines((intervalMs, callback) => engine.every(intervalMs, callback));
    this.maxFrameLength = options.maxFrameLength ?? ENGINE_LIMITS.maxFrameLength;
    this.defaultDeadlineMs = options.defaultDeadlineMs ?? DEFAULTS.defaultDeadlineMs;
    this.maxPendingPartialBytes = options.maxPendingPartialBytes ?? DEFAULTS.maxPendingPartialBytes;
  }

  get draining(): boolean {
    return this.drainGraceMs !== undefined;
  }

  open(connection: Connection): void {
    const link = new BackendLink(this, connection);
    connection.context = link;
    this.links.add(link);
    if (this.drainGraceMs !== undefined) link.goAway(this.drainGraceMs);
  }

  frame(connection: Connection, bytes: Uint8Array, start: number, end: number): void {
    (connection.context as BackendLink).frame(bytes, start, end);
  }

  batchEnd(): void {
    this.#view.forget();
  }

  drain(connection: Connection): void {
    (connection.context as BackendLink).drained();
  }

  idle(connection: Connection): boolean {
    return (connection.context as BackendLink).openTasks > 0;
  }

  close(connection: Connection, _info: CloseInfo): void {
    const link = connection.context as BackendLink;
    this.links.delete(link);
    link.end();
    if (this.draining && this.links.size === 0) this.onEmpty();
  }

  keep(bytes: Uint8Array, start: number, end: number): Buffer {
    const kept = this.#engine.keep(bytes, start, end);
    return this.#view.of(kept, end - start);
  }

  errorOf(error: unknown, task: Task | undefined): StatusError {
    if (error instanceof StatusError) return error;
    this.#onError?.(error, task);
    const text = error instanceof Error ? error.message : String(error);
    const sentence = text === '' ? 'the handler failed' : text.split('\n', 1)[0].slice(0, MAX_SENTENCE);
    return new StatusError(Status.INTERNAL, sentence, { cause: error });
  }

  settled(link: BackendLink): void {
    if (this.draining && link.readyToClose) link.connection.close('going-away');
  }
}
