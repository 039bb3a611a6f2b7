/**
 * A client that speaks `plain` or `lines`: answered in the order of its requests, with no room for a status. An answer that comes
 * before its turn is kept in the task's own slot. FIN means: answer what is open, then close.
 */
import { limits } from '../limits.js';
import { asOneLine, hasLineBreak } from '../protocol/lines.js';
import { bodyStart } from '../protocol/meta-scan.js';
import { PLAIN_HEADER_BYTES } from '../protocol/plain.js';
import { statusName } from '../protocol/status-error.js';
import { Flag, writeU32 } from '../protocol/rmp.js';
import { Sentence } from './sentence.js';
import { NO_LIMIT, Pause, Session } from './session.js';
import { Rare, Side, TaskState, Word } from './task-table.js';

const scratch = new Uint8Array(PLAIN_HEADER_BYTES);
const NO_BYTES = new Uint8Array(0);
const LF = Uint8Array.of(0x0a);
/** A held answer is counted as no less: a million empty ones would hold memory too. */
const HELD_OVERHEAD_BYTES = 64;
/** What a partial response costs beside its bytes: it is an array of its own. */
const PART_OVERHEAD_BYTES = 128;

/** The partial responses of one task. */
interface Parts {
  readonly list: Uint8Array[];
  bytes: number;
}

export class OrderedSession extends Session {
  #heldBytes = 0;
  /** Partial responses of tasks without a final one. */
  #parts: Map<number, Parts> | undefined;
  #partsBytes = 0;
  /** No more requests come: closes after the last answer. */
  #ended: 'peer-closed' | 'going-away' | undefined;

  get refusesWhenFull(): boolean {
    return false;
  }

  /** They are gathered here, however the client reads. */
  override get streamBytes(): number {
    return limits.maxConcatenatedBytes / 2;
  }

  override takes(_slot: number): number {
    return limits.streamWindow;
  }

  frame(bytes: Uint8Array, start: number, end: number): void {
    if (this.left) return;
    const { relay, config } = this.context;
    const slot = relay.receive(this, 0, config.route, 0, this.key);
    if (this.openTasks >= limits.maxPipelined) this.pause(Pause.pipelined);
    relay.submit(slot, 0, bytes, start, end, false);
  }

  answer(slot: number, status: number, flags: number, bytes: Uint8Array, start: number, end: number): void {
    if ((flags & Flag.meta) !== 0) start = bodyStart(bytes, start);
    if (status !== 0) {
      this.#failed(slot, status, bytes.subarray(start, end));
      return;
    }
    const parts = this.#takeParts(slot);
    const { relay } = this.context;
    if (parts !== undefined) {
      bytes = Buffer.concat([...parts, bytes.subarray(start, end)]);
      start = 0;
      end = bytes.length;
    }
    if (slot === this.firstTask) {
      this.#deliver(slot, bytes, start, end);
      return;
    }
    relay.table.setRare(slot, Rare.status, 0);
    if (parts === undefined) relay.keepAnswer(slot, bytes, start, end);
    else relay.own(slot, bytes);
    this.#hold(end - start);
  }

  partial(slot: number, flags: number, bytes: Uint8Array, start: number, end: number): Uint8Array | undefined {
    if ((flags & Flag.meta) !== 0) start = bodyStart(bytes, start);
    this.#parts ??= new Map();
    const parts = this.#parts.get(slot) ?? { list: [], bytes: 0 };
    const length = end - start;
    const held = this.#partsBytes + length + PART_OVERHEAD_BYTES;
    if (parts.bytes + length > limits.maxConcatenatedBytes || held > limits.maxHeldBytes) return Sentence.answerTooLong;
    parts.list.push(new Uint8Array(bytes.subarray(start, end)));
    parts.bytes += length;
    this.#parts.set(slot, parts);
    this.#partsBytes = held;
    this.answerBytes = -1;
    return undefined;
  }

  /** The parts together with the last one. */
  refusal(slot: number, flags: number, bytes: Uint8Array, start: number, end: number): Uint8Array | undefined {
    if ((flags & Flag.meta) !== 0) start = bodyStart(bytes, start);
    const parts = this.#parts?.get(slot);
    return parts !== undefined && parts.bytes + end - start > limits.maxConcatenatedBytes
      ? Sentence.answerTooLong
      : undefined;
  }

  fail(slot: number, status: number, _flags: number, sentence: Uint8Array): void {
    this.#takeParts(slot);
    this.#failed(slot, status, sentence);
  }

  override queueFull(): void {
    this.pause(Pause.queueFull);
  }

  end(): void {
    this.#closeAfterLast('peer-closed');
  }

  /** There are no words for it: what is open is answered, then the connection closes. */
  sayGoingAway(): void {
    this.#closeAfterLast('going-away');
  }

  #failed(slot: number, status: number, sentence: Uint8Array): void {
    this.#takeParts(slot);
    const { relay, config } = this.context;
    const text =
      config.errorReply === 'text'
        ? Buffer.concat([Buffer.from(`ERR ${statusName(status)} `), sentence])
        : Buffer.from(sentence);
    relay.own(slot, text);
    relay.table.setRare(slot, Rare.status, status);
    this.#hold(text.length);
    this.#deliverHeld();
  }

  #hold(length: number): void {
    this.#heldBytes += length + HELD_OVERHEAD_BYTES;
    const allHold = this.context.relay.table.kept.bytes;
    if (this.#heldBytes > limits.maxHeldBytes || allHold > limits.maxKeptBytes) {
      this.dismiss('response-buffer-full', `answers of ${this.#heldBytes} bytes wait for their turn`);
    }
  }

  /** The first task's answer, and then those that waited behind it. */
  #deliver(slot: number, bytes: Uint8Array, start: number, end: number): void {
    this.context.relay.release(slot);
    this.#write(bytes, start, end);
    this.#deliverHeld();
  }

  #deliverHeld(): void {
    const { relay, config } = this.context;
    const { table } = relay;
    while (!this.left && this.firstTask !== -1 && table.words[this.firstTask + Word.state] === TaskState.done) {
      const slot = this.firstTask;
      const bytes = table.bytesOf(slot)!;
      const start = table.side(slot, Side.keptStart);
      const end = table.side(slot, Side.keptEnd);
      const status = table.rare(slot, Rare.status);
      this.#heldBytes -= end - start + HELD_OVERHEAD_BYTES;
      relay.release(slot);
      if (status !== 0 && config.errorReply === 'close') {
        this.#closeFailed(status, bytes);
        return;
      }
      this.#write(bytes, start, end);
    }
    this.#afterDelivery();
  }

  #afterDelivery(): void {
    if (this.openTasks * 2 <= limits.maxPipelined) this.resume(Pause.pipelined);
    if (this.#ended !== undefined && this.openTasks === 0 && !this.left) this.dismiss(this.#ended);
  }

  #closeAfterLast(reason: 'peer-closed' | 'going-away'): void {
    this.#ended ??= reason;
    this.#afterDelivery();
  }

  #closeFailed(status: number, sentence: Uint8Array): void {
    const { counters, config, log } = this.context;
    const message = `${statusName(status)} ${Buffer.from(sentence).toString()}`;
    counters.failuresClosed++;
    log('warn', 'client.request-failed', {
      listener: config.name,
      client: this.connection.remoteAddress,
      status: statusName(status),
      message,
    });
    this.dismiss('request-failed', message);
  }

  #write(bytes: Uint8Array, start: number, end: number): void {
    const taken =
      this.context.config.protocol === 'plain'
        ? this.#writePlain(bytes, start, end)
        : this.#writeLine(bytes, start, end);
    if (!taken && !this.left) this.pause(Pause.congested);
  }

  #writePlain(bytes: Uint8Array, start: number, end: number): boolean {
    writeU32(scratch, 0, end - start);
    return this.connection.sendFrame(scratch, PLAIN_HEADER_BYTES, bytes, start, end);
  }

  #writeLine(bytes: Uint8Array, start: number, end: number): boolean {
    if (hasLineBreak(bytes, start, end)) {
      bytes = asOneLine(bytes, start, end);
      start = 0;
      end = bytes.length;
    }
    this.connection.sendFrame(NO_BYTES, 0, bytes, start, end);
    return this.connection.sendFrame(LF, 1, NO_BYTES, 0, 0);
  }

  protected override forget(): void {
    this.#parts = undefined;
    this.#partsBytes = 0;
  }

  #takeParts(slot: number): Uint8Array[] | undefined {
    if (this.#parts === undefined) return undefined;
    const parts = this.#parts.get(slot);
    if (parts === undefined) return undefined;
    this.#parts.delete(slot);
    if (this.#parts.size === 0) this.answerBytes = NO_LIMIT;
    this.#partsBytes -= parts.bytes + parts.list.length * PART_OVERHEAD_BYTES;
    return parts.list;
  }
}
