/** What the ledger knows of clients, links, backends and tasks: only what passed the seam. */
import type { BackendConnection } from '../../src/gateway/backend-connection.js';
import type { BackendLinks } from '../../src/gateway/backend-links.js';
import type { ClientProtocol } from '../../src/gateway/options.js';
import { Flag } from '../../src/protocol/rmp.js';
import type { SimulatedConnection } from './connection.js';

export class ClientRecord {
  readonly connection: SimulatedConnection;
  readonly protocol: ClientProtocol;
  readonly number: number;
  /** rmp: requests that wait for their final answer, by id. */
  readonly active = new Map<number, TaskRecord>();
  /** plain, lines: requests in order of their coming, which is that of their answers. */
  readonly row: TaskRecord[] = [];
  /** Ids of pings not answered. */
  readonly pings: number[] = [];
  /** Frames the gateway was given, and sent. */
  heard = 0;
  said = 0;
  /** Longest payload it takes, as its hello said. */
  maxBytes = Infinity;
  /** Partial responses of a request that it takes ungranted; 0: it has no stream windows. */
  window = 0;
  /** It broke the protocol: it has to be closed. */
  offended = false;
  /** It said FIN. */
  ended = false;
  /** The gateway ended it, or was told that it is gone. */
  gone = false;
  /** lines: what was sent of an answer before its LF. */
  line: TaskRecord | undefined;

  constructor(connection: SimulatedConnection, protocol: ClientProtocol, number: number) {
    this.connection = connection;
    this.protocol = protocol;
    this.number = number;
  }
}

/** A backend, from when the gateway first connects to it until it leaves the pool. */
export class BackendRecord {
  readonly links: BackendLinks;
  readonly pool: number;
  /** Requests sent and without their final response, on links that have not ended. */
  unanswered = 0;
  goingAway = false;
  /** As the first frame of its newest link said, or did not, and when that opened. */
  maxRequestBytes = Infinity;
  limitOfLinkMs = 0;

  constructor(links: BackendLinks, pool: number) {
    this.links = links;
    this.pool = pool;
  }

  get name(): string {
    return this.links.backend.name;
  }
}

export class LinkRecord {
  readonly connection: SimulatedConnection;
  readonly backend: BackendRecord;
  /** By the id on the wire: the backend may still answer. */
  readonly ids = new Map<number, Attempt>();
  /** All that were sent and have not been answered, no-reply requests too. */
  readonly attempts = new Set<Attempt>();
  readonly pings: { readonly id: number; readonly bytes: number }[] = [];
  heard = 0;
  /** Frames the gateway sent. */
  said = 0;
  windows = false;
  openedMs = 0;
  /** The backend broke the protocol: the link has to be ended. */
  offended = false;
  /** The gateway said on it that it goes away. */
  saidGoingAway = false;
  /** The gateway ended it. */
  closing = false;

  constructor(connection: SimulatedConnection, backend: BackendRecord) {
    this.connection = connection;
    this.backend = backend;
  }

  get link(): BackendConnection {
    return this.connection.context as BackendConnection;
  }
}

/** One sending of a task. */
export class Attempt {
  readonly task: TaskRecord;
  readonly link: LinkRecord;
  readonly id: number;
  /** Where its frame begins among the bytes of the link; Infinity: the link took nothing any more. */
  readonly offset: number;
  /** The backend was told that nobody waits any longer. */
  cancelTold = false;
  granted = 0;
  partials = 0;
  /** Bytes of the longest partial response, of those with meta what is certainly left without a token. */
  longest = 0;

  constructor(task: TaskRecord, link: LinkRecord, id: number, offset: number) {
    this.task = task;
    this.link = link;
    this.id = id;
    this.offset = offset;
  }

  /** The gateway still speaks on the link. */
  get isReachable(): boolean {
    return !this.link.closing && this.link.connection.state === 'open';
  }
}

/** `unavailable`: so answered, and as the request is idempotent another backend may be asked. */
export type AttemptEnd = 'refused' | 'unavailable' | 'answered' | 'unsent' | 'broken';

export interface Answer {
  readonly status: number;
  readonly flags: number;
  readonly bodyBytes: number;
}

export interface TaskOptions {
  readonly id: number;
  readonly route: number;
  readonly flags: number;
  readonly bodyBytes: number;
  /** 0: the pool's default. */
  readonly budgetMs: number;
  /** Index of its affinity key, -1: none. */
  readonly key: number;
}

export class TaskRecord {
  readonly number: number;
  readonly client: ClientRecord;
  readonly options: TaskOptions;
  /** -1: unknown route. */
  pool = -1;
  /** Place among the tasks the gateway was given. */
  arrival = 0;
  receivedMs = 0;
  deadlineMs = 0;
  /** Of a route with an order: which tasks go one after another. -1: none. */
  group = -1;
  attempts = 0;
  /** Where it was sent last. */
  backend: BackendRecord | undefined;
  /** Sent, and not known to be over. */
  live: Attempt | undefined;
  /** Some attempt may have been executed. */
  begun = false;
  /** How the last attempt ended. */
  ended: AttemptEnd | undefined;
  endedMs = 0;
  /** No further attempt is allowed. */
  final = false;
  /** Partial responses that its client granted, from the beginning. */
  granted = 0;
  partialsHeard = 0;
  partialsSaid = 0;
  partialBytes = 0;
  /** The longest payload of a response, meta included. */
  longestHeard = 0;
  cancelAsked = false;
  /** It came during a drain. */
  tooLate = false;
  answer: Answer | undefined;
  /** plain, lines: it has its outcome, and waits for its turn. */
  settled = false;
  /** Its client has its outcome, or left. */
  done = false;

  constructor(number: number, client: ClientRecord, options: TaskOptions) {
    this.number = number;
    this.client = client;
    this.options = options;
  }

  /** Partial responses have come that its client has not granted. */
  get waitsForGrant(): boolean {
    return this.client.window > 0 && this.partialsSaid === this.granted && this.partialsHeard > this.granted;
  }

  get noReply(): boolean {
    return (this.options.flags & Flag.noReply) !== 0;
  }

  get idempotent(): boolean {
    return (this.options.flags & Flag.idempotent) !== 0;
  }
}
