/** `serve`: a backend in Node, for a gateway's links and for clients that come directly. docs/PROTOCOL.md is what it speaks. */
import type { Engine, EngineOptions, Listener } from '../engine/engine.js';
import { createEngine } from '../engine/select-engine.js';
import { Status } from '../engine/tables.gen.js';
import { LARGEST_MAX_FRAME_LENGTH } from '../framing/validate-framing.js';
import { checkInteger } from '../integer.js';
import { limits } from '../limits.js';
import { HELLO_BYTES } from '../protocol/hello.js';
import { rmpFraming } from '../protocol/rmp.js';
import { BackendHost } from './backend-host.js';
import { LINK_HIGH_WATER_MARK } from './backend-link.js';
import type {
  BackendHandler,
  BackendServer,
  BackendStats,
  DrainReport,
  InPlaceHandler,
  ServeOptions,
} from './types.js';

/** A peer that answers no ping is not waited for longer than this before its link is closed in a drain. */
const DRAIN_PONG_TIMEOUT_MS = 1_000;
const SIGNALS = ['SIGTERM', 'SIGINT'] as const;
/** Whole numbers of which 0 makes no sense, and one that does. */
const POSITIVE_OPTIONS = ['maxConcurrent', 'defaultDeadlineMs', 'maxPendingPartialBytes'] as const;
const COUNT_OPTIONS = ['maxQueued', 'drainGraceMs'] as const;

/**
 * Starts a backend. Signals are left to the program: `handleSignals` makes SIGTERM say going-away and finish what is in flight.
 * @param options where it listens and its limits; every one has a safe default.
 * @param handler `handle` for ordinary tasks, or `handleInPlace` for echo-like ones.
 * @throws an Error with the system's code (`EADDRINUSE`, `EACCES`, …) when it cannot listen, one with `ERR_ENGINE_UNAVAILABLE`
 *   when a named engine cannot run, `TypeError` or `RangeError` for options that make no sense.
 * @example
 *   const server = await serve({ port: 9101, handleSignals: true }, { handle: (task) => task.payload.toString().toUpperCase() });
 */
export async function serve(options: ServeOptions, handler: BackendHandler | InPlaceHandler): Promise<BackendServer> {
  checkOptions(options, handler);
  const given = isEngine(options.engine) ? options.engine : undefined;
  const engine = given ?? createEngine(engineOptions(options.engine));
  const host = new BackendHost(engine, options, handler);
  try {
    const listener = await listen(engine, host, options);
    return new RmpBackendServer(engine, given === undefined, host, listener, options);
  } catch (error) {
    if (given === undefined) await engine.close();
    throw error;
  }
}

function listen(engine: Engine, host: BackendHost, options: ServeOptions): Promise<Listener> {
  const address =
    options.path === undefined ? { host: options.host ?? '127.0.0.1', port: options.port } : { path: options.path };
  return engine.listen(
    {
      ...address,
      framing: rmpFraming(host.maxFrameLength),
      highWaterMark: LINK_HIGH_WATER_MARK,
      ...(options.maxConnections === undefined ? {} : { maxConnections: options.maxConnections }),
      ...(options.idleTimeoutMs === undefined ? {} : { idleTimeoutMs: options.idleTimeoutMs }),
      ...(options.reusePort === undefined ? {} : { reusePort: options.reusePort }),
    },
    host,
  );
}

class RmpBackendServer implements BackendServer {
  readonly engine: Engine;
  readonly closed: Promise<DrainReport>;
  readonly #ownsEngine: boolean;
  readonly #host: BackendHost;
  readonly #listener: Listener;
  readonly #defaultGraceMs: number;
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #onSignal = (): void => this.#signalled();
  #graceTimer: NodeJS.Timeout | undefined;
  #graceEndsAt = Number.POSITIVE_INFINITY;
  #listenerClosed: Promise<void> = Promise.resolve();
  #cut = 0;
  #finished = false;
  #resolveClosed!: (report: DrainReport) => void;
  #rejectClosed!: (error: unknown) => void;

  constructor(engine: Engine, ownsEngine: boolean, host: BackendHost, listener: Listener, options: ServeOptions) {
    this.engine = engine;
    this.#ownsEngine = ownsEngine;
    this.#host = host;
    this.#listener = listener;
    this.#defaultGraceMs = options.drainGraceMs ?? limits.drainGraceMs;
    this.closed = new Promise((resolve, reject) => {
      this.#resolveClosed = resolve;
      this.#rejectClosed = reject;
    });
    // Whoever drains or waits sees a failure; nobody else is crashed by it.
    this.closed.catch(() => {});
    host.onEmpty = () => void this.#finish();
    if (options.handleSignals === true) for (const signal of SIGNALS) process.on(signal, this.#onSignal);
  }

  get address(): BackendServer['address'] {
    return this.#listener.address;
  }

  get port(): number {
    return 'port' in this.address ? this.address.port : 0;
  }

  stats(): BackendStats {
    const { links, limiter, counts } = this.#host;
    return { links: links.size, running: limiter.running, queued: limiter.queued, ...counts };
  }

  close(): Promise<void> {
    return this.drain(0).then(() => {});
  }

  drain(graceMs: number = this.#defaultGraceMs): Promise<DrainReport> {
    if (!this.#host.draining) this.#beginDrain(graceMs);
    const endsAt = performance.now() + graceMs;
    if (endsAt < this.#graceEndsAt && !this.#finished) this.#endGraceAt(endsAt, graceMs);
    return this.closed;
  }

  #beginDrain(graceMs: number): void {
    const host = this.#host;
    host.drainGraceMs = graceMs;
    this.#listenerClosed = this.#listener.close();
    for (const link of host.links) link.goAway(graceMs);
    // With no link there is nobody to wait for, but one the kernel already holds may still be accepted.
    this.#listenerClosed.then(() => {
      if (host.links.size === 0) void this.#finish();
    }, this.#rejectClosed);
    this.#after(DRAIN_PONG_TIMEOUT_MS, () => {
      for (const link of host.links) link.peerKnowsDrain();
    });
  }

  #endGraceAt(endsAt: number, graceMs: number): void {
    this.#graceEndsAt = endsAt;
    if (this.#graceTimer !== undefined) clearTimeout(this.#graceTimer);
    this.#graceTimer = this.#after(graceMs, () => this.#cutAll());
  }

  /** The grace is over: what is open gets its answer, and a moment for it to leave. */
  #cutAll(): void {
    const sentence = 'cut by the end of the backend’s drain';
    for (const link of this.#host.links) this.#cut += link.cut(Status.UNAVAILABLE, sentence);
    this.#after(limits.flushGraceMs, () => {
      for (const { connection } of this.#host.links) {
        if (connection.state === 'closing') continue;
        connection.abort('going-away');
      }
    });
  }

  #after(delayMs: number, callback: () => void): NodeJS.Timeout {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      callback();
    }, delayMs);
    this.#timers.add(timer);
    return timer;
  }

  async #finish(): Promise<void> {
    if (this.#finished) return;
    this.#finished = true;
    for (const timer of this.#timers) clearTimeout(timer);
    for (const signal of SIGNALS) process.off(signal, this.#onSignal);
    this.#host.deadlines.stop();
    try {
      await this.#listenerClosed;
      if (this.#ownsEngine) await this.engine.close();
      this.#resolveClosed({ cut: this.#cut });
    } catch (error) {
      this.#rejectClosed(error);
    }
  }

  #signalled(): void {
    if (this.#host.draining) process.exit(1);
    this.drain().then(
      ({ cut }) => {
        process.exitCode = cut > 0 ? 1 : 0;
      },
      () => {
        process.exitCode = 1;
      },
    );
  }
}

function isEngine(engine: ServeOptions['engine']): engine is Engine {
  return typeof engine === 'object' && 'listen' in engine;
}

function engineOptions(engine: Exclude<ServeOptions['engine'], Engine>): EngineOptions {
  return typeof engine === 'string' ? { kind: engine } : (engine ?? {});
}

function checkOptions(options: ServeOptions, handler: BackendHandler | InPlaceHandler): void {
  const { handle, handleInPlace } = handler as BackendHandler & InPlaceHandler;
  if (typeof handle !== 'function' && typeof handleInPlace !== 'function') {
    throw new TypeError('serve needs a handler with a function `handle` or `handleInPlace`');
  }
  if (options.path === undefined) checkInteger('port', options.port, 0, 65_535);
  // A gateway's hello must fit.
  if (options.maxFrameLength !== undefined)
    checkInteger('maxFrameLength', options.maxFrameLength, HELLO_BYTES, LARGEST_MAX_FRAME_LENGTH);
  for (const name of POSITIVE_OPTIONS) if (options[name] !== undefined) checkInteger(name, options[name], 1);
  for (const name of COUNT_OPTIONS) if (options[name] !== undefined) checkInteger(name, options[name], 0);
}
