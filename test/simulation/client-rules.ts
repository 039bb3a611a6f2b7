/** What the gateway may say to clients: one outcome per request, to who asked, and a true one. */
import { type CloseReason, Status } from '../../src/engine/tables.gen.js';
import { limits } from '../../src/limits.js';
import { Sentence } from '../../src/gateway/sentence.js';
import { Feature, parseHello } from '../../src/protocol/hello.js';
import { MetaScan } from '../../src/protocol/meta-scan.js';
import { Flag, Kind, readU32 } from '../../src/protocol/rmp.js';
import { statusName } from '../../src/protocol/status-error.js';
import { broken } from './broken.js';
import type { Sent } from './connection.js';
import type { Frame, Ledger } from './ledger.js';
import type { ClientRecord, TaskRecord } from './records.js';
import { bodyAt, isAnswerOf, taskOf } from './wire.js';

type Why = keyof typeof Sentence;

const WHYS = new Map<string, Why>(
  Object.entries(Sentence).map(([why, text]) => [Buffer.from(text).toString(), why as Why]),
);
const STATUS_OF: Record<Why, number> = {
  unknownRoute: Status.NOT_FOUND,
  draining: Status.UNAVAILABLE,
  queueFull: Status.RESOURCE_EXHAUSTED,
  deadline: Status.DEADLINE_EXCEEDED,
  neverSent: Status.UNAVAILABLE,
  cancelled: Status.CANCELLED,
  linkBroke: Status.UNAVAILABLE,
  linkBrokeUnsent: Status.UNAVAILABLE,
  clientTooSlow: Status.RESOURCE_EXHAUSTED,
  requestTooLong: Status.INVALID_ARGUMENT,
  responseTooLong: Status.RESOURCE_EXHAUSTED,
  answerTooLong: Status.RESOURCE_EXHAUSTED,
  cut: Status.UNAVAILABLE,
};
const REFUSALS: ReadonlySet<Why> = new Set<Why>(['unknownRoute', 'draining', 'queueFull', 'requestTooLong']);
const KNOWN_KINDS = new Set<number>(Object.values(Kind));
const FIRST_IGNORABLE_KIND = 128;
/** The gateway stops counting somewhere above. */
const MAX_GRANTED = 0x3fff_ffff;
const LF = 0x0a;
const CR = 0x0d;

const meta = new MetaScan();

export class ClientRules {
  readonly #ledger: Ledger;

  constructor(ledger: Ledger) {
    this.#ledger = ledger;
  }

  // A client to the gateway.

  hears(client: ClientRecord, frame: Frame): void {
    client.heard++;
    switch (frame.kind) {
      case Kind.request:
        this.#request(client, frame);
        return;
      case Kind.cancel: {
        const task = client.active.get(frame.id);
        if (task !== undefined) task.cancelAsked = true;
        return;
      }
      case Kind.window:
        this.#window(client, frame);
        return;
      case Kind.ping:
        client.pings.push(frame.id);
        return;
      case Kind.hello:
        if (client.heard > 1) client.offended = true;
        else this.#hello(client, frame);
        return;
      default:
        if (!KNOWN_KINDS.has(frame.kind) && frame.kind < FIRST_IGNORABLE_KIND) client.offended = true;
    }
  }

  #hello(client: ClientRecord, { bytes, start, end }: Frame): void {
    const { maxFrameLength, features, streamWindow } = parseHello(bytes, start, end)!;
    if (maxFrameLength > 0) client.maxBytes = maxFrameLength;
    if ((features & Feature.streamWindows) !== 0) client.window = streamWindow;
  }

  #window(client: ClientRecord, { id, arg }: Frame): void {
    const task = client.active.get(id);
    if (task === undefined || client.window === 0) return;
    task.granted = Math.min(MAX_GRANTED, task.granted + arg);
    this.#ledger.touch(task);
  }

  #request(client: ClientRecord, frame: Frame): void {
    if (client.active.has(frame.id)) {
      client.offended = true;
      return;
    }
    if ((frame.flags & Flag.meta) !== 0 && !meta.scan(frame.bytes, frame.start, frame.end)) {
      client.offended = true;
      return;
    }
    const task = this.#ledger.task(taskOf(frame.bytes, bodyAt(frame.flags, frame.bytes, frame.start), frame.end))!;
    this.#receive(task);
    if (task.noReply) return;
    task.granted = client.window;
    client.active.set(frame.id, task);
    this.#ledger.open.add(task);
  }

  hearsPlain(client: ClientRecord, bytes: Uint8Array): void {
    client.heard++;
    const task = this.#ledger.task(taskOf(bytes, 0, bytes.length))!;
    this.#receive(task);
    client.row.push(task);
  }

  #receive(task: TaskRecord): void {
    const ledger = this.#ledger;
    const { options } = task;
    const { nowMs } = ledger.clock;
    task.arrival = ++ledger.received;
    task.receivedMs = nowMs;
    task.tooLate = ledger.draining;
    const route = ledger.routes[options.route];
    task.deadlineMs = Infinity;
    if (route === undefined) return;
    task.pool = route.pool;
    const config = ledger.config.pools[route.pool];
    task.deadlineMs = nowMs + (options.budgetMs === 0 ? config.deadlineMs : options.budgetMs);
    if (route.orderBy !== 'none') {
      const byKey = route.orderBy === 'key' && options.key !== -1;
      task.group = options.route * 1_000_000 + (byKey ? options.key : 1_000 + task.client.number);
    }
    if (!ledger.draining) ledger.budgets[route.pool].request(nowMs);
  }

  // The gateway to a client.

  says(client: ClientRecord, frame: Frame): Sent {
    const { kind, flags, route, id, arg } = frame;
    let task = -1;
    if (frame.end - frame.start > client.maxBytes) {
      broken('no frame is longer than the client takes', `client ${client.number}: ${frame.end - frame.start} bytes`);
    }
    if (kind === Kind.hello) this.#answersHello(client, frame);
    else if (kind === Kind.response) task = this.#response(client, frame).number;
    else if (kind === Kind.pong) this.#pong(client, id);
    else if (kind !== Kind.goingAway) {
      broken('a client is sent responses', `a frame of kind ${kind}`);
    }
    if (kind === Kind.hello && client.said > 0) broken('a hello is the first frame', `client ${client.number}`);
    client.said++;
    return { kind, flags, route, id, arg, task, bodyBytes: 0 };
  }

  #answersHello(client: ClientRecord, { bytes, start, end }: Frame): void {
    const windows = (parseHello(bytes, start, end)!.features & Feature.streamWindows) !== 0;
    if (windows !== client.window > 0)
      broken('stream windows are offered to who offers them', `client ${client.number}`);
  }

  #pong(client: ClientRecord, id: number): void {
    if (client.pings.shift() !== id) broken('a pong repeats its ping', `id ${id}`);
  }

  #response(client: ClientRecord, frame: Frame): TaskRecord {
    const { flags, id, arg, bytes, end } = frame;
    const task = client.active.get(id);
    if (task === undefined) {
      broken(
        'a request is answered once, and to who asked',
        `client ${client.number} waits for no answer under id ${id}`,
      );
    }
    if (frame.route !== task.options.route) broken("an answer carries its request's route", `task ${task.number}`);
    const start = bodyAt(flags, bytes, frame.start);
    if ((flags & Flag.meta) !== 0 && (!meta.scan(bytes, frame.start, end) || meta.hasToken)) {
      broken('meta is passed on without the token', `task ${task.number}`);
    }
    if ((flags & Flag.more) !== 0) {
      if (client.window > 0 && task.partialsSaid >= task.granted) {
        broken('a client with stream windows gets no more than it granted', `task ${task.number}: ${task.granted}`);
      }
      task.partialsSaid++;
      this.#isBackendsAnswer(client, task, bytes, start, end);
      return task;
    }
    if (taskOf(bytes, start, end) === -1) this.#isOwnAnswer(task, arg, flags, text(bytes, start, end));
    else this.#isFinal(client, task, arg, flags, bytes, start, end);
    client.active.delete(id);
    this.#ledger.done(task);
    return task;
  }

  #isBackendsAnswer(client: ClientRecord, task: TaskRecord, bytes: Uint8Array, start: number, end: number): void {
    if (isAnswerOf(task.number, bytes, start, end)) return;
    const whose = taskOf(bytes, start, end);
    broken(
      'an answer is the one to this request',
      `client ${client.number} gets for task ${task.number} what belongs to task ${whose}: ${text(bytes, start, end)}`,
    );
  }

  #isFinal(
    client: ClientRecord,
    task: TaskRecord,
    status: number,
    flags: number,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): void {
    this.#isBackendsAnswer(client, task, bytes, start, end);
    const { answer } = task;
    if (answer === undefined) broken('no answer but that of a backend which is waited for', `task ${task.number}`);
    // Of an error's sentence the client is told what it takes.
    const bodyBytes = status === Status.OK ? answer.bodyBytes : Math.min(answer.bodyBytes, client.maxBytes);
    if (answer.status !== status || bodyBytes !== end - start) {
      broken('an answer is the one to this request', `task ${task.number}: status ${status}, ${end - start} bytes`);
    }
    if (status !== Status.OK) this.#isTrulyNotExecuted(task, flags);
    else if (task.partialsSaid !== task.partialsHeard) {
      broken('an answer comes behind its partial responses', `task ${task.number}`);
    }
    this.#countAnswer(status);
  }

  #countAnswer(status: number): void {
    if (status === Status.OK) this.#ledger.outcomes.answered++;
    else this.#ledger.outcomes.failed++;
  }

  #isTrulyNotExecuted(task: TaskRecord, flags: number): void {
    if ((flags & Flag.notExecuted) === 0) return;
    if (task.begun || task.live !== undefined) {
      broken('not-executed is said only where no backend can have begun', `task ${task.number}`);
    }
  }

  /** The gateway ends a request by itself: with a reason, and the reason holds. */
  #isOwnAnswer(task: TaskRecord, status: number, flags: number, sentence: string): void {
    const why = WHYS.get(sentence);
    if (why === undefined || STATUS_OF[why] !== status) {
      broken('an error has its status and its sentence', `status ${status}, ${JSON.stringify(sentence)}`);
    }
    this.#isTrue(task, why);
    if (why === 'cut' && task.attempts === 0 && (flags & Flag.notExecuted) === 0) {
      broken('what is cut and was never sent is not-executed', `task ${task.number}`);
    }
    this.#isTrulyNotExecuted(task, flags);
    const { outcomes } = this.#ledger;
    if (REFUSALS.has(why)) outcomes.refused++;
    else if (why === 'cancelled') outcomes.cancelled++;
    else if (why === 'deadline' || why === 'neverSent') outcomes.timedOut++;
    else outcomes.failed++;
  }

  #isTrue(task: TaskRecord, why: Why): void {
    const ledger = this.#ledger;
    const { nowMs } = ledger.clock;
    const holds: Record<Why, () => boolean> = {
      unknownRoute: () => task.pool === -1,
      draining: () => ledger.draining,
      queueFull: () => ledger.isFull(task.client.connection, task.options.bodyBytes),
      deadline: () => nowMs >= task.deadlineMs && task.attempts > 0,
      neverSent: () => nowMs >= task.deadlineMs && !task.begun,
      cancelled: () => task.cancelAsked,
      linkBroke: () => task.ended === 'broken',
      linkBrokeUnsent: () => task.live === undefined,
      clientTooSlow: () => task.partialsHeard > task.partialsSaid,
      requestTooLong: () => ledger.isTooLong(task),
      responseTooLong: () => task.longestHeard > task.client.maxBytes,
      answerTooLong: () => task.client.protocol !== 'rmp' && task.partialsHeard > 0,
      cut: () => ledger.draining && nowMs >= ledger.cutFromMs,
    };
    if (!holds[why]()) broken('an error has a reason that holds', `task ${task.number} was ended: ${why}`);
    if (why === 'clientTooSlow' || why === 'responseTooLong') task.partialsSaid = task.partialsHeard;
    if (why === 'cut') ledger.cut++;
  }

  saysPlain(
    client: ClientRecord,
    header: Uint8Array,
    headerLength: number,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): Sent | undefined {
    const { line } = client;
    if (line !== undefined) {
      // The second part of a line.
      if (headerLength !== 1 || header[0] !== LF || end !== start) broken('a line ends with LF', `task ${line.number}`);
      client.line = undefined;
      return { kind: 0, flags: 0, route: 0, id: 0, arg: 0, task: line.number, bodyBytes: 0 };
    }
    const task = client.row.shift();
    if (task === undefined)
      broken('a request is answered once, and to who asked', `client ${client.number} waits for none`);
    this.#isInTurn(client, task, bytes, start, end);
    task.settled = true;
    this.#ledger.done(task);
    if (client.protocol === 'lines') {
      for (let i = start; i < end; i++) {
        if (bytes[i] === LF || bytes[i] === CR) broken('an answer is one line', `task ${task.number}`);
      }
      client.line = task;
      return undefined;
    }
    if (readU32(header, 0) !== end - start) broken('an answer has its length before it', `task ${task.number}`);
    return { kind: 0, flags: 0, route: 0, id: 0, arg: 0, task: task.number, bodyBytes: end - start };
  }

  #isInTurn(client: ClientRecord, task: TaskRecord, bytes: Uint8Array, start: number, end: number): void {
    const { answer } = task;
    const isError = client.protocol === 'lines' && text(bytes, start, start + 4) === 'ERR ';
    if (isError) {
      this.#isErrorLine(task, text(bytes, start, end));
      return;
    }
    if (taskOf(bytes, start, end) !== task.number) {
      const whose = taskOf(bytes, start, end);
      broken(
        'answers come in the order of their requests',
        `client ${client.number} gets for task ${task.number} what belongs to task ${whose}`,
      );
    }
    if (task.partialsHeard === 0) this.#isBackendsAnswer(client, task, bytes, start, end);
    if (answer?.status !== Status.OK || end - start !== task.partialBytes + answer.bodyBytes) {
      broken('an answer is the one to this request', `task ${task.number}: ${end - start} bytes`);
    }
    if (task.partialsHeard > 0 && end - start > limits.maxConcatenatedBytes) {
      broken('an answer put together is no longer than one may be', `task ${task.number}: ${end - start} bytes`);
    }
    this.#ledger.outcomes.answered++;
  }

  /** `ERR STATUS sentence`. The sentence is a backend's own, or the gateway's. */
  #isErrorLine(task: TaskRecord, line: string): void {
    const at = line.indexOf(' ', 4);
    const [name, sentence] = [line.slice(4, at), line.slice(at + 1)];
    const why = WHYS.get(sentence);
    const { answer } = task;
    if (why === undefined) {
      if (answer === undefined || statusName(answer.status) !== name) {
        broken('an answer is the one to this request', `task ${task.number}: ${line}`);
      }
      this.#countAnswer(answer.status);
      return;
    }
    if (statusName(STATUS_OF[why]) !== name) broken('an error has its status and its sentence', line);
    if (why === 'cut') this.#ledger.cut++;
  }

  closing(client: ClientRecord, reason: CloseReason): void {
    const { draining } = this.#ledger;
    const ordered = client.protocol !== 'rmp';
    const allowed =
      client.offended ||
      client.ended ||
      draining ||
      client.gone ||
      (ordered && (reason === 'response-buffer-full' || (client.protocol === 'plain' && reason === 'request-failed')));
    if (!allowed) broken('no client is closed that did nothing wrong', `client ${client.number}: ${reason}`);
    if (ordered && client.ended && reason === 'peer-closed' && client.row.length > 0) {
      broken('after FIN what is open is answered', `client ${client.number} waits for ${client.row.length} answers`);
    }
    this.#ledger.gone(client);
  }
}

function text(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.from(bytes.subarray(start, end)).toString('latin1');
}
