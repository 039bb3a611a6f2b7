/**
 * What must hold inside the gateway whenever it is at rest: each task in exactly one place, every counter the sum of what it
 * counts, every bound kept. Looks into the objects the gateway hands to the engine; checks them against each other, and against
 * the ledger, which counted from outside.
 */
import { limits } from '../../src/limits.js';
import { NO_PLACE } from '../../src/gateway/places.js';
import type { Relay } from '../../src/gateway/relay.js';
import type { GatewayReport } from '../../src/gateway/report.js';
import type { Session } from '../../src/gateway/session.js';
import { Mark, Rare, SLOT_SHIFT, TaskState, Time, Word } from '../../src/gateway/task-table.js';
import { Flag } from '../../src/protocol/rmp.js';
import { broken } from './broken.js';
import type { Clock } from './clock.js';
import { nameOf, type Ledger } from './ledger.js';
import type { BackendRecord, LinkRecord } from './records.js';

/** What is held for an answer that waits for its turn counts as so much more (ordered-session.ts). */
const HELD_OVERHEAD_BYTES = 64;

/** Counts of one owner or link, by its place in the task table. */
class Counts {
  #values = new Int32Array(64);

  clear(): void {
    this.#values.fill(0);
  }

  add(place: number, count: number): void {
    if (place >= this.#values.length) {
      const wider = new Int32Array(place * 2);
      wider.set(this.#values);
      this.#values = wider;
    }
    this.#values[place] += count;
  }

  of(place: number): number {
    return place < 0 || place >= this.#values.length ? 0 : this.#values[place];
  }
}

export class Invariants {
  readonly #relay: Relay;
  readonly #ledger: Ledger;
  readonly #clock: Clock;
  /** Tasks not released, and of them those that wait, by owner. */
  readonly #owned = new Counts();
  readonly #waiting = new Counts();
  readonly #heldBytes = new Counts();
  /** Tasks by link: all, no-reply ones, and those that wait for it to open. */
  readonly #carried = new Counts();
  readonly #noReplies = new Counts();
  readonly #unopened = new Counts();
  readonly #slabs = new Set<number>();
  /** Pools for which a task waits that could go over any link. */
  readonly #waitingPools = new Set<number>();
  #queued = 0;
  #queuedBytes = 0;
  #open = 0;
  #used = 0;
  #indexed = 0;
  #streams = 0;
  #reservedBytes = 0;

  constructor(relay: Relay, ledger: Ledger, clock: Clock) {
    this.#relay = relay;
    this.#ledger = ledger;
    this.#clock = clock;
  }

  /** @throws Broken */
  check(): void {
    this.#ledger.settle();
    this.#ledger.checkDeadlines(this.#clock.lastTickMs - limits.tickMs);
    this.#count();
    this.#checkTotals();
    this.#checkClients();
    this.#checkLinks();
    this.#checkWaiting();
  }

  /** What operators are told is what there is. */
  checkReport(report: GatewayReport): void {
    const outcomes = Object.values(report.outcomes).reduce((sum, count) => sum + count, 0);
    equal('the report adds up', report.received, outcomes + report.open);
    equal('the report says what waits', report.queued, this.#queued);
    const clients = report.clients.reduce((sum, { connections }) => sum + connections, 0);
    equal('the report counts the clients', clients, this.#ledger.clients.size);
    let inFlight = 0;
    for (const { unanswered } of this.#ledger.backends.values()) inFlight += unanswered;
    const reported = report.backends.reduce((sum, backend) => sum + backend.inFlight, 0);
    // The ledger has not seen what waits for a link to open.
    if (reported < inFlight) broken('the report says what is in flight', `${reported}, where there are ${inFlight}`);
  }

  #count(): void {
    const { table } = this.#relay;
    for (const counts of [
      this.#owned,
      this.#waiting,
      this.#heldBytes,
      this.#carried,
      this.#noReplies,
      this.#unopened,
    ]) {
      counts.clear();
    }
    this.#slabs.clear();
    this.#waitingPools.clear();
    this.#queued = this.#queuedBytes = this.#open = this.#used = this.#indexed = 0;
    this.#streams = this.#reservedBytes = 0;
    const end = table.capacity << SLOT_SHIFT;
    for (let slot = 0; slot < end; slot += 1 << SLOT_SHIFT) {
      if (table.words[slot + Word.state] !== TaskState.free) this.#countTask(slot);
    }
  }

  #countTask(slot: number): void {
    const { table } = this.#relay;
    const { words } = table;
    const owner = words[slot + Word.owner];
    this.#used++;
    if (owner !== NO_PLACE) this.#owned.add(owner, 1);
    if (words[slot + Word.kept] !== NO_PLACE) this.#slabs.add(words[slot + Word.kept]);
    switch (words[slot + Word.state]) {
      case TaskState.queued:
        this.#countQueued(slot, owner);
        break;
      case TaskState.sent:
        this.#countSent(slot);
        break;
      case TaskState.held:
        this.#countHeld(slot);
        break;
      case TaskState.done:
        this.#countDone(slot, owner);
        break;
      default:
        broken('a task waits, is sent or is over', `slot ${slot} is in state ${words[slot + Word.state]}`);
    }
    if ((words[slot + Word.flags] & Mark.partialSent) !== 0) this.#countStream(slot);
    if ((words[slot + Word.flags] & Mark.indexed) !== 0) this.#countIndexed(slot, owner);
    const grouped = table.order[slot >> SLOT_SHIFT] !== undefined;
    const ordered = (words[slot + Word.flags] & Mark.ordered) !== 0;
    if (grouped !== (ordered && words[slot + Word.state] !== TaskState.done)) {
      broken('a task of a route with an order has its place in it until it is over', `slot ${slot}`);
    }
  }

  #countStream(slot: number): void {
    const { table } = this.#relay;
    this.#streams++;
    this.#reservedBytes += Math.max(0, table.rare(slot, Rare.outstanding)) * table.rare(slot, Rare.longest);
  }

  #countQueued(slot: number, owner: number): void {
    const { table } = this.#relay;
    this.#queued++;
    if (owner !== NO_PLACE) this.#waiting.add(owner, 1);
    if (table.queue[slot >> SLOT_SHIFT] === undefined) broken('a task that waits is in a queue', `slot ${slot}`);
    const bytes = table.keptLength(slot);
    this.#queuedBytes += bytes;
    const group = table.order[slot >> SLOT_SHIFT] as { readonly waiting: unknown; readonly holder: number } | undefined;
    const inTurn = table.queue[slot >> SLOT_SHIFT] !== group?.waiting;
    if (!inTurn && table.order[group!.holder >> SLOT_SHIFT] !== group) {
      broken('a task waits for its turn behind one that is open', `slot ${slot}`);
    }
    if (inTurn && bytes <= limits.bulkFrameBytes) {
      this.#waitingPools.add(this.#ledger.routes[table.routeOf(slot)]!.pool);
    }
    if (table.words[slot + Word.kept] === NO_PLACE) broken('a task that waits has its payload', `slot ${slot}`);
    if (table.words[slot + Word.carrier] !== NO_PLACE)
      broken('a task is in one place', `slot ${slot} waits and is sent`);
    this.#countOpen(slot);
  }

  #countSent(slot: number): void {
    const { table } = this.#relay;
    const carrier = table.words[slot + Word.carrier];
    if (carrier === NO_PLACE) broken('a task that is sent is on a link', `slot ${slot}`);
    if (table.queue[slot >> SLOT_SHIFT] !== undefined)
      broken('a task is in one place', `slot ${slot} waits and is sent`);
    this.#carried.add(carrier, 1);
    if ((table.words[slot + Word.flags] & Flag.noReply) !== 0) this.#noReplies.add(carrier, 1);
    if (table.sentOffset(slot) === Infinity) this.#unopened.add(carrier, 1);
    this.#countOpen(slot);
  }

  /** Its backend has answered, its client has not granted all that came before. */
  #countHeld(slot: number): void {
    const { table } = this.#relay;
    if (table.queue[slot >> SLOT_SHIFT] !== undefined || table.words[slot + Word.carrier] !== NO_PLACE) {
      broken('a task whose answer is held is nowhere else', `slot ${slot}`);
    }
    if (table.rare(slot, Rare.credit) > 0) broken('what is granted is sent', `slot ${slot}`);
    this.#countOpen(slot);
  }

  #countOpen(slot: number): void {
    this.#open++;
    const deadlineMs = this.#relay.table.time(slot, Time.deadline);
    if (deadlineMs <= this.#clock.lastTickMs - limits.tickMs) {
      broken('a task ends at its deadline', `slot ${slot} was due at ${deadlineMs}`);
    }
  }

  /** Only who answers in order keeps a task that is over. */
  #countDone(slot: number, owner: number): void {
    const { table } = this.#relay;
    if (owner === NO_PLACE || table.ownerOf(slot)!.refusesWhenFull) {
      broken('the slot of a task that is over is free', `slot ${slot}`);
    }
    if (table.queue[slot >> SLOT_SHIFT] !== undefined || table.words[slot + Word.carrier] !== NO_PLACE) {
      broken('a task that is over is nowhere', `slot ${slot}`);
    }
    const bytes = table.keptLength(slot);
    this.#heldBytes.add(owner, bytes + HELD_OVERHEAD_BYTES);
  }

  #countIndexed(slot: number, owner: number): void {
    const { table, inFlight } = this.#relay;
    this.#indexed++;
    if (inFlight.find(owner, table.words[slot + Word.clientId]) !== slot) {
      broken('a request in flight is found by its id', `slot ${slot}`);
    }
  }

  #checkTotals(): void {
    const relay = this.#relay;
    const { table, tracker, inFlight } = relay;
    const { received, unknownResponses, lateResponses, partials, resends } = this.#ledger;
    let streams = 0;
    let reserved = 0;
    for (const { connection } of this.#ledger.clients) {
      streams += (connection.context as Session).streams;
      reserved += (connection.context as Session).reservedBytes;
    }
    equal('what streams are granted is counted', reserved, this.#reservedBytes);
    equal('streams are counted', streams, this.#streams);
    equal('slots in use are those of tasks', table.size, this.#used);
    equal('open tasks are those that wait or are sent', tracker.open, this.#open);
    equal('a deadline is armed for each open task, and for no other', relay.deadlines, this.#open);
    equal('waiting tasks are counted', relay.queued, this.#queued);
    equal('bytes of waiting tasks are counted', relay.queuedBytes, this.#queuedBytes);
    equal('requests in flight are indexed', inFlight.size, this.#indexed);
    equal('kept bytes belong to tasks', table.kept.size, this.#slabs.size);
    equal('every request is received once', tracker.received, received);
    let outcomes = 0;
    for (const count of tracker.outcomes) outcomes += count;
    equal('a task has one outcome or is open', tracker.received, outcomes + tracker.open);
    equal('unknown responses are counted', relay.counters.unknownResponses, unknownResponses);
    equal('late responses are counted', relay.counters.lateResponses, lateResponses);
    equal('partial responses are counted', relay.counters.partials, partials);
    if (relay.counters.retries < resends) broken('retries are counted', `${relay.counters.retries} of ${resends}`);
  }

  #checkClients(): void {
    const { table } = this.#relay;
    let surplus = 0;
    let owners = 0;
    for (const client of this.#ledger.clients) {
      const session = client.connection.context as Session;
      const name = nameOf(client.connection);
      if (session.place !== NO_PLACE) owners++;
      equal(`the tasks of ${name} are counted`, session.openTasks, this.#owned.of(session.place));
      equal(`the waiting tasks of ${name} are counted`, session.queuedTasks, this.#waiting.of(session.place));
      const over = this.#checkBounds(session, client.connection.paused, client.connection.deliveredWhilePaused, name);
      surplus += over;
      const wanted = client.protocol === 'rmp' ? client.active.size : client.row.length;
      if (client.gone ? session.openTasks > 0 : session.openTasks < wanted) {
        broken('a task is open until its client is answered', `${name} has ${session.openTasks}, ${wanted} wait`);
      }
    }
    equal('owners are clients', table.owners.size, owners);
    const { maxQueuedTotal } = this.#ledger.config;
    if (this.#queued > maxQueuedTotal + surplus) {
      broken(`no more than ${maxQueuedTotal} tasks wait`, `${this.#queued}, of them ${surplus} had been read already`);
    }
  }

  /** Answers with how many tasks beyond its bound a client may have waiting: they had been read before reading stopped. */
  #checkBounds(session: Session, paused: boolean, deliveredWhilePaused: number, name: string): number {
    // The one for which there was no room stopped the reading.
    const surplus = session.refusesWhenFull ? 0 : 1 + (paused ? deliveredWhilePaused : 0);
    if (session.queuedTasks > session.maxQueuedTasks + surplus) {
      broken(`no more than ${session.maxQueuedTasks} tasks of a client wait`, `${name} has ${session.queuedTasks}`);
    }
    if (session.refusesWhenFull) return 0;
    if (session.openTasks > limits.maxPipelined + surplus) {
      broken(`no more than ${limits.maxPipelined} requests are read ahead`, `${name} has ${session.openTasks}`);
    }
    const held = this.#heldBytes.of(session.place);
    if (held > limits.maxHeldBytes) broken('answers that wait for their turn are bounded', `${name} has ${held} bytes`);
    return surplus;
  }

  #checkLinks(): void {
    for (const record of this.#ledger.links) this.#checkLink(record);
    equal('links have their places', this.#relay.table.carriers.size, this.#ledger.links.size);
    for (const backend of this.#ledger.backends.values()) this.#checkBackend(backend);
  }

  /** A backend that has just got room was given what waited. */
  #checkWaiting(): void {
    if (this.#waitingPools.size === 0) return;
    for (const { links, pool } of this.#ledger.backends.values()) {
      if (!this.#waitingPools.has(pool) || links.removed) continue;
      const { backend } = links;
      // One that was ejected becomes available as time goes by, which is noticed with the next tick.
      if (backend.isEjected || !backend.available(this.#clock.nowMs)) continue;
      const idle = links.links.find((link) => link.usable && !link.bulk);
      if (idle !== undefined) broken('no task waits while a backend takes tasks', `${backend.name} has room`);
    }
  }

  #checkLink({ connection, link, ids }: LinkRecord): void {
    const noReplies = this.#noReplies.of(link.place);
    const unopened = this.#unopened.of(link.place);
    if (link.live !== this.#carried.of(link.place)) {
      equal(`the tasks on ${nameOf(connection)} are counted`, link.live, this.#carried.of(link.place));
    }
    if (link.isOpen && link.inFlight - noReplies !== ids.size) {
      equal(`each unanswered request on ${nameOf(connection)} has an id`, link.inFlight - noReplies, ids.size);
    }
    if (unopened > 0 && link.wasOpen) broken('a link that opens sends what waits for it', nameOf(connection));
  }

  #checkBackend(record: BackendRecord): void {
    const { backend } = record.links;
    let inFlight = 0;
    let connected = 0;
    let carrying = 0;
    for (const link of record.links.links) {
      inFlight += link.inFlight - this.#noReplies.of(link.place);
      if (link.bulk) continue;
      if (link.wasOpen) connected++;
      if (!link.retiring) carrying++;
    }
    if (backend.outstanding !== inFlight) {
      equal(`what ${backend.name} has in flight is what its links have`, backend.outstanding, inFlight);
    }
    if (backend.connected !== connected) equal(`links of ${backend.name} are counted`, backend.connected, connected);
    const { maxInFlight, links: bounds } = this.#ledger.config.pools[record.pool];
    if (inFlight > maxInFlight)
      broken(`no backend has more than ${maxInFlight} in flight`, `${backend.name} has ${inFlight}`);
    if (carrying > bounds.max)
      broken(`no backend has more than ${bounds.max} links`, `${backend.name} has ${carrying}`);
  }
}

function equal(rule: string, found: number, expected: number): void {
  if (found !== expected) broken(rule, `${found}, where ${expected} are expected`);
}
