/**
 * The book of a simulated world: sees all frames that pass the seam, at the moment they do, and holds the gateway to what
 * docs/PROTOCOL.md and the design promise about each of them. Knows nothing of the gateway's inside; `invariants.ts` does.
 */
import type { CloseInfo } from '../../src/engine/engine.js';
import type { CloseReason } from '../../src/engine/tables.gen.js';
import type { BackendLinks } from '../../src/gateway/backend-links.js';
import type { GatewayConfig } from '../../src/gateway/options.js';
import { At, readU16, readU32 } from '../../src/protocol/rmp.js';
import { broken } from './broken.js';
import { BudgetModel } from './budget-model.js';
import { ClientRules } from './client-rules.js';
import type { Clock } from './clock.js';
import type { Sent, SimulatedConnection } from './connection.js';
import type { Witness } from './engine.js';
import { LinkRules } from './link-rules.js';
import { BackendRecord, ClientRecord, LinkRecord, type TaskOptions, TaskRecord } from './records.js';
import type { Trace } from './trace.js';

export interface RouteModel {
  readonly pool: number;
  readonly orderBy: 'none' | 'client' | 'key';
}

/** No meta of a simulated client is longer. */
export const META_BYTES = 64;

/** An RMP frame, decoded. One object, overwritten by the next. */
export interface Frame {
  kind: number;
  flags: number;
  route: number;
  id: number;
  arg: number;
  bytes: Uint8Array;
  /** Of the payload. */
  start: number;
  end: number;
}

export class Ledger implements Witness {
  readonly clock: Clock;
  readonly trace: Trace;
  readonly config: GatewayConfig;
  readonly routes: (RouteModel | undefined)[] = [];
  readonly budgets: BudgetModel[];
  readonly tasks: TaskRecord[] = [];
  /** Of rmp clients, wanting an answer, and without one. */
  readonly open = new Set<TaskRecord>();
  readonly clients = new Set<ClientRecord>();
  readonly links = new Set<LinkRecord>();
  readonly backends = new Map<BackendLinks, BackendRecord>();
  /** The newest task in flight of each group. */
  readonly groups = new Map<number, TaskRecord>();
  /** By outcome, of tasks that want an answer and got it. */
  readonly outcomes = { answered: 0, failed: 0, timedOut: 0, cancelled: 0, refused: 0 };
  received = 0;
  resends = 0;
  lateResponses = 0;
  unknownResponses = 0;
  partials = 0;
  /** drain or close was called. */
  draining = false;
  /** Tasks answered because the gateway shut down. */
  cut = 0;
  /** When the grace of a drain is over; 0: the gateway was closed at once. */
  cutFromMs = Infinity;
  /** A request of this client and so many bytes finds a queue full. */
  isFull: (connection: SimulatedConnection, bytes: number) => boolean = () => true;
  readonly #clientRules: ClientRules;
  readonly #linkRules: LinkRules;
  /** Told of something that leaves work for the end of the dispatch. */
  readonly #touched = new Set<TaskRecord>();
  readonly #gone: ClientRecord[] = [];
  readonly #frame: Frame = { kind: 0, flags: 0, route: 0, id: 0, arg: 0, bytes: new Uint8Array(0), start: 0, end: 0 };

  constructor(clock: Clock, trace: Trace, config: GatewayConfig) {
    this.clock = clock;
    this.trace = trace;
    this.config = config;
    for (const { route, pool, orderBy } of config.routes) {
      this.routes[route] = { pool: config.pools.findIndex(({ name }) => name === pool), orderBy };
    }
    this.budgets = config.pools.map(({ retries }) => new BudgetModel(retries));
    this.#clientRules = new ClientRules(this);
    this.#linkRules = new LinkRules(this);
  }

  newTask(client: ClientRecord, options: TaskOptions): TaskRecord {
    const task = new TaskRecord(this.tasks.length, client, options);
    this.tasks.push(task);
    return task;
  }

  task(number: number): TaskRecord | undefined {
    return this.tasks[number];
  }

  /** The gateway connects to a backend, which refuses or not. */
  dialled(connection: SimulatedConnection, pool: number): LinkRecord {
    const links = connection.handler as BackendLinks;
    let backend = this.backends.get(links);
    if (backend === undefined) this.backends.set(links, (backend = new BackendRecord(links, pool)));
    const link = new LinkRecord(connection, backend);
    connection.record = link;
    this.links.add(link);
    return link;
  }

  /** Looked at again when the dispatch is over. */
  touch(task: TaskRecord): void {
    this.#touched.add(task);
  }

  /** The client has its outcome, or needs none. */
  done(task: TaskRecord): void {
    task.done = true;
    this.open.delete(task);
    this.touch(task);
  }

  // Witness.

  opened(connection: SimulatedConnection): void {
    const { record } = connection;
    if (this.trace.enabled) this.trace.add(`${nameOf(connection)} opens`);
    if (record instanceof LinkRecord) this.#linkRules.opened(record);
    else this.clients.add(record as ClientRecord);
  }

  hears(connection: SimulatedConnection, bytes: Uint8Array): void {
    const { record } = connection;
    if (record instanceof LinkRecord) {
      const frame = this.#decode(bytes);
      if (this.trace.enabled) this.trace.add(`${nameOf(connection)} → gateway: ${described(frame)}`);
      this.#linkRules.hears(record, frame);
    } else {
      const client = record as ClientRecord;
      if (client.protocol === 'rmp') {
        const frame = this.#decode(bytes);
        if (this.trace.enabled) this.trace.add(`${nameOf(connection)} → gateway: ${described(frame)}`);
        this.#clientRules.hears(client, frame);
      } else {
        if (this.trace.enabled) this.trace.add(`${nameOf(connection)} → gateway: ${text(bytes, 0, bytes.length)}`);
        this.#clientRules.hearsPlain(client, bytes);
      }
    }
  }

  heard(connection: SimulatedConnection): void {
    const { record } = connection;
    const { offended } = record as LinkRecord | ClientRecord;
    if (offended && connection.state === 'open') broken('who breaks the protocol is closed', nameOf(connection));
    this.settle();
  }

  said(
    connection: SimulatedConnection,
    queued: boolean,
    header: Uint8Array,
    headerLength: number,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): Sent | undefined {
    const { record } = connection;
    if (record instanceof ClientRecord && record.protocol !== 'rmp') {
      if (this.trace.enabled) this.trace.add(`gateway → ${nameOf(connection)}: ${text(bytes, start, end)}`);
      return this.#clientRules.saysPlain(record, header, headerLength, bytes, start, end);
    }
    const frame = this.#decode(header);
    frame.bytes = bytes;
    frame.start = start;
    frame.end = end;
    if (this.trace.enabled) {
      this.trace.add(`gateway → ${nameOf(connection)}: ${described(frame)}${queued ? '' : ' (not taken)'}`);
    }
    if (record instanceof LinkRecord) return this.#linkRules.says(record, frame, queued);
    return this.#clientRules.says(record as ClientRecord, frame);
  }

  reading(connection: SimulatedConnection, on: boolean): void {
    if (this.trace.enabled) this.trace.add(`gateway ${on ? 'reads' : 'stops reading'} ${nameOf(connection)}`);
  }

  ended(connection: SimulatedConnection): void {
    const { record } = connection;
    if (this.trace.enabled) this.trace.add(`${nameOf(connection)} → gateway: FIN`);
    if (record instanceof ClientRecord) record.ended = true;
  }

  closing(connection: SimulatedConnection, reason: CloseReason): void {
    const { record } = connection;
    if (this.trace.enabled) this.trace.add(`gateway ends ${nameOf(connection)}: ${reason}`);
    if (record instanceof LinkRecord) record.closing = true;
    else this.#clientRules.closing(record as ClientRecord, reason);
  }

  closed(connection: SimulatedConnection, info: CloseInfo): void {
    const { record } = connection;
    if (this.trace.enabled) {
      this.trace.add(`${nameOf(connection)} has ended: ${info.reason}, ${info.bytesHandedToKernel} bytes had left`);
    }
    if (record instanceof LinkRecord) {
      this.#linkRules.closed(record, info);
      this.links.delete(record);
    } else {
      this.gone(record as ClientRecord);
      this.clients.delete(record as ClientRecord);
    }
  }

  /** Nobody waits there any longer. Its tasks are over at the end of the dispatch. */
  gone(client: ClientRecord): void {
    if (client.gone) return;
    client.gone = true;
    this.#gone.push(client);
  }

  /** At the end of a dispatch: what the gateway has been told must have had its consequences. */
  settle(): void {
    for (const client of this.#gone) {
      for (const task of client.active.values()) this.#leave(task);
      for (const task of client.row) this.#leave(task);
      client.active.clear();
    }
    this.#gone.length = 0;
    if (this.#touched.size === 0) return;
    for (const task of this.#touched) this.#settleTask(task);
    this.#touched.clear();
  }

  /** Some backend of its pool has said that it takes less. */
  isTooLong({ pool, options }: TaskRecord): boolean {
    for (const backend of this.backends.values()) {
      if (backend.pool === pool && backend.maxRequestBytes < options.bodyBytes + META_BYTES) return true;
    }
    return false;
  }

  /** `lateMs`: what is due after this moment cannot have been noticed. */
  checkDeadlines(lateMs: number): void {
    for (const task of this.open) {
      if (task.deadlineMs <= lateMs && !task.client.gone) {
        broken('a task ends at its deadline', `task ${task.number} was due at ${task.deadlineMs}`);
      }
    }
  }

  #leave(task: TaskRecord): void {
    if (task.done) return;
    task.done = true;
    task.final = true;
    this.open.delete(task);
    if (task.client.protocol === 'rmp') this.outcomes.cancelled++;
    this.touch(task);
  }

  #settleTask(task: TaskRecord): void {
    const { live } = task;
    const over = task.done || task.settled;
    if (over && live !== undefined && !live.cancelTold && !task.noReply && live.isReachable) {
      broken('a backend is told when nobody waits for its answer', `task ${task.number} under id ${live.id}`);
    }
    if (!over && live?.cancelTold && task.client.protocol === 'rmp') {
      broken('only a task that is over is cancelled', `task ${task.number}`);
    }
    const passesOn = task.client.protocol === 'rmp' && !task.waitsForGrant;
    const answered = task.answer !== undefined && live === undefined && task.ended === 'answered';
    if (!over && answered && !task.waitsForGrant) {
      broken('an answer is passed on at once', `task ${task.number}`);
    }
    if (!task.done && task.partialsSaid !== task.partialsHeard && passesOn) {
      broken('a partial response is passed on at once', `task ${task.number}`);
    }
  }

  #decode(header: Uint8Array): Frame {
    const frame = this.#frame;
    frame.kind = header[At.kind];
    frame.flags = header[At.flags];
    frame.route = readU16(header, At.route);
    frame.id = readU32(header, At.id);
    frame.arg = readU32(header, At.arg);
    frame.bytes = header;
    frame.start = At.payload;
    frame.end = header.length;
    return frame;
  }
}

export function nameOf(connection: SimulatedConnection): string {
  const { record } = connection;
  if (record instanceof LinkRecord) return `link ${connection.id} to ${record.backend.name}`;
  return `${(record as ClientRecord).protocol} client ${(record as ClientRecord).number}`;
}

const KINDS = ['?', 'request', 'response', 'cancel', 'push', 'ack', 'ping', 'pong', 'going-away', 'hello', 'window'];

function described({ kind, flags, route, id, arg, bytes, start, end }: Frame): string {
  return `${KINDS[kind] ?? kind} id ${id} flags ${flags} route ${route} arg ${arg}, ${end - start} bytes ${text(bytes, start, end)}`;
}

function text(bytes: Uint8Array, start: number, end: number): string {
  return JSON.stringify(Buffer.from(bytes.subarray(start, Math.min(end, start + 60))).toString('latin1'));
}
