/**
 * How many partial responses each backend may send: as many as the task's client takes and its buffers hold, end to end. A slow
 * client so slows its own streams down, at their backends, and nobody else's link. Counts in the task's own record.
 */
import { limits } from '../limits.js';
import { streamWindow } from '../protocol/stream-window.js';
import { Mark, Rare, type TaskCarrier, type TaskOwner, TaskState, type TaskTable, Word } from './task-table.js';

export class StreamGrants {
  readonly #table: TaskTable;
  /** Owners with streams that may send nothing, because what others of theirs may send takes all the room. */
  readonly #short = new Set<TaskOwner>();

  constructor(table: TaskTable) {
    this.#table = table;
  }

  /** A partial response of so many bytes came; the task is a stream from the first one on. */
  count(slot: number, owner: TaskOwner, length: number): void {
    const table = this.#table;
    if (!table.has(slot, Mark.partialSent)) this.#begin(slot, owner);
    const before = this.#reserved(slot);
    const parts = table.rare(slot, Rare.parts);
    if (parts < limits.streamWindow) table.setRare(slot, Rare.parts, parts + 1);
    table.setRare(slot, Rare.outstanding, table.rare(slot, Rare.outstanding) - 1);
    if (length > table.rare(slot, Rare.longest)) table.setRare(slot, Rare.longest, length);
    owner.reservedBytes += this.#reserved(slot) - before;
  }

  /** The stream is over. */
  end(slot: number, owner: TaskOwner): void {
    owner.streams--;
    owner.reservedBytes -= this.#reserved(slot);
  }

  /** Half a window at a time: a frame for each would double the traffic. */
  grant(slot: number, carrier: TaskCarrier, owner: TaskOwner): void {
    if (!carrier.windows) return;
    const target = this.#target(slot, owner);
    const outstanding = this.#table.rare(slot, Rare.outstanding);
    const missing = target - outstanding;
    if (target === 0 || missing * 2 < target) return;
    const longest = this.#table.rare(slot, Rare.longest);
    const room = owner.streamBytes - owner.reservedBytes;
    const count = missing * longest <= room ? missing : Math.floor(room / longest);
    if (count > 0) this.#give(slot, carrier, owner, count);
    else if (owner.reservedBytes === 0) this.#give(slot, carrier, owner, 1);
    else if (outstanding <= 0) this.#short.add(owner);
  }

  /** The owner takes more of one task than before. */
  grantTask(slot: number): void {
    const table = this.#table;
    if (table.words[slot + Word.state] !== TaskState.sent || !table.has(slot, Mark.partialSent)) return;
    const carrier = table.carrierOf(slot);
    if (carrier !== undefined) this.grant(slot, carrier, table.ownerOf(slot)!);
  }

  /** The owner takes more of all its tasks. */
  grantAll(owner: TaskOwner): void {
    if (owner.streams === 0) return;
    const table = this.#table;
    for (let slot = owner.firstTask; slot !== -1; slot = table.words[slot + Word.ownerNext]) this.grantTask(slot);
  }

  /**
   * One more for each owner that is short of room and takes what it gets: the streams which have the room may be silent for long,
   * and the others must not wait for them.
   */
  tick(): void {
    if (this.#short.size === 0) return;
    for (const owner of [...this.#short]) {
      this.#short.delete(owner);
      if (owner.streams > 0) this.#feed(owner);
    }
  }

  #feed(owner: TaskOwner): void {
    const table = this.#table;
    let fed = false;
    for (let slot = owner.firstTask; slot !== -1; slot = table.words[slot + Word.ownerNext]) {
      const carrier = this.#starved(slot, owner);
      if (carrier === undefined) continue;
      if (fed) {
        this.#short.add(owner);
        return;
      }
      fed = true;
      this.#give(slot, carrier, owner, 1);
    }
  }

  /** The link of a stream that may send nothing though its client would take it. */
  #starved(slot: number, owner: TaskOwner): TaskCarrier | undefined {
    const table = this.#table;
    if (table.words[slot + Word.state] !== TaskState.sent || !table.has(slot, Mark.partialSent)) return undefined;
    if (table.rare(slot, Rare.outstanding) > 0 || owner.takes(slot) === 0) return undefined;
    const carrier = table.carrierOf(slot);
    return carrier?.windows ? carrier : undefined;
  }

  /** How many it should be free to send, if there is room. */
  #target(slot: number, owner: TaskOwner): number {
    const table = this.#table;
    const share = owner.streamBytes / owner.streams;
    const longest = table.rare(slot, Rare.longest);
    const window = streamWindow(limits.streamWindow, table.rare(slot, Rare.parts), longest, share);
    return Math.min(owner.takes(slot), window);
  }

  #give(slot: number, carrier: TaskCarrier, owner: TaskOwner, count: number): void {
    const table = this.#table;
    const before = this.#reserved(slot);
    table.setRare(slot, Rare.outstanding, table.rare(slot, Rare.outstanding) + count);
    owner.reservedBytes += this.#reserved(slot) - before;
    carrier.grant(slot, count);
  }

  /** What is granted to it may take, as far as its responses so far tell. */
  #reserved(slot: number): number {
    return Math.max(0, this.#table.rare(slot, Rare.outstanding)) * this.#table.rare(slot, Rare.longest);
  }

  #begin(slot: number, owner: TaskOwner): void {
    const table = this.#table;
    table.mark(slot, Mark.partialSent | Mark.everSent);
    table.setRare(slot, Rare.parts, 0);
    table.setRare(slot, Rare.outstanding, limits.firstStreamWindow);
    table.setRare(slot, Rare.longest, 0);
    owner.streams++;
  }
}
