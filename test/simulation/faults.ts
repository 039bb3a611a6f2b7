/**
 * Faults that a gateway like this one could have, each one edit of one line of its sources. The suite plants them one by one in a
 * copy, and the simulation must find every one.
 */
export interface Fault {
  readonly name: string;
  /** Below src/gateway/. */
  readonly file: string;
  /** Stands there exactly once. */
  readonly find: string;
  readonly replace: string;
  /** The sentence with which it has to be found. */
  readonly finds: RegExp;
}

/** Which of these rules is the first to notice depends on who is answered. */
const ANSWERS =
  /^(a request is answered once|an answer is the one|an answer carries|answers come in the order|no answer but|unknown responses)/;

export const FAULTS: readonly Fault[] = [
  {
    name: 'an id is used again before its final response',
    file: 'link-ids.ts',
    find: 'this.#freeAt = (this.#freeAt + 1) & (this.#free.length - 1);',
    replace: '',
    finds: /^an id is not used again before its final response/,
  },
  {
    name: 'a slot is freed twice',
    file: 'task-table.ts',
    find: 'this.#free.give(slot >> SLOT_SHIFT);',
    replace: 'this.#free.give(slot >> SLOT_SHIFT); this.#free.give(slot >> SLOT_SHIFT);',
    finds:
      /^(slots in use are those of tasks|a task (is|that is over is) |the gateway threw: gateway invariant broken)/,
  },
  {
    name: "a backend's credit is leaked with each late answer",
    file: 'backend-connection.ts',
    find: 'this.backend.outstanding--;\n    this.#events.linkRoom(this);',
    replace: 'this.#events.linkRoom(this);',
    finds: /has in flight is what its links have/,
  },
  {
    name: 'a request is sent again after it was sent',
    file: 'relay.ts',
    find: 'const repeatable = unsent || table.has(slot, Flag.idempotent);',
    replace: 'const repeatable = true;',
    finds: /^a request is sent again only where the work did not begin/,
  },
  {
    name: 'a request is sent again after an error that is its answer',
    file: 'relay.ts',
    find: 'status === Status.UNAVAILABLE && table.has(slot, Flag.idempotent);',
    replace: 'status === Status.UNAVAILABLE;',
    finds: /^(a request is sent again only where the work did not begin|a task that is over is not sent)/,
  },
  {
    name: 'a request is sent again after a part of its answer',
    file: 'relay.ts',
    find: ' || table.has(slot, Mark.partialSent)) return false;',
    replace: ') return false;',
    finds: /^a request is not sent again after a partial response/,
  },
  {
    name: 'a refused request goes to the backend that refused it',
    file: 'relay.ts',
    find: 'return this.#mayRetry(slot, pool, now) && this.#sendKept(slot, pool, exclude, now);',
    replace: 'return this.#mayRetry(slot, pool, now) && this.#sendKept(slot, pool, -1, now);',
    finds: /^a request that was refused goes to another backend/,
  },
  {
    name: 'an answer goes to the wrong client',
    file: 'relay.ts',
    find: 'const owner = table.ownerOf(slot)!;\n      // Of this attempt',
    replace: 'const owner = table.owners.at(0) ?? table.ownerOf(slot)!;\n      // Of this attempt',
    finds: ANSWERS,
  },
  {
    name: 'a second answer meets a new task under the old id',
    file: 'link-ids.ts',
    find: ' || this.#generations[index] !== id >>> 16) return UNKNOWN;',
    replace: ') return UNKNOWN;',
    // Or it frees the place of one that was cancelled, and one too many is sent.
    finds: new RegExp(`${ANSWERS.source}|^a backend has at most maxInFlight requests`),
  },
  {
    name: 'a deadline is not cleared',
    file: 'relay.ts',
    find: 'this.#wheel.cancel(slot);',
    replace: '',
    finds: /^a deadline is armed for each open task, and for no other/,
  },
  {
    name: 'a deadline comes early',
    file: 'deadline-wheel.ts',
    find: 'const due = Math.max(Math.ceil(deadlineMs / this.#granuleMs), earliest);',
    replace:
      'const due = Math.max(Math.floor(deadlineMs / this.#granuleMs), earliest); this.#records.times[(slot >> 1) + Time.deadline] -= 10;',
    finds: /^an error has a reason that holds/,
  },
  {
    name: "a client's queue holds one more than its bound",
    file: 'waiting-tasks.ts',
    find: 'owner.queuedTasks >= owner.maxQueuedTasks) return false;',
    replace: 'owner.queuedTasks > owner.maxQueuedTasks) return false;',
    finds: /^no more than \d+ tasks of a client wait/,
  },
  {
    name: 'the queue of all holds one more than its bound',
    file: 'waiting-tasks.ts',
    find: 'return this.#count < this.#maxCount &&',
    replace: 'return this.#count <= this.#maxCount &&',
    finds: /^no more than \d+ tasks wait/,
  },
  {
    name: 'who was stopped by the queue of all is read before there is room',
    file: 'waiting-tasks.ts',
    find: 'if (this.#stopped.size === 0 || !this.#stopped.has(owner)) owner.queueRoom();',
    replace: 'owner.queueRoom();',
    finds: /^no more than \d+ tasks wait/,
  },
  {
    name: 'bytes of waiting tasks are not given back',
    file: 'waiting-tasks.ts',
    find: 'this.#bytes -= table.keptLength(slot);',
    replace: '',
    finds: /^bytes of waiting tasks are counted/,
  },
  {
    name: 'the retry budget is not charged',
    file: 'retry-budget.ts',
    find: 'this.#retriesInWindow++;',
    replace: '',
    finds: /^retries stay within the budget/,
  },
  {
    name: 'a late answer is accepted',
    file: 'backend-connection.ts',
    find: 'this.#ids.abandon(id);',
    replace: '',
    finds: /./,
  },
  {
    name: 'a backend is not told of a cancel',
    file: 'backend-connection.ts',
    find: 'this.#control(Kind.cancel, 0, id, 0, NO_BYTES, 0, 0);',
    replace: '',
    finds: /^(a backend is told when nobody waits for its answer|a route with an order has one request in flight)/,
  },
  {
    name: 'a backend is told the whole budget instead of what remains',
    file: 'backend-connection.ts',
    find: 'Math.round(table.time(slot, Time.deadline) - now)',
    replace: 'Math.round(table.time(slot, Time.deadline) - table.time(slot, Time.received))',
    finds: /^a backend is told what remains of the budget/,
  },
  {
    name: 'a frame is thought not to have left',
    file: 'backend-connection.ts',
    find: 'table.sentOffset(lost[i]) >= info.bytesHandedToKernel',
    replace: 'table.sentOffset(lost[i]) + 40 >= info.bytesHandedToKernel',
    finds: /^(a request is sent again only where|not-executed is said only where)/,
  },
  {
    name: 'a payload is kept by reference into memory that is used again',
    file: 'relay.ts',
    find: 'const kept = this.#engine.keepReusable(bytes, start, end);',
    replace: 'const kept = { bytes, start };',
    finds: /^a request (reaches a backend as the client sent it|to a backend is one of a client)/,
  },
  {
    name: 'memory of payloads is not let go',
    file: 'kept-bytes.ts',
    find: 'if (--this.#users[place] > 0) return;',
    replace: 'if (--this.#users[place] >= 0) return;',
    finds: /^kept bytes belong to tasks/,
  },
  {
    name: 'a token is passed on',
    file: 'rmp-session.ts',
    find: 'if (meta.hasToken) {',
    replace: 'if (meta.hasToken && end - start > 60) {',
    finds: /^meta is passed on without the token/,
  },
  {
    name: 'a route with an order lets two go at once',
    file: 'order-groups.ts',
    find: 'return group.holder === slot;',
    replace: 'return true;',
    finds: /^a route with an order/,
  },
  {
    name: 'a backend that goes away gets requests',
    file: 'relay.ts',
    find: 'link.backend.goingAway = true;',
    replace: '',
    finds: /^a backend that goes away gets no requests/,
  },
  {
    name: 'a wake-up is lost',
    file: 'relay.ts',
    find: 'this.#pumpAgain = true;',
    replace: '',
    finds: /^no task waits while a backend takes tasks/,
  },
  {
    name: 'a task that ended while it looked for a place is queued all the same',
    file: 'relay.ts',
    find: 'return table.words[slot + Word.state] === TaskState.received;',
    replace: 'return true;',
    finds: /^(a task |open tasks are those|slots in use are those|the gateway threw)/,
  },
  {
    name: 'a backend that is ejected gets requests',
    file: 'backend.ts',
    find: '(this.#ejectedUntil === 0 || this.#triable(now))',
    replace: 'true',
    finds: /^a backend that is ejected gets no requests/,
  },
  {
    name: 'a backend has one request too many in flight',
    file: 'backend.ts',
    find: 'this.outstanding < this.maxInFlight',
    replace: 'this.outstanding <= this.maxInFlight',
    finds: /^a backend has at most maxInFlight requests/,
  },
  {
    name: 'more partial responses are granted than there is room for',
    file: 'stream-grants.ts',
    find: 'table.setRare(slot, Rare.outstanding, table.rare(slot, Rare.outstanding) - 1);',
    replace: 'table.setRare(slot, Rare.outstanding, table.rare(slot, Rare.outstanding) - 2);',
    finds:
      /^(no more than a window is granted|a backend is granted no more|what (is granted finds room|streams are granted))/,
  },
  {
    name: 'a backend is granted what its client has not granted',
    file: 'stream-grants.ts',
    find: 'return Math.min(owner.takes(slot), window);',
    replace: 'return window;',
    finds: /^a backend is granted no more than its client grants/,
  },
  {
    name: 'a client is sent more partial responses than it granted',
    file: 'rmp-session.ts',
    find: 'if (credit === 0) return false;',
    replace: '',
    finds: /^a client with stream windows gets no more than it granted/,
  },
  {
    name: 'an answer overtakes partial responses that wait for a grant',
    file: 'rmp-session.ts',
    find: 'held.end(slot, status, flags, bytes.subarray(start, end));\n    return true;',
    replace: 'return false;',
    finds: /^an answer comes behind its partial responses/,
  },
  {
    name: 'what waits for a grant is forgotten when it comes',
    file: 'rmp-session.ts',
    find: 'while (held.waits(slot) && this.#spendCredit(slot)) {',
    replace: 'while (held.waits(slot) && this.#spendCredit(slot) && held.bytes < 0) {',
    finds: /^(a partial response is passed on at once|an answer is passed on at once|what is granted is sent)/,
  },
  {
    name: 'what waited for a link is sent although it is longer than the backend takes',
    file: 'backend-connection.ts',
    find: 'if (end - start > this.backend.maxRequestBytes) this.#events.tooLong(this, slot);\n      else ',
    replace: '',
    finds: /^no request is longer than the backend takes/,
  },
  {
    name: 'what comes during a drain is begun',
    file: 'relay.ts',
    find: 'if (this.draining) {',
    replace: 'if (this.draining && this.queued > 0) {',
    finds: /^what comes during a drain is refused/,
  },
  {
    name: 'a gateway that goes away says so while something waits',
    file: 'pool.ts',
    find: 'this.queued > 0 || this.links.some(({ busy }) => busy)',
    replace: 'false',
    finds: /^who has said that it goes away sends no requests/,
  },
  {
    name: 'what is cut is never called not-executed',
    file: 'relay.ts',
    find: 'const flags = this.#neverBegan(slot) ? Flag.notExecuted : 0;',
    replace: 'const flags = 0;',
    finds: /^what is cut and was never sent is not-executed/,
  },
  {
    name: 'the last part of an answer is not counted',
    file: 'ordered-session.ts',
    find: 'parts.bytes + end - start > limits.maxConcatenatedBytes',
    replace: 'parts.bytes > limits.maxConcatenatedBytes',
    finds: /^an answer put together is no longer than one may be/,
  },
  {
    name: 'a hello is answered behind other frames',
    file: 'backend-connection.ts',
    find: 'if (this.#offset === 0) this.#sendHello();',
    replace: 'if (!this.#helloSent) this.#sendHello();',
    finds: /^a hello is the first frame/,
  },
  {
    name: 'an answer is longer than its client takes',
    file: 'rmp-session.ts',
    find: 'if (end - start > this.#maxResponseBytes) return Sentence.responseTooLong;\n    const held',
    replace: 'if (end - start > this.#maxResponseBytes + 100) return Sentence.responseTooLong;\n    const held',
    finds: /^no frame is longer than the client takes/,
  },
  {
    name: 'a going-away does not wait for the answer to a hello',
    file: 'rmp-session.ts',
    find: 'if (this.#spoke) this.#control(Kind.goingAway, 0, graceMs, NO_BYTES, 0, 0);',
    replace: 'if (graceMs >= 0) this.#control(Kind.goingAway, 0, graceMs, NO_BYTES, 0, 0);',
    finds: /^a hello is the first frame/,
  },
  {
    name: 'answers of a client of lines overtake each other',
    file: 'ordered-session.ts',
    find: 'this.firstTask !== -1 && table.words[this.firstTask + Word.state] === TaskState.done',
    replace: 'this.firstTask !== -1 && table.bytesOf(this.firstTask) !== undefined',
    finds: /./,
  },
  {
    name: 'a client is told not-executed of what was executed',
    file: 'relay.ts',
    find: 'if (refused && table.has(slot, Mark.everSent)) flags &= ~Flag.notExecuted;',
    replace: '',
    finds: /^not-executed is said only where no backend can have begun/,
  },
];
