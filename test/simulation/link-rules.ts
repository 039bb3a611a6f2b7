/** What the gateway may say to backends, and what follows from what they say. */
import type { CloseInfo } from '../../src/engine/engine.js';
import { Status } from '../../src/engine/tables.gen.js';
import { limits } from '../../src/limits.js';
import { parseHello } from '../../src/protocol/hello.js';
import { MetaScan } from '../../src/protocol/meta-scan.js';
import { Flag, Kind } from '../../src/protocol/rmp.js';
import { broken } from './broken.js';
import type { Sent } from './connection.js';
import { type Frame, type Ledger, META_BYTES } from './ledger.js';
import { Attempt, type AttemptEnd, type LinkRecord, type TaskRecord } from './records.js';
import { bodyAt, isRequestOf, taskOf } from './wire.js';

const REQUEST_FLAGS = Flag.noReply | Flag.idempotent | Flag.meta;
const FIRST_IGNORABLE_KIND = 128;

const meta = new MetaScan();

export class LinkRules {
  readonly #ledger: Ledger;

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
  }

  opened(link: LinkRecord): void {
    link.openedMs = this.#ledger.clock.nowMs;
    if (!link.link.bulk && !link.backend.links.removed) link.backend.goingAway = false;
  }

  // The gateway to a backend.

  says(link: LinkRecord, frame: Frame, queued: boolean): Sent {
    switch (frame.kind) {
      case Kind.request:
        return this.#request(link, frame, queued);
      case Kind.cancel:
        this.#cancel(link, frame);
        break;
      case Kind.window:
        this.#grant(link, frame);
        break;
      case Kind.pong:
        this.#pong(link, frame);
        break;
      case Kind.goingAway:
        link.saidGoingAway = true;
        break;
      case Kind.hello:
        if (link.said > 0) broken('a hello is the first frame', `link to ${link.backend.name}`);
        break;
      case Kind.ping:
        break;
      default:
        broken('a backend is sent requests and what belongs to them', `a frame of kind ${frame.kind}`);
    }
    link.said++;
    const { kind, flags, route, id, arg } = frame;
    return { kind, flags, route, id, arg, task: -1, bodyBytes: 0 };
  }

  #request(link: LinkRecord, frame: Frame, queued: boolean): Sent {
    const { kind, flags, route, id, arg } = frame;
    const start = bodyAt(flags, frame.bytes, frame.start);
    const number = taskOf(frame.bytes, start, frame.end);
    const task = this.#ledger.task(number);
    if (task === undefined) broken('a request to a backend is one of a client', `payload of no task under id ${id}`);
    this.#isIntact(task, frame, start);
    this.#mayBeSent(task, link, arg);
    this.#usesFreeId(link, id);
    const attempt = new Attempt(task, link, id, queued ? link.connection.bytesQueued : Infinity);
    this.#count(task, attempt);
    link.said++;
    return { kind, flags, route, id, arg, task: number, bodyBytes: frame.end - start };
  }

  #isIntact(task: TaskRecord, frame: Frame, start: number): void {
    const { options } = task;
    const { flags, bytes, end } = frame;
    if (end - start !== options.bodyBytes || !isRequestOf(task.number, bytes, start, end)) {
      broken('a request reaches a backend as the client sent it', `task ${task.number} has another payload`);
    }
    if (flags !== (options.flags & REQUEST_FLAGS) || frame.route !== options.route) {
      broken('a request reaches a backend as the client sent it', `task ${task.number} has flags ${flags}`);
    }
    if ((flags & Flag.meta) === 0) return;
    const scanned = meta.scan(bytes, frame.start, end);
    if (!scanned || meta.hasToken || meta.bodyStart !== start) {
      broken('meta is passed on without the token', `task ${task.number}`);
    }
  }

  #mayBeSent(task: TaskRecord, link: LinkRecord, budgetMs: number): void {
    const { nowMs } = this.#ledger.clock;
    const about = `task ${task.number}`;
    if (task.done || task.settled) broken('a task that is over is not sent', about);
    if (task.tooLate) broken('what comes during a drain is refused', about);
    if (task.live !== undefined) broken('a task is at one backend at a time', about);
    if (task.final) {
      broken(
        'a request is sent again only where the work did not begin or may be done twice',
        `${about} (${task.ended})`,
      );
    }
    if (task.partialsHeard > 0) broken('a request is not sent again after a partial response', about);
    // What waited for a bulk link may have been tried elsewhere, unsent.
    const short = task.options.bodyBytes + META_BYTES <= limits.bulkFrameBytes;
    const said = task.ended === 'refused' || task.ended === 'unavailable';
    if (said && task.backend === link.backend && short) {
      broken('a request that was refused goes to another backend', about);
    }
    const { maxAttempts } = this.#ledger.config.pools[task.pool].retries;
    if (task.attempts >= maxAttempts) broken(`a request is sent at most ${maxAttempts} times`, about);
    const leftMs = Math.max(1, task.deadlineMs - nowMs);
    if (budgetMs < 1 || budgetMs > leftMs + 1) {
      broken('a backend is told what remains of the budget', `${about}: ${budgetMs} ms, but ${leftMs} ms remain`);
    }
    if (link.backend.pool !== task.pool) broken("a task goes to its route's pool", about);
    this.#takesRequests(task, link);
  }

  #takesRequests(task: TaskRecord, link: LinkRecord): void {
    const about = `task ${task.number} on a link to ${link.backend.name}`;
    if (link.closing) broken('a link that is ended gets no requests', about);
    if (link.saidGoingAway) broken('who has said that it goes away sends no requests', about);
    if (task.options.bodyBytes > link.backend.maxRequestBytes) {
      broken('no request is longer than the backend takes', about);
    }
    // What waits for a bulk link goes when it opens, whatever was heard of its backend meanwhile.
    const waited = link.link.bulk && link.openedMs === this.#ledger.clock.nowMs;
    if (waited) return;
    if (link.backend.goingAway) broken('a backend that goes away gets no requests', about);
    if (this.#isEjected(link)) broken('a backend that is ejected gets no requests', about);
    if (link.backend.links.removed) broken('a backend that left its pool gets no requests', about);
  }

  /** While more than half of the pool is out, nobody is held to be ill. */
  #isEjected({ backend }: LinkRecord): boolean {
    const { nowMs } = this.#ledger.clock;
    if (!backend.links.backend.isEjected || backend.links.backend.state(nowMs) !== 'ejected') return false;
    let all = 0;
    let out = 0;
    for (const { pool, links } of this.#ledger.backends.values()) {
      if (pool !== backend.pool || links.removed) continue;
      all++;
      if (links.backend.isEjected || links.backend.connected === 0) out++;
    }
    return out * 2 <= all;
  }

  #usesFreeId(link: LinkRecord, id: number): void {
    const before = link.ids.get(id);
    if (before !== undefined) {
      broken(
        'an id is not used again before its final response or the end of its link',
        `id ${id} of task ${before.task.number}`,
      );
    }
  }

  #count(task: TaskRecord, attempt: Attempt): void {
    const { link } = attempt;
    const ledger = this.#ledger;
    if (task.attempts++ > 0) {
      ledger.resends++;
      ledger.budgets[task.pool].retry(task.endedMs);
    }
    this.#keepsOrder(task);
    task.live = attempt;
    task.backend = link.backend;
    task.answer = undefined;
    task.ended = undefined;
    link.attempts.add(attempt);
    if (task.noReply) return;
    link.ids.set(attempt.id, attempt);
    const { maxInFlight } = ledger.config.pools[task.pool];
    if (++link.backend.unanswered > maxInFlight) {
      broken('a backend has at most maxInFlight requests', `${link.backend.name} has ${link.backend.unanswered}`);
    }
  }

  #keepsOrder(task: TaskRecord): void {
    if (task.group === -1) return;
    const before = this.#ledger.groups.get(task.group);
    this.#ledger.groups.set(task.group, task);
    if (before === undefined || before === task || before.noReply) return;
    if (before.live !== undefined && !before.live.cancelTold && before.live.isReachable) {
      broken('a route with an order has one request in flight per key', `tasks ${before.number} and ${task.number}`);
    }
    if (before.arrival > task.arrival) {
      broken('a route with an order keeps it', `task ${task.number} goes after ${before.number}`);
    }
  }

  #cancel(link: LinkRecord, { id }: Frame): void {
    const attempt = link.ids.get(id);
    if (attempt === undefined) broken('a cancel names a request that may still be answered', `id ${id}`);
    if (attempt.cancelTold) broken('a request is cancelled once', `task ${attempt.task.number}`);
    attempt.cancelTold = true;
    const { task } = attempt;
    task.begun = true;
    task.final = true;
    // The clients of `plain` and `lines` are told when it is their turn.
    if (task.client.protocol !== 'rmp') task.settled = true;
    this.#ledger.touch(task);
  }

  #grant(link: LinkRecord, { id, arg }: Frame): void {
    const attempt = link.ids.get(id);
    if (attempt === undefined || attempt.cancelTold) broken('a window is granted to a request in flight', `id ${id}`);
    if (!link.windows) broken('a window is granted where the backend said hello', `link to ${link.backend.name}`);
    attempt.granted += arg;
    if (arg === 0) broken('a window grants something', `id ${id}`);
    this.#isCovered(attempt);
  }

  /** What a backend may send is what its client takes, and what the gateway has room for. */
  #isCovered({ task, granted, partials, longest }: Attempt): void {
    const { client } = task;
    const total = limits.firstStreamWindow + granted;
    const outstanding = total - partials;
    const about = `task ${task.number}: ${total} after ${partials} partial responses`;
    if (outstanding > limits.streamWindow) broken('no more than a window is granted', about);
    if (client.protocol !== 'rmp') return;
    if (client.window > 0 && total > task.granted) {
      broken('a backend is granted no more than its client grants', `${about}, where ${task.granted} are`);
    }
    const { maxStreamBufferedBytes } = this.#ledger.config.listeners[0];
    if (outstanding > 1 && outstanding * longest * 2 > maxStreamBufferedBytes) {
      broken('what is granted finds room', `${about}, of up to ${longest} bytes`);
    }
  }

  #pong(link: LinkRecord, { id, start, end }: Frame): void {
    const ping = link.pings.shift();
    if (ping?.id !== id || ping.bytes !== end - start) broken('a pong repeats its ping', `id ${id}`);
  }

  // A backend to the gateway.

  hears(link: LinkRecord, frame: Frame): void {
    link.heard++;
    const { backend } = link;
    if (link.heard === 1 && frame.kind !== Kind.hello && link.openedMs > backend.limitOfLinkMs) {
      backend.maxRequestBytes = Infinity;
      backend.limitOfLinkMs = link.openedMs;
    }
    switch (frame.kind) {
      case Kind.response:
        this.#response(link, frame);
        return;
      case Kind.ping:
        link.pings.push({ id: frame.id, bytes: frame.end - frame.start });
        return;
      case Kind.goingAway:
        link.backend.goingAway = true;
        return;
      case Kind.hello:
        this.#hello(link, frame);
        return;
      default:
        if (frame.kind < FIRST_IGNORABLE_KIND && (frame.kind > Kind.window || frame.kind === Kind.request)) {
          link.offended = true;
        }
    }
  }

  #hello(link: LinkRecord, { bytes, start, end }: Frame): void {
    const hello = parseHello(bytes, start, end);
    if (hello === undefined || link.heard > 1) {
      link.offended = true;
      return;
    }
    link.windows = (hello.features & 1) !== 0;
    const { backend } = link;
    if (link.openedMs < backend.limitOfLinkMs) return;
    backend.maxRequestBytes = hello.maxFrameLength > 0 ? hello.maxFrameLength : Infinity;
    backend.limitOfLinkMs = link.openedMs;
  }

  #response(link: LinkRecord, frame: Frame): void {
    const attempt = link.ids.get(frame.id);
    const more = (frame.flags & Flag.more) !== 0;
    if (attempt === undefined) {
      this.#ledger.unknownResponses++;
      return;
    }
    if (attempt.cancelTold) {
      this.#ledger.lateResponses++;
      if (!more) this.#free(attempt);
      return;
    }
    if ((frame.flags & Flag.meta) !== 0 && !meta.scan(frame.bytes, frame.start, frame.end)) {
      link.offended = true;
      return;
    }
    if (more) this.#partial(attempt, frame);
    else this.#final(attempt, frame);
  }

  #partial(attempt: Attempt, { flags, bytes, start, end }: Frame): void {
    const { task } = attempt;
    task.longestHeard = Math.max(task.longestHeard, end - start);
    const length = end - start - ((flags & Flag.meta) === 0 ? 0 : META_BYTES);
    attempt.longest = Math.max(attempt.longest, length);
    attempt.partials++;
    this.#ledger.partials++;
    task.partialsHeard++;
    task.partialBytes += end - bodyAt(flags, bytes, start);
    task.begun = true;
    this.#ledger.touch(task);
  }

  #final(attempt: Attempt, { flags, arg, bytes, start, end }: Frame): void {
    const { task } = attempt;
    this.#free(attempt);
    const refused = arg !== Status.OK && (flags & Flag.notExecuted) !== 0;
    const unavailable = !refused && arg === Status.UNAVAILABLE && task.idempotent;
    this.#end(attempt, refused ? 'refused' : unavailable ? 'unavailable' : 'answered');
    task.longestHeard = Math.max(task.longestHeard, end - start);
    task.answer = { status: arg, flags, bodyBytes: end - bodyAt(flags, bytes, start) };
    if (refused || unavailable) return;
    // The clients of `plain` and `lines` are told when it is their turn.
    if (task.client.protocol !== 'rmp') task.settled = true;
  }

  closed(link: LinkRecord, info: CloseInfo): void {
    for (const attempt of link.attempts) {
      if (!attempt.task.noReply) link.backend.unanswered--;
      if (!attempt.cancelTold) {
        this.#end(attempt, attempt.offset >= info.bytesHandedToKernel ? 'unsent' : 'broken');
      } else if (attempt.task.live === attempt) {
        attempt.task.live = undefined;
      }
    }
    link.attempts.clear();
    link.ids.clear();
  }

  #free(attempt: Attempt): void {
    const { link, task } = attempt;
    link.ids.delete(attempt.id);
    link.attempts.delete(attempt);
    link.backend.unanswered--;
    if (task.live === attempt) task.live = undefined;
  }

  #end({ task }: Attempt, how: AttemptEnd): void {
    task.live = undefined;
    task.ended = how;
    task.endedMs = this.#ledger.clock.nowMs;
    if (how !== 'refused' && how !== 'unsent') {
      task.begun = true;
      if (how === 'answered' || !task.idempotent) task.final = true;
    }
    this.#ledger.touch(task);
  }
}
