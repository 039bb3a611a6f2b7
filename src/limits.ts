/**
 * Every number of the control plane, once, with its unit and its reason. Those of the data plane stand in
 * `protocol/tables.json` (`ENGINE_LIMITS`), because C++ needs them too.
 */
export interface Limit {
  readonly value: number;
  readonly unit: string;
  readonly why: string;
}

export const LIMITS = {
  maxQueuedPerClient: {
    value: 100,
    unit: 'tasks',
    why: 'waiting for a backend; one client cannot fill the queue of all',
  },
  maxQueuedTotal: {
    value: 100_000,
    unit: 'tasks',
    why: 'about 10 s of work at 10,000/s; what waits longer times out anyway',
  },
  maxQueuedBytes: { value: 268_435_456, unit: 'bytes', why: 'payloads waiting for a backend, of all clients' },
  maxKeptBytes: {
    value: 536_870_912,
    unit: 'bytes',
    why: 'memory that waiting and repeatable payloads and answers hold in all; a small one may hold the 16 KB it was copied with',
  },
  maxPipelined: {
    value: 1_024,
    unit: 'tasks',
    why: 'unanswered of one plain or lines client; beyond it we stop reading from it',
  },
  deadlineMs: { value: 10_000, unit: 'ms', why: 'where the request brings no budget; a person waits no longer' },
  maxInFlight: { value: 1_024, unit: 'tasks', why: 'per backend, sent and unanswered; Envoy has the same default' },
  maxAttempts: { value: 3, unit: 'attempts', why: 'the first and two more, each to another backend' },
  retryRatio: { value: 0.2, unit: 'retries per request', why: 'of the requests of the last window (Finagle, Envoy)' },
  retryWindowMs: { value: 10_000, unit: 'ms', why: 'what the retry budget remembers' },
  retryMinPerSecond: { value: 10, unit: 'retries/s', why: 'a quiet gateway may still retry' },
  maxRetainedBytes: {
    value: 65_536,
    unit: 'bytes',
    why: 'a longer payload is not kept for a second attempt (linkerd: 64 KiB)',
  },
  minLinks: { value: 1, unit: 'links', why: 'per backend, connected ahead: one multiplexed link coalesces best' },
  maxLinks: { value: 4, unit: 'links', why: 'per backend; more only when the others are full' },
  tasksPerLink: {
    value: 4096,
    unit: 'tasks',
    why: 'in flight on every link before a further one is opened. More links scatter the answers for one client over more sends: relay 500 x 16 costs 0.70 µs per message over 1 link per backend, 0.95 over 4',
  },
  bulkFrameBytes: {
    value: 262_144,
    unit: 'bytes',
    why: 'longer payloads use a link of their own, so that small ones do not wait',
  },
  linkHighWaterMark: {
    value: 4_194_304,
    unit: 'bytes',
    why: 'one busy turn fits; above it a backend is not reading and gets no more',
  },
  maxAbandonedIds: {
    value: 256,
    unit: 'ids',
    why: 'cancelled or expired and never answered: a link with more is replaced',
  },
  reconnectMinMs: { value: 100, unit: 'ms', why: 'first pause after a lost link, doubled each time, halved at random' },
  reconnectMaxMs: { value: 10_000, unit: 'ms', why: 'longest pause: a backend that is back is found soon' },
  settledLinkMs: { value: 1_000, unit: 'ms', why: 'a link that lived so long starts the backoff afresh' },
  pingIntervalMs: { value: 5_000, unit: 'ms', why: 'half-dead links are found before clients find them' },
  pingTimeoutMs: {
    value: 10_000,
    unit: 'ms',
    why: 'any frame counts as life; a busy single-threaded backend must not look dead',
  },
  consecutiveFailures: { value: 5, unit: 'failures', why: 'eject after so many in a row (Envoy)' },
  ejectMs: { value: 10_000, unit: 'ms', why: 'before the half-open trial' },
  slowStartMs: { value: 10_000, unit: 'ms', why: 'a fresh backend gets its share gradually' },
  resolveIntervalMs: {
    value: 30_000,
    unit: 'ms',
    why: 'names are looked up again; the usual TTL of service discovery',
  },
  minTimeoutPenaltyMs: {
    value: 1_000,
    unit: 'ms',
    why: 'a client with a tiny budget must not make a backend look ill',
  },
  firstStreamWindow: {
    value: 1,
    unit: 'partial responses',
    why: 'granted with a request: each may be as long as a frame, and how long they are is known with the first',
  },
  streamWindow: {
    value: 32,
    unit: 'partial responses',
    why: 'granted at most beyond those that came; fewer where they are long, so that they take half of what may be buffered',
  },
  maxStreamBufferedBytes: {
    value: 8_388_608,
    unit: 'bytes',
    why: 'a client this far behind has its streams cancelled; a quarter of maxBufferedBytes',
  },
  maxHeldBytes: {
    value: 33_554_432,
    unit: 'bytes',
    why: 'answers of one plain or lines client that wait for their turn',
  },
  maxConcatenatedBytes: {
    value: 16_777_216,
    unit: 'bytes',
    why: 'partial responses of one task put together for plain or lines: one frame',
  },
  tickMs: { value: 10, unit: 'ms', why: 'granularity of deadlines, pings and reconnects' },
  idleTickMs: { value: 250, unit: 'ms', why: 'the same while there is no task: a deadline cannot be missed then' },
  drainGraceMs: { value: 30_000, unit: 'ms', why: 'what it cuts is answered UNAVAILABLE; Kubernetes waits as long' },
  crossingMs: {
    value: 100,
    unit: 'ms',
    why: 'a drain with connected clients lasts so long: requests that crossed its going-away are refused, not discarded',
  },
  flushGraceMs: {
    value: 1_000,
    unit: 'ms',
    why: 'after the last answer, for buffers to empty before connections are cut',
  },
} as const satisfies Record<string, Limit>;

export type LimitName = keyof typeof LIMITS;

/** The values alone. */
export const limits = Object.fromEntries(Object.entries(LIMITS).map(([name, limit]) => [name, limit.value])) as {
  readonly [Name in LimitName]: number;
};
