/**
 * The peer of the relay rows: the gateway that a careful Node team writes straight on node:net. Clients send messages, each becomes a
 * task with a deadline, goes to the backend with the fewest in flight over one multiplexed RMP link (docs/PROTOCOL.md), and its answer
 * returns to the client that asked.
 *
 * What makes it careful, and what makes it fast:
 * - Bounds: longest frame, connections, tasks open per client, in flight per backend and waiting (in number and bytes), bytes unsent to a
 *   client. Silent clients are closed after 5 minutes, incomplete frames of either side after 30 seconds and their length at 16 KB/s.
 * - Backpressure: a client that does not take its answers, or has 1,024 open, is not read from (rmp: refused); a backend with 4 MiB unread
 *   gets no more until it has read them, and requests wait for another one, or for it.
 * - Deadlines by one coarse timer over a Map: with one deadline for all, the Map's order is the order in which they end.
 * - A client that leaves cancels its tasks at the backend; a backend that leaves fails its own, and its link is made again.
 * - No copy where none is needed: an RMP request goes on as it came, its id overwritten; a plain answer is the backend's response, the
 *   4 bytes before its payload overwritten with the length. (Node hands out fresh memory per read, so a view may be kept and written.)
 *   Large payloads of plain requests are not copied behind their new header, but follow it in one writev.
 * - One write per client and chunk of answers, and one write per backend link and turn of the loop, however many messages there are: small
 *   ones copied together, large ones beside them in one writev.
 *
 * It has no metrics, health checks, retries, priorities, windows or drain: less than Ringway does per message, never more.
 *
 * --per-chunk writes to a link once per chunk that was read, not once per turn of the loop: cork, and uncork in process.nextTick, as Node's
 * documentation suggests, comes to the same. Most gateways are written like that; the bench shows it beside.
 *
 * usage: node node-net-gateway.mjs --protocol plain|rmp --route N=HOST:PORT,HOST:PORT … [--port P] [--host H]
 * Prints `listening on HOST:PORT` when ready; ends on SIGTERM.
 */
import { connect, createServer } from 'node:net';
import { parseArgs } from 'node:util';
import { expireFrames, FrameSocket, LARGE_BYTES, readU32, writeU32 } from './node-net-frame-socket.mjs';

const DEADLINE_MS = 10_000;
const TIMER_MS = 100;
const IDLE_MS = 300_000;
const MAX_WAITING = 10_000;
const MAX_WAITING_BYTES = 256 * 1024 * 1024;
/** Unanswered of one client: beyond it a plain one is not read from, and an rmp one is refused. */
const MAX_OPEN = 1_024;
/** One read fits; at Node's 16 KB each answer of 16 KB would stop the reading and start it again. */
const CLIENT_HIGH_WATER_BYTES = 64 * 1024;
/** A backend that has so much unread gets no more until it has read it. */
const LINK_HIGH_WATER_BYTES = 4 * 1024 * 1024;
const MAX_UNSENT_BYTES = 32 * 1024 * 1024;
const PING_MS = 5_000;
const RECONNECT_MS = 500;

const HEADER_BYTES = 16;
const REQUEST = 1;
const RESPONSE = 2;
const CANCEL = 3;
const PING = 6;
const PONG = 7;
const GOING_AWAY = 8;
const MORE = 1;
const NO_REPLY = 2;
const CANCELLED = 1;
const DEADLINE_EXCEEDED = 4;
const NOT_FOUND = 5;
const RESOURCE_EXHAUSTED = 8;
const UNAVAILABLE = 14;

const { values } = parseArgs({
  options: {
    port: { type: 'string', default: '0' },
    host: { type: 'string', default: '127.0.0.1' },
    protocol: { type: 'string', default: 'plain' },
    route: { type: 'string', multiple: true, default: [] },
    'max-connections': { type: 'string', default: '10000' },
    'max-in-flight': { type: 'string', default: '1024' },
    'per-chunk': { type: 'boolean', default: false },
  },
});

function frame(kind, flags, route, id, arg, payload) {
  const bytes = begin(HEADER_BYTES + payload.length, kind, flags, route, id, arg, payload.length);
  bytes.set(payload, HEADER_BYTES);
  return bytes;
}

/** A header in a Buffer of so many bytes. */
function begin(totalBytes, kind, flags, route, id, arg, payloadBytes) {
  const bytes = Buffer.allocUnsafe(totalBytes);
  writeU32(bytes, 0, HEADER_BYTES - 4 + payloadBytes);
  bytes[4] = kind;
  bytes[5] = flags;
  bytes[6] = route >>> 8;
  bytes[7] = route;
  writeU32(bytes, 8, id);
  writeU32(bytes, 12, arg);
  return bytes;
}

const NOTHING = Buffer.alloc(0);

// --- tasks -----------------------------------------------------------------------------------------------------------

/** Tasks sent to a backend, by the id they have there; in the order in which they came. */
const tasks = new Map();
/** Of these, the ones with a deadline of their own. */
const budgeted = new Set();
let lastId = 0;
/** Of requests that wait for a backend. */
let waitingBytes = 0;
let nowMs = performance.now();

class Task {
  constructor(client, clientId, route, deadlineMs) {
    this.client = client;
    this.clientId = clientId;
    this.route = route;
    this.deadlineMs = deadlineMs;
    this.id = 0;
    this.link = null;
    this.request = null;
    this.answer = null;
    this.done = false;
  }
}

/** `request` is an RMP frame whose id may be overwritten, whole or all but its payload. */
function submit(task, request, payload = null) {
  const pool = pools.get(task.route);
  if (pool === undefined) {
    settle(task, NOT_FOUND, `no route ${task.route}`);
    return;
  }
  const link = pool.pick();
  if (link !== null) {
    link.send(task, request, payload);
  } else if (pool.waiting.length < MAX_WAITING && waitingBytes < MAX_WAITING_BYTES) {
    // Kept long: not as a view that holds a whole chunk.
    task.request = payload === null ? Buffer.from(request) : Buffer.concat([request, payload]);
    waitingBytes += task.request.length;
    pool.waiting.push(task);
  } else {
    settle(task, RESOURCE_EXHAUSTED, 'too many requests wait');
  }
}

/** Ends a task without its backend's answer. */
function settle(task, status, sentence) {
  if (task.done) return;
  forget(task);
  task.client.fail(task, status, sentence);
}

function forget(task) {
  task.done = true;
  if (task.link === null) return;
  tasks.delete(task.id);
  budgeted.delete(task);
  task.link.inFlight--;
  task.link.pool.sendWaiting();
}

function cancelAtBackend(task) {
  if (task.link === null) return;
  task.link.frames.push(frame(CANCEL, 0, 0, task.id, 0, NOTHING));
  task.link.flushSoon();
}

function expire() {
  nowMs = performance.now();
  expireFrames(nowMs);
  const late = [];
  for (const task of tasks.values()) {
    if (task.deadlineMs > nowMs && !budgeted.has(task)) break;
    if (task.deadlineMs <= nowMs) late.push(task);
  }
  for (const task of budgeted) if (task.deadlineMs <= nowMs) late.push(task);
  for (const pool of pools.values()) late.push(...pool.takeLate());
  for (const task of late) {
    if (task.done) continue;
    cancelAtBackend(task);
    settle(task, DEADLINE_EXCEEDED, 'the deadline passed');
  }
  flushClients();
}

// --- backends --------------------------------------------------------------------------------------------------------

class Pool {
  constructor(addresses) {
    this.waiting = [];
    this.links = addresses.map((address) => new Link(this, address));
  }

  /** The connected one with the fewest in flight; null when all are full, behind with reading, or away. */
  pick() {
    let best = null;
    for (const link of this.links) {
      if (link.takesMore() && link.inFlight < maxInFlight && (best === null || link.inFlight < best.inFlight))
        best = link;
    }
    return best;
  }

  sendWaiting() {
    while (this.waiting.length > 0) {
      const link = this.pick();
      if (link === null) return;
      const task = this.waiting.shift();
      waitingBytes -= task.request.length;
      if (!task.done) link.send(task, task.request, null);
      task.request = null;
    }
  }

  takeLate() {
    const late = this.waiting.filter((task) => task.deadlineMs <= nowMs);
    if (late.length > 0) this.waiting = this.waiting.filter((task) => task.deadlineMs > nowMs);
    for (const { request } of late) waitingBytes -= request.length;
    return late;
  }
}

/** One connection to one backend, shared by all clients. */
class Link {
  constructor(pool, address) {
    this.pool = pool;
    [this.host, this.port] = [
      address.slice(0, address.lastIndexOf(':')),
      Number(address.slice(address.lastIndexOf(':') + 1)),
    ];
    this.inFlight = 0;
    this.open = false;
    this.full = false;
    this.flushing = false;
    this.flush = () => {
      this.flushing = false;
      if (!this.frames.flush()) this.full = true;
    };
    this.connect();
  }

  connect() {
    const socket = connect({
      ...{ host: this.host, port: this.port, noDelay: true },
      highWaterMark: LINK_HIGH_WATER_BYTES,
    });
    this.full = false;
    this.frames = new FrameSocket(socket, HEADER_BYTES - 4, (bytes, start, end) => this.take(bytes, start, end));
    socket.on('connect', () => {
      this.open = true;
      ready();
      this.pool.sendWaiting();
    });
    socket.on('data', (chunk) => {
      this.frames.receive(chunk);
      flushClients();
    });
    socket.on('drain', () => {
      this.full = false;
      this.pool.sendWaiting();
    });
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.lost());
  }

  takesMore() {
    return this.open && !this.full && this.frames.pieceBytes < LINK_HIGH_WATER_BYTES;
  }

  lost() {
    this.open = false;
    for (const task of [...tasks.values()]) if (task.link === this) settle(task, UNAVAILABLE, 'the backend left');
    flushClients();
    setTimeout(() => this.connect(), RECONNECT_MS);
  }

  send(task, request, payload) {
    task.link = this;
    task.id = lastId = (lastId + 1) >>> 0;
    tasks.set(task.id, task);
    if (task.deadlineMs < nowMs + DEADLINE_MS - 2 * TIMER_MS) budgeted.add(task);
    this.inFlight++;
    writeU32(request, 8, task.id);
    this.frames.push(request);
    if (payload !== null) this.frames.push(payload);
    this.flushSoon();
  }

  /** Once all sockets that are readable in this turn were read: many clients' requests leave in one write. */
  flushSoon() {
    if (this.flushing) return;
    this.flushing = true;
    flushLater(this.flush);
  }

  take(bytes, start, end) {
    const kind = bytes[start + 4];
    if (kind === PING) {
      bytes[start + 4] = PONG;
      this.frames.push(bytes.subarray(start, end));
      this.flushSoon();
    } else if (kind === GOING_AWAY) {
      this.open = false;
    } else if (kind === RESPONSE) {
      const task = tasks.get(readU32(bytes, start + 8));
      // A late answer to a task that was cancelled, or whose deadline passed.
      if (task === undefined || task.link !== this) return;
      const last = (bytes[start + 5] & MORE) === 0;
      if (last) forget(task);
      task.client.answer(task, bytes, start, end, last);
    }
  }

  ping() {
    if (!this.open) return;
    this.frames.push(frame(PING, 0, 0, 0, 0, NOTHING));
    this.flushSoon();
  }
}

// --- clients ---------------------------------------------------------------------------------------------------------

/** Clients with answers that have not been written yet. */
const unflushed = new Set();

function flushClients() {
  for (const client of unflushed) client.flush();
  unflushed.clear();
}

class Client {
  constructor(socket, leastBytes) {
    this.socket = socket;
    this.frames = new FrameSocket(socket, leastBytes, (bytes, start, end) => this.take(bytes, start, end));
    socket.setTimeout(IDLE_MS, () => this.idle() && socket.destroy());
    socket.on('data', (chunk) => {
      nowMs = performance.now();
      this.frames.receive(chunk);
      if (unflushed.size > 0) flushClients();
    });
    /** Why it is not read from: it does not take its answers, or has asked enough. */
    this.full = false;
    this.busy = false;
    socket.on('drain', () => {
      this.full = false;
      this.readOn();
    });
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.left());
  }

  flush() {
    if (this.frames.flush()) return;
    this.full = true;
    this.socket.pause();
    if (this.socket.writableLength > MAX_UNSENT_BYTES) this.socket.destroy();
  }

  readOn() {
    if (!this.full && !this.busy) this.socket.resume();
  }

  push(bytes) {
    this.frames.push(bytes);
    unflushed.add(this);
  }
}

/** u32 length and payload; answers in the order of the requests. */
class PlainClient extends Client {
  constructor(socket) {
    super(socket, 0);
    /** Tasks in request order; those before `first` are answered. */
    this.queue = [];
    this.first = 0;
  }

  idle() {
    return this.first === this.queue.length;
  }

  take(bytes, start, end) {
    const task = new Task(this, 0, 0, nowMs + DEADLINE_MS);
    this.queue.push(task);
    if (!this.busy && this.queue.length - this.first >= MAX_OPEN) {
      this.busy = true;
      this.socket.pause();
    }
    const payload = bytes.subarray(start + 4, end);
    if (payload.length < LARGE_BYTES) submit(task, frame(REQUEST, 0, 0, 0, DEADLINE_MS, payload));
    else submit(task, begin(HEADER_BYTES, REQUEST, 0, 0, 0, DEADLINE_MS, payload.length), payload);
  }

  answer(task, bytes, start, end, last) {
    if (readU32(bytes, start + 12) !== 0) {
      this.socket.destroy();
      return;
    }
    if (!last || task.answer !== null) {
      task.answer ??= [];
      task.answer.push(bytes.subarray(start + HEADER_BYTES, end));
      if (last) task.answer = withLength(Buffer.concat(task.answer));
    } else {
      // The status, 4 bytes of 0, stands where the length must.
      writeU32(bytes, start + 12, end - start - HEADER_BYTES);
      task.answer = bytes.subarray(start + 12, end);
    }
    if (last) this.pushAnswered();
  }

  pushAnswered() {
    const { queue } = this;
    while (this.first < queue.length && queue[this.first].done) this.push(queue[this.first++].answer);
    if (this.busy && queue.length - this.first <= MAX_OPEN / 2) {
      this.busy = false;
      this.readOn();
    }
    if (this.first === queue.length) {
      queue.length = this.first = 0;
    } else if (this.first > 1_024) {
      queue.splice(0, this.first);
      this.first = 0;
    }
  }

  fail() {
    this.socket.destroy();
  }

  left() {
    for (const task of this.queue.slice(this.first)) {
      if (task.done) continue;
      cancelAtBackend(task);
      forget(task);
    }
  }
}

function withLength(payload) {
  const bytes = Buffer.allocUnsafe(4 + payload.length);
  writeU32(bytes, 0, payload.length);
  bytes.set(payload, 4);
  return bytes;
}

/** RMP: answers in any order, by id. */
class RmpClient extends Client {
  constructor(socket) {
    super(socket, HEADER_BYTES - 4);
    this.tasks = new Map();
  }

  idle() {
    return this.tasks.size === 0;
  }

  take(bytes, start, end) {
    const kind = bytes[start + 4];
    if (kind === REQUEST) this.request(bytes, start, end);
    else if (kind === CANCEL) this.cancel(readU32(bytes, start + 8));
    else if (kind === PING) {
      bytes[start + 4] = PONG;
      this.push(bytes.subarray(start, end));
    } else if (kind === 0 || (kind > 10 && kind < 128)) this.socket.destroy();
  }

  request(bytes, start, end) {
    const id = readU32(bytes, start + 8);
    if (this.tasks.has(id) || (bytes[start + 5] & NO_REPLY) !== 0) {
      this.socket.destroy();
      return;
    }
    const budgetMs = readU32(bytes, start + 12) || DEADLINE_MS;
    const task = new Task(this, id, (bytes[start + 6] << 8) | bytes[start + 7], nowMs + budgetMs);
    this.tasks.set(id, task);
    if (this.tasks.size > MAX_OPEN) {
      settle(task, RESOURCE_EXHAUSTED, 'too many requests of this client are open');
      return;
    }
    writeU32(bytes, start + 12, budgetMs);
    submit(task, bytes.subarray(start, end));
  }

  cancel(id) {
    const task = this.tasks.get(id);
    if (task === undefined) return;
    cancelAtBackend(task);
    settle(task, CANCELLED, 'cancelled');
  }

  answer(task, bytes, start, end, last) {
    if (last) this.tasks.delete(task.clientId);
    writeU32(bytes, start + 8, task.clientId);
    this.push(bytes.subarray(start, end));
  }

  fail(task, status, sentence) {
    this.tasks.delete(task.clientId);
    this.push(frame(RESPONSE, 0, task.route, task.clientId, status, Buffer.from(sentence)));
  }

  left() {
    for (const task of this.tasks.values()) {
      if (task.done) continue;
      cancelAtBackend(task);
      forget(task);
    }
    this.tasks.clear();
  }
}

// --- start -----------------------------------------------------------------------------------------------------------

const flushLater = values['per-chunk'] ? process.nextTick : setImmediate;
const maxInFlight = Number(values['max-in-flight']);
const pools = new Map();
let linksWanted = 0;
for (const route of values.route) {
  const [number, addresses] = route.split('=');
  linksWanted += addresses.split(',').length;
  pools.set(Number(number), new Pool(addresses.split(',')));
}

const accept = values.protocol === 'rmp' ? (socket) => new RmpClient(socket) : (socket) => new PlainClient(socket);
const server = createServer({ noDelay: true, highWaterMark: CLIENT_HIGH_WATER_BYTES }, accept);
server.maxConnections = Number(values['max-connections']);

/** Listens when every backend was reached once. */
function ready() {
  linksWanted--;
  if (linksWanted !== 0) return;
  server.listen({ port: Number(values.port), host: values.host, backlog: 1024 }, () => {
    const { address, port } = server.address();
    console.log(`listening on ${address}:${port} (node:net gateway)`);
  });
}

setInterval(expire, TIMER_MS);
setInterval(() => {
  for (const pool of pools.values()) for (const link of pool.links) link.ping();
}, PING_MS);
process.on('SIGTERM', () => process.exit(0));
process.on('SIGINT', () => process.exit(0));
