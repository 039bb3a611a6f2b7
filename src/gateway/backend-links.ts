/**
 * The links of one backend: connected ahead, more when they are full, one apart for long frames, each lost one connected again
 * after a growing pause. Pings them. Told the time by `tick`.
 */
import type { CloseInfo, Connection, Engine, Handler } from '../engine/engine.js';
import { ENGINE_LIMITS } from '../engine/tables.gen.js';
import { limits } from '../limits.js';
import { rmpFraming } from '../protocol/rmp.js';
import type { Backend } from './backend.js';
import { BackendConnection, type LinkEvents } from './backend-connection.js';
import type { LinkAddress, Log, PoolConfig } from './options.js';
import type { TaskTable } from './task-table.js';

/** ms: links beyond the minimum that carried nothing for so long are closed. */
const SURPLUS_IDLE_MS = 60_000;
/** The link picked last is picked again while it has so many times the tasks of the emptiest. */
const LINK_TOLERANCE = 1 + 1 / 32;
/** ms between two ticks that mean that this process stood still: what it did not read then is not the backend's silence. */
const STOOD_STILL_MS = 1_000;

export interface LinkDeps {
  readonly engine: Engine;
  readonly table: TaskTable;
  readonly events: LinkEvents;
  readonly random: () => number;
  readonly log: Log;
  /** Longest payload any client may send: a link must be able to hold one such frame. */
  readonly maxRequestBytes: number;
}

export class BackendLinks implements Handler {
  readonly backend: Backend;
  readonly address: LinkAddress;
  /** No longer in the pool: closes when nothing is in flight. */
  removed = false;
  /** Connects that failed or links that broke, since the start. */
  linksLost = 0;

  readonly #pool: PoolConfig;
  readonly #deps: LinkDeps;
  readonly #links: BackendConnection[] = [];
  #bulk: BackendConnection | undefined;
  /** The link that got the newest task. */
  #last: BackendConnection | undefined;
  #pauseMs = 0;
  #connectAtMs = 0;
  #nextPingMs = 0;
  #pingId = 0;
  #lastTickMs = 0;
  /** ms of the going-away that was said. Undefined: requests may still come. */
  #graceMs: number | undefined;
  #stopped = false;

  constructor(backend: Backend, address: LinkAddress, pool: PoolConfig, deps: LinkDeps) {
    this.backend = backend;
    this.address = address;
    this.#pool = pool;
    this.#deps = deps;
  }

  get links(): readonly BackendConnection[] {
    return this.#links;
  }

  /** On some of them a task waits for its answer, or to be sent. */
  get busy(): boolean {
    return this.#links.some((link) => link.live > 0);
  }

  /** The link for a task of so many bytes, or undefined when none can take it now. */
  pick(payloadBytes: number): BackendConnection | undefined {
    if (payloadBytes > limits.bulkFrameBytes) return this.#pickBulk();
    const links = this.#links;
    let best: BackendConnection | undefined;
    let fewest = Infinity;
    for (let i = 0; i < links.length; i++) {
      const link = links[i];
      if (!link.usable || link.bulk || link.inFlight >= fewest) continue;
      best = link;
      fewest = link.inFlight;
    }
    if (fewest >= limits.tasksPerLink) this.#widen();
    if (best !== this.#last && !this.#lastWillDo(fewest)) this.#last = best;
    return this.#last;
  }

  /** As with backends (selection/two-choices.ts): what is sent in one go had better be answered in one go. */
  #lastWillDo(fewest: number): boolean {
    const last = this.#last;
    if (last === undefined || !last.usable) return false;
    return last.inFlight <= fewest * LINK_TOLERANCE && last.inFlight < limits.tasksPerLink;
  }

  /** Connects what is missing, pings, closes what is not needed. */
  tick(now: number): void {
    for (const link of this.#links) link.reapNoReplies();
    if (this.removed || this.backend.goingAway) this.#closeIdle();
    if (this.removed || this.#stopped) return;
    if (this.#mayConnect(now)) this.#connectMissing();
    this.#checkPings(now);
    this.#closeSurplus(now);
    this.#lastTickMs = now;
  }

  /** No more requests will come: connects no more. */
  sayGoingAway(graceMs: number): void {
    this.#graceMs = graceMs;
    for (const link of this.#links) link.sayGoingAway(graceMs);
  }

  /** Closes all links and connects no more. */
  stop(): void {
    this.#stopped = true;
    for (const link of [...this.#links]) link.close('going-away');
  }

  open(connection: Connection): void {
    const link = connection.context as BackendConnection;
    if (!link.bulk) this.#countIn();
    link.opened(this.#deps.engine.now(), this.#pool.links.hello);
    if (this.#graceMs !== undefined) link.sayGoingAway(this.#graceMs);
  }

  frame(connection: Connection, bytes: Uint8Array, start: number, end: number): void {
    (connection.context as BackendConnection).frame(bytes, start, end);
  }

  batchEnd(): void {
    this.#deps.events.batchEnd();
  }

  drain(connection: Connection): void {
    (connection.context as BackendConnection).drained();
  }

  /** Nothing can follow a FIN: what still waits for its answer is lost, and what did not leave should not leave now. */
  end(connection: Connection): void {
    const link = connection.context as BackendConnection;
    if (link.live > 0) link.abort('peer-closed', 'the backend closed the connection before it answered');
    else link.close('peer-closed', 'the backend closed the connection');
  }

  close(connection: Connection, info: CloseInfo): void {
    const link = connection.context as BackendConnection;
    this.#links.splice(this.#links.indexOf(link), 1);
    if (this.#bulk === link) this.#bulk = undefined;
    if (this.#last === link) this.#last = undefined;
    if (link.wasOpen && !link.bulk) this.backend.connected--;
    this.#pause(link, info);
    link.closed(info);
  }

  #countIn(): void {
    this.backend.connected++;
    // A link made after the backend said going-away, before it says so again, means that it is back.
    if (!this.removed) this.backend.goingAway = false;
    this.backend.onConnected(this.#deps.engine.now());
  }

  #pickBulk(): BackendConnection | undefined {
    const bulk = this.#bulk;
    if (bulk !== undefined && !bulk.retiring) return bulk.usable || bulk.takesWaiting ? bulk : undefined;
    if (!this.#mayConnect(this.#deps.engine.now())) return undefined;
    this.#bulk = this.#connect(true);
    return this.#bulk;
  }

  /** One more at a time: every task until it opens finds the others full too. */
  #widen(): void {
    if (this.#links.some((link) => !link.bulk && !link.wasOpen)) return;
    if (this.#count() < this.#pool.links.max && this.#mayConnect(this.#deps.engine.now())) this.#connect(false);
  }

  #connectMissing(): void {
    while (this.#count() < this.#pool.links.min) this.#connect(false);
  }

  /** Not before the pause is over, and not while a backend that is going away still has links. */
  #mayConnect(now: number): boolean {
    if (this.#stopped || this.removed || this.#graceMs !== undefined || now < this.#connectAtMs) return false;
    return !this.backend.goingAway || this.#links.length === 0;
  }

  /** Links that carry, or will carry, tasks. */
  #count(): number {
    let count = 0;
    for (const link of this.#links) if (!link.bulk && !link.retiring) count++;
    return count;
  }

  #connect(bulk: boolean): BackendConnection {
    const { engine, table, events, maxRequestBytes } = this.#deps;
    const link = new BackendConnection(this.backend, bulk, this.#pool.maxFrameLength, table, events);
    this.#links.push(link);
    const { host, port, path } = this.address;
    const connection = engine.connect(
      {
        ...(path === undefined ? { host, port: port! } : { path }),
        framing: rmpFraming(this.#pool.maxFrameLength),
        connectTimeoutMs: this.#pool.links.connectTimeoutMs,
        // Pings watch over links; the engine's own idea of idleness would only cut quiet ones.
        idleTimeoutMs: 0,
        highWaterMark: limits.linkHighWaterMark,
        maxBufferedBytes: ENGINE_LIMITS.maxBufferedBytes + maxRequestBytes,
      },
      this,
    );
    connection.context = link;
    link.connection = connection;
    return link;
  }

  #pause(link: BackendConnection, info: CloseInfo): void {
    if (info.reason === 'closed' && !link.saidGoingAway) return;
    const now = this.#deps.engine.now();
    const { reconnectMinMs, reconnectMaxMs } = this.#pool.links;
    this.linksLost++;
    if (link.wasOpen && now - link.openedAtMs >= limits.settledLinkMs) this.#pauseMs = 0;
    this.#pauseMs = this.#pauseMs === 0 ? reconnectMinMs : Math.min(reconnectMaxMs, this.#pauseMs * 2);
    // "Equal jitter": half of the pause is random, so that many gateways do not come back at once.
    const pauseMs = this.#pauseMs * (0.5 + this.#deps.random() / 2);
    this.#connectAtMs = now + pauseMs;
    if (this.#stopped || this.removed) return;
    this.#deps.log('warn', link.wasOpen ? 'link.lost' : 'link.connect-failed', {
      pool: this.#pool.name,
      backend: this.backend.name,
      reason: info.reason,
      message: info.message,
      error: info.errorCode,
      retryInMs: Math.round(pauseMs),
    });
  }

  #checkPings(now: number): void {
    const { pingIntervalMs, pingTimeoutMs } = this.#pool.health;
    if (pingIntervalMs === 0) return;
    const stoodStill = now - this.#lastTickMs > STOOD_STILL_MS;
    for (const link of [...this.#links]) {
      if (!link.awaitsPong) continue;
      if (stoodStill) link.pingedAtMs = now;
      else if (now - link.pingedAtMs >= pingTimeoutMs) this.#unhealthy(link, now);
    }
    if (now < this.#nextPingMs) return;
    this.#nextPingMs = now + pingIntervalMs;
    for (const link of this.#links) {
      if (link.isOpen && !link.awaitsPong) link.ping(++this.#pingId, now);
    }
  }

  #unhealthy(link: BackendConnection, now: number): void {
    this.backend.onPingTimeout(now);
    link.abort('unhealthy', `no sign of life within ${this.#pool.health.pingTimeoutMs} ms after a ping`);
  }

  #closeIdle(): void {
    for (const link of [...this.#links]) {
      // A link still connecting may be the one on which a backend that went away comes back.
      const unused = link.isOpen || (this.removed && !link.retiring);
      if (unused && link.live === 0) link.close('closed', 'the backend is leaving');
    }
  }

  #closeSurplus(now: number): void {
    if (this.#count() <= this.#pool.links.min && this.#bulk === undefined) return;
    for (const link of [...this.#links]) {
      const surplus = link.bulk || this.#count() > this.#pool.links.min;
      if (surplus && link.usable && link.inFlight === 0 && now - link.lastUsedMs >= SURPLUS_IDLE_MS) {
        link.close('closed', 'not needed');
      }
    }
  }
}
