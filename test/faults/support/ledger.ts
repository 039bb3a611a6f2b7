/**
 * The ledger: one entry per request that was sent, and exactly one outcome for each. Ids are given out once and never again, over
 * all clients, so that a second answer, an answer nobody asked for and an answer to the wrong client are each seen for what
 * they are.
 */
import { statusName } from '../../../src/protocol/status-error.js';

const State = { none: 0, open: 1, answered: 2, failed: 3, cut: 4 } as const;
const Mark = { idempotent: 1, notExecuted: 2 } as const;

export interface Verdict {
  /** Requests handed to the kernel. */
  readonly sent: number;
  /** Answered OK, byte for byte what had to come. */
  readonly answered: number;
  /** Answered by an error, by status. */
  readonly failed: Readonly<Record<string, number>>;
  /** The connection ended first: the client knows that nothing more comes. */
  readonly cut: number;
  /** Neither answered nor cut. */
  readonly lost: number;
  /** Answers to requests that had their outcome. */
  readonly twice: number;
  /** Answers with an id that was never given out. */
  readonly unknown: number;
  /** Answers to somebody else's request. */
  readonly astray: number;
  /** Answers whose bytes are not the request's. */
  readonly wrong: number;
}

export class Ledger {
  #states = new Uint8Array(1 << 14);
  #marks = new Uint8Array(1 << 14);
  #owners = new Uint32Array(1 << 14);
  #sentAtMs = new Float64Array(1 << 14);
  readonly #firstId: number;
  #next = 1;
  #open = 0;
  #answered = 0;
  #cut = 0;
  readonly #failed = new Map<string, number>();
  #twice = 0;
  #unknown = 0;
  #astray = 0;
  #wrong = 0;

  /** @param firstId ids count from it; those of two ledgers whose requests reach the same backends must not meet */
  constructor(firstId = 1) {
    this.#firstId = firstId;
  }

  /** Requests without an outcome. */
  get open(): number {
    return this.#open;
  }

  get sent(): number {
    return this.#next - 1;
  }

  /** A new request of this client. @returns its id */
  begin(owner: number, idempotent: boolean, atMs: number): number {
    const entry = this.#next++;
    if (entry >= this.#states.length) this.#grow();
    this.#states[entry] = State.open;
    this.#marks[entry] = idempotent ? Mark.idempotent : 0;
    this.#owners[entry] = owner;
    this.#sentAtMs[entry] = atMs;
    this.#open++;
    return this.#firstId - 1 + entry;
  }

  sentAtMs(id: number): number {
    return this.#sentAtMs[this.#entry(id)];
  }

  /** @returns whether this settled the request */
  answer(id: number, owner: number, rightBytes: boolean): boolean {
    if (!this.#settles(id, owner)) return false;
    if (!rightBytes) this.#wrong++;
    this.#states[this.#entry(id)] = State.answered;
    this.#answered++;
    return true;
  }

  fail(id: number, owner: number, status: number, notExecuted: boolean): void {
    this.failNamed(id, owner, statusName(status), notExecuted);
  }

  failNamed(id: number, owner: number, name: string, notExecuted: boolean): void {
    if (!this.#settles(id, owner)) return;
    this.#states[this.#entry(id)] = State.failed;
    if (notExecuted) this.#marks[this.#entry(id)] |= Mark.notExecuted;
    this.#failed.set(name, (this.#failed.get(name) ?? 0) + 1);
  }

  /** The connection it was sent on has ended. */
  cut(id: number): void {
    const entry = this.#entry(id);
    if (this.#states[entry] !== State.open) return;
    this.#states[entry] = State.cut;
    this.#open--;
    this.#cut++;
  }

  verdict(): Verdict {
    return {
      sent: this.sent,
      answered: this.#answered,
      failed: Object.fromEntries([...this.#failed].sort()),
      cut: this.#cut,
      lost: this.#open,
      twice: this.#twice,
      unknown: this.#unknown,
      astray: this.#astray,
      wrong: this.#wrong,
    };
  }

  /**
   * What backends did against what clients were told: answered means executed, not-executed means never, and only an
   * idempotent request may have been executed more than once.
   * @param executions of a ledger that counts from 1, by id
   */
  judgeExecutions(executions: Uint16Array): { twice: number; thoughNot: number; unexecuted: number } {
    const judged = { twice: 0, thoughNot: 0, unexecuted: 0 };
    for (let id = 1; id < this.#next; id++) {
      const times = executions[id] ?? 0;
      const mark = this.#marks[id];
      if (times > 1 && (mark & Mark.idempotent) === 0) judged.twice++;
      if (times > 0 && (mark & Mark.notExecuted) !== 0) judged.thoughNot++;
      if (times === 0 && this.#states[id] === State.answered) judged.unexecuted++;
    }
    return judged;
  }

  #settles(id: number, owner: number): boolean {
    const entry = this.#entry(id);
    const state = entry < this.#next ? this.#states[entry] : State.none;
    if (state === State.none) this.#unknown++;
    else if (this.#owners[entry] !== owner) this.#astray++;
    else if (state !== State.open) this.#twice++;
    else {
      this.#open--;
      return true;
    }
    return false;
  }

  /** 0, which is never given out, for what is not this ledger's. */
  #entry(id: number): number {
    return Math.max(0, id - this.#firstId + 1);
  }

  #grow(): void {
    this.#states = grown(this.#states, new Uint8Array(this.#states.length * 2));
    this.#marks = grown(this.#marks, new Uint8Array(this.#marks.length * 2));
    this.#owners = grown(this.#owners, new Uint32Array(this.#owners.length * 2));
    this.#sentAtMs = grown(this.#sentAtMs, new Float64Array(this.#sentAtMs.length * 2));
  }
}

function grown<Column extends Uint8Array | Uint32Array | Float64Array>(from: Column, to: Column): Column {
  to.set(from);
  return to;
}

/** All that must never be, whatever was broken; 0 each. */
export function sins(verdict: Verdict): Pick<Verdict, 'lost' | 'twice' | 'unknown' | 'astray' | 'wrong'> {
  const { lost, twice, unknown, astray, wrong } = verdict;
  return { lost, twice, unknown, astray, wrong };
}

export const NO_SINS = { lost: 0, twice: 0, unknown: 0, astray: 0, wrong: 0 };

export function failedTotal({ failed }: Verdict): number {
  return Object.values(failed).reduce((sum, count) => sum + count, 0);
}
