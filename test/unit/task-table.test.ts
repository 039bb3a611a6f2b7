// The task table, the queue over it and the two indexes that find tasks, each against a plain model.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { InFlightIndex } from '../../src/gateway/in-flight-index.js';
import { ABANDONED, LinkIds, UNKNOWN } from '../../src/gateway/link-ids.js';
import { OrderGroups } from '../../src/gateway/order-groups.js';
import { NO_PLACE, Places } from '../../src/gateway/places.js';
import { TaskQueue } from '../../src/gateway/queue.js';
import {
  AttemptEnd,
  LEDGER_ENTRIES,
  Side,
  SLOT_SHIFT,
  type TaskOwner,
  TaskState,
  TaskTable,
  Time,
  Word,
} from '../../src/gateway/task-table.js';

function makeOwner(number: number): TaskOwner {
  return { number, place: NO_PLACE, firstTask: -1, lastTask: -1, openTasks: 0, queuedTasks: 0 } as TaskOwner;
}

function tasksOf(table: TaskTable, owner: TaskOwner): number[] {
  const slots = [];
  for (let slot = owner.firstTask; slot !== -1; slot = table.words[slot + Word.ownerNext]) slots.push(slot);
  return slots;
}

describe('task table', () => {
  test('grows by doubling, tells of it, and keeps what it holds', () => {
    const capacities: number[] = [];
    const table = new TaskTable((capacity) => capacities.push(capacity));
    const slots = Array.from({ length: 1_000 }, (_, i) => {
      const slot = table.acquire();
      table.words[slot + Word.clientId] = i;
      table.setTime(slot, Time.deadline, i * 2);
      return slot;
    });
    expect(new Set(slots).size).toBe(1_000);
    expect(capacities).toEqual([512, 1_024, 2_048]);
    for (const [i, slot] of slots.entries()) {
      expect([table.words[slot + Word.clientId], table.time(slot, Time.deadline)]).toEqual([i, i * 2]);
    }
  });

  test('a released slot holds nothing, and its next task is another generation', () => {
    const table = new TaskTable();
    const slot = table.acquire();
    const generation = table.side(slot, Side.generation);
    table.keep(slot, new Uint8Array(1), 0, 1);
    table.release(slot);
    expect(table.acquire()).toBe(slot);
    expect(table.side(slot, Side.generation)).not.toBe(generation);
    expect(table.bytesOf(slot)).toBeUndefined();
    table.release(slot);
    expect(table.bytesOf(slot)).toBeUndefined();
    expect(() => table.release(slot)).toThrow('released once');
    expect(table.size).toBe(0);
  });

  test("an owner's tasks stay in order of arrival whichever leave", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(9), { maxLength: 60 }), (steps) => {
        const table = new TaskTable();
        const owner = makeOwner(1);
        const model: number[] = [];
        for (const step of steps) {
          if (step < 6 || model.length === 0) {
            const slot = table.acquire();
            table.own(slot, owner);
            model.push(slot);
          } else {
            const [slot] = model.splice(step % model.length, 1);
            table.disown(slot);
            table.release(slot);
          }
          expect(tasksOf(table, owner)).toEqual(model);
          expect(owner.openTasks).toBe(model.length);
        }
      }),
    );
  });

  test('the ledger says which backends were tried and how each try ended', () => {
    const table = new TaskTable();
    const slot = table.acquire();
    table.beginAttempt(slot, 3);
    table.endAttempt(slot, AttemptEnd.unsent);
    table.beginAttempt(slot, 0);
    expect(table.attemptsOf(slot)).toEqual([
      { backend: 3, end: AttemptEnd.unsent },
      { backend: 0, end: AttemptEnd.open },
    ]);
    for (let i = 0; i < 10; i++) table.beginAttempt(slot, i);
    expect(table.attemptsOf(slot)).toHaveLength(LEDGER_ENTRIES);
    expect(table.attemptsOf(slot).at(-1)).toEqual({ backend: 9, end: AttemptEnd.open });
  });

  test('open tasks are those without an outcome', () => {
    const table = new TaskTable();
    const [a, b, c] = [table.acquire(), table.acquire(), table.acquire()];
    table.words[b + Word.state] = TaskState.done;
    const seen: number[] = [];
    table.forEachOpen((slot) => seen.push(slot));
    expect(seen.sort()).toEqual([a, c].sort());
  });
});

describe('queue', () => {
  test('first in, first out, and out from any place', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(9), { maxLength: 80 }), (steps) => {
        const table = new TaskTable();
        const queue = new TaskQueue(table);
        const model: number[] = [];
        for (const step of steps) {
          if (step < 4 || model.length === 0) {
            const slot = table.acquire();
            queue.push(slot);
            model.push(slot);
          } else if (step < 5) {
            const slot = table.acquire();
            queue.front.push(slot);
            model.unshift(slot);
          } else {
            const [slot] = model.splice(step % model.length, 1);
            queue.remove(slot);
          }
          expect(queue.size).toBe(model.length);
          expect(queue.head).toBe(model[0] ?? -1);
        }
      }),
    );
  });

  test('tasks that move between queues are in one at a time, in the order in which they came there', () => {
    const step = fc.record({
      what: fc.constantFrom('push', 'front', 'move', 'take', 'remove'),
      from: fc.nat(2),
      to: fc.nat(2),
      at: fc.nat(),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
        const table = new TaskTable();
        const queues = Array.from({ length: 3 }, () => new TaskQueue(table));
        const models: number[][] = [[], [], []];
        for (const { what, from, to, at } of steps) {
          if (what === 'push' || what === 'front') {
            const slot = table.acquire();
            if (what === 'push') queues[to].push(slot);
            else queues[to].front.push(slot);
            if (what === 'push') models[to].push(slot);
            else models[to].unshift(slot);
          } else if (models[from].length > 0) {
            const [slot] = models[from].splice(what === 'remove' ? at % models[from].length : 0, 1);
            queues[from].remove(slot);
            expect(() => queues[from].remove(slot)).toThrow('waits in');
            if (what === 'move') {
              queues[to].push(slot);
              models[to].push(slot);
            } else {
              table.release(slot);
            }
          }
          expect(queues.map(({ size, head }) => [size, head])).toEqual(
            models.map((model) => [model.length, model[0] ?? -1]),
          );
        }
        for (const [i, queue] of queues.entries()) {
          const left: number[] = [];
          for (; queue.head !== -1; queue.remove(queue.head)) left.push(queue.head);
          expect(left).toEqual(models[i]);
        }
      }),
    );
  });

  test('a task waits in one queue only', () => {
    const table = new TaskTable();
    const slot = table.acquire();
    new TaskQueue(table).push(slot);
    expect(() => new TaskQueue(table).push(slot)).toThrow('one queue');
  });
});

describe('in-flight index', () => {
  test('finds exactly what was put in, through growth and removal', () => {
    fc.assert(
      fc.property(
        // Counted up, with a request's place in the low bits, and such as meet in every window.
        fc.array(fc.tuple(fc.nat(5), fc.nat(30), fc.constantFrom(1, 7, 1 << 16, 256), fc.boolean()), {
          maxLength: 400,
        }),
        fc.integer(),
        (steps, salt) => {
          const table = new TaskTable();
          const index = new InFlightIndex(table, salt);
          const model = new Map<string, number>();
          for (const [owner, number, step, remove] of steps) {
            const id = Math.imul(number, step);
            const key = `${owner}/${id}`;
            const slot = index.find(owner, id);
            expect(slot).toBe(model.get(key) ?? -1);
            if (slot === -1) {
              const added = table.acquire();
              table.words[added + Word.owner] = owner;
              table.words[added + Word.clientId] = id;
              index.insert(added);
              model.set(key, added);
            } else if (remove) {
              index.remove(slot);
              table.release(slot);
              model.delete(key);
            }
          }
          expect(index.size).toBe(model.size);
        },
      ),
    );
  });

  test('who leaves gives its window back, and its place begins with none of its ids', () => {
    const table = new TaskTable();
    const index = new InFlightIndex(table, 7);
    for (let round = 0; round < 3; round++) {
      const slots: number[] = [];
      for (let id = 0; id < 100; id++) {
        const slot = table.acquire();
        table.words[slot + Word.owner] = 3;
        table.words[slot + Word.clientId] = id * 5;
        expect(index.find(3, id * 5)).toBe(-1);
        index.insert(slot);
        slots.push(slot);
      }
      expect(index.size).toBe(100);
      expect(() => index.forget(3)).toThrow('no ids in flight');
      for (const slot of slots) index.remove(slot);
      index.forget(3);
      for (const slot of slots) table.release(slot);
    }
    expect(index.size).toBe(0);
  });

  test('holds more than its first size, and loses nothing when others leave', () => {
    const table = new TaskTable();
    const index = new InFlightIndex(table, 7);
    for (let id = 0; id < 4_000; id++) {
      const slot = table.acquire();
      table.words[slot + Word.owner] = 1;
      table.words[slot + Word.clientId] = id;
      index.insert(slot);
    }
    for (let id = 0; id < 4_000; id += 3) index.remove(index.find(1, id));
    for (let id = 0; id < 4_000; id++) {
      const slot = index.find(1, id);
      expect(slot === -1 ? -1 : table.words[slot + Word.clientId]).toBe(id % 3 === 0 ? -1 : id);
    }
    expect(index.find(2, 1)).toBe(-1);
  });
});

describe('link ids', () => {
  test('a late answer finds an abandoned id, a second answer an unknown one', () => {
    const ids = new LinkIds();
    const first = ids.acquire(11);
    expect(ids.find(first)).toBe(11);
    ids.abandon(first);
    expect(ids.find(first)).toBe(ABANDONED);
    expect(ids.abandoned).toBe(1);
    ids.release(first);
    expect(ids.find(first)).toBe(UNKNOWN);
    expect(ids.inUse).toBe(0);
  });

  test('an id comes again only after all others, and then as another one', () => {
    const ids = new LinkIds();
    const seen = new Set<number>();
    for (let i = 0; i < 2_000; i++) {
      const id = ids.acquire(i);
      expect(seen.has(id)).toBe(false);
      seen.add(id);
      ids.release(id);
    }
  });

  test('an old id does not find the task that has its place now', () => {
    const ids = new LinkIds();
    const old = ids.acquire(1);
    ids.release(old);
    let id = ids.acquire(2);
    while ((id & 0xffff) !== (old & 0xffff)) {
      ids.release(id);
      id = ids.acquire(2);
    }
    expect([ids.find(old), ids.find(id)]).toEqual([UNKNOWN, 2]);
  });

  test('against a map: whatever is taken, abandoned and answered, an id names one task until its answer', () => {
    const step = fc.record({
      what: fc.constantFrom('take', 'take', 'abandon', 'answer'),
      count: fc.nat(40),
      at: fc.nat(),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const ids = new LinkIds();
        const model = new Map<number, number>();
        const over: number[] = [];
        let task = 0;
        for (const { what, count, at } of steps) {
          for (let i = 0; i < count; i++) {
            const known = [...model.keys()];
            const id = known[at % Math.max(1, known.length)];
            if (what === 'take') {
              const taken = ids.acquire(task);
              expect(model.has(taken)).toBe(false);
              model.set(taken, task++);
            } else if (id !== undefined && what === 'abandon' && model.get(id) !== ABANDONED) {
              ids.abandon(id);
              model.set(id, ABANDONED);
            } else if (id !== undefined && what === 'answer') {
              ids.release(id);
              model.delete(id);
              over.push(id);
              expect(() => ids.release(id)).toThrow('released once');
            }
          }
          for (const [id, expected] of model) expect(ids.find(id)).toBe(expected);
          for (const id of over) if (!model.has(id)) expect(ids.find(id)).toBe(UNKNOWN);
          expect(ids.inUse).toBe(model.size);
          expect(ids.abandoned).toBe([...model.values()].filter((value) => value === ABANDONED).length);
          const live: number[] = [];
          ids.forEachSlot((slot) => live.push(slot));
          expect(new Set(live)).toEqual(new Set([...model.values()].filter((value) => value !== ABANDONED)));
        }
      }),
      { numRuns: 50 },
    );
  });

  test('grows while many are in flight', () => {
    const ids = new LinkIds();
    const taken = Array.from({ length: 3_000 }, (_, slot) => ids.acquire(slot));
    for (const [slot, id] of taken.entries()) expect(ids.find(id)).toBe(slot);
    for (const id of taken) ids.release(id);
    expect(ids.inUse).toBe(0);
    expect(ids.find(0x7fff)).toBe(UNKNOWN);
  });
});

describe('places and kept bytes', () => {
  test('a place is reused after it was left', () => {
    const places = new Places<string>();
    const [a, b] = [places.add('a'), places.add('b')];
    places.remove(a);
    expect(places.add('c')).toBe(a);
    expect([places.at(a), places.at(b), places.at(NO_PLACE)]).toEqual(['c', 'b', undefined]);
  });

  test('a slab is let go with the last task that has bytes in it', () => {
    const slabs = Array.from({ length: 4 }, () => new Uint8Array(1));
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.nat(3), fc.boolean(), fc.nat(50)), { maxLength: 60 }), (steps) => {
        const table = new TaskTable();
        const model: { slot: number; slab: Uint8Array }[] = [];
        for (const [which, leaves, at] of steps) {
          if (leaves && model.length > 0) {
            const [{ slot }] = model.splice(at % model.length, 1);
            table.release(slot);
          } else {
            const slot = table.acquire();
            table.keep(slot, slabs[which], 0, 1);
            model.push({ slot, slab: slabs[which] });
          }
          for (const { slot, slab } of model) expect(table.bytesOf(slot)).toBe(slab);
        }
        for (const { slot } of model) table.release(slot);
        for (let place = 0; place < steps.length; place++) expect(table.kept.at(place)).toBeUndefined();
        expect(table.kept.bytes).toBe(0);
      }),
    );
  });
});

describe('order groups', () => {
  test('one goes, the others wait in order, and an empty group is forgotten', () => {
    const table = new TaskTable();
    const groups = new OrderGroups(table);
    const [a, b, c] = [table.acquire(), table.acquire(), table.acquire()];
    expect(groups.enter(a, 1)).toBe(true);
    for (const slot of [b, c]) {
      expect(groups.enter(slot, 1)).toBe(false);
      table.order[slot >> SLOT_SHIFT]!.waiting.push(slot);
    }
    expect(table.order[a >> SLOT_SHIFT]!.leave(a)).toBe(b);
    table.order[c >> SLOT_SHIFT]!.waiting.remove(c);
    expect(table.order[c >> SLOT_SHIFT]!.leave(c)).toBe(-1);
    expect(groups.size).toBe(1);
    expect(table.order[b >> SLOT_SHIFT]!.leave(b)).toBe(-1);
    expect(groups.size).toBe(0);
  });
});
