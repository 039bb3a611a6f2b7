// Commands as the reactor reads them: whatever is written in whatever order, each connection's bytes arrive whole and in order.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { CommandRing } from '../../src/engine/command-ring.js';
import { allocateRings, COMMAND_WORDS, CommandKind, Control } from '../../src/engine/native.js';

interface Taken {
  readonly kind: number;
  readonly slot: number;
  readonly generation: number;
  /** Inline bytes of a send, or what else the command says. */
  readonly says: string;
}

/** The ring, and the reactor's side of it. */
class World {
  readonly memory = allocateRings();
  readonly ring = new CommandRing(this.memory, () => this.take());
  readonly taken: Taken[] = [];
  /** Of the newest command. */
  words = 0;

  take(): void {
    const { control, commands } = this.memory;
    let tail = control[Control.commandTail];
    while (tail !== control[Control.commandHead]) {
      const at = tail & (COMMAND_WORDS - 1);
      const size = commands[at] & 0xff_ffff;
      const kind = commands[at] >>> 24;
      expect(size).toBeGreaterThan(0);
      expect(at + size).toBeLessThanOrEqual(COMMAND_WORDS);
      if (kind !== CommandKind.wrap) this.taken.push(this.#read(at, kind));
      this.words = size;
      tail = (tail + size) >>> 0;
    }
    control[Control.commandTail] = tail;
  }

  #read(at: number, kind: number): Taken {
    const { commands } = this.memory;
    const [slot, generation, third] = commands.subarray(at + 1, at + 4);
    if (kind !== CommandKind.send) return { kind, slot, generation, says: String(third) };
    const end = at + (commands[at] & 0xff_ffff);
    let says = '';
    let part = at + 3;
    while (part < end) {
      const [length, , place, passedOn] = commands.subarray(part, part + 4);
      says += Buffer.from(commands.buffer, (part + 4) * 4, length).toString('latin1');
      if (passedOn > 0) says += ` and [${place}, +${passedOn})`;
      part += 4 + ((length + 3) >> 2);
    }
    expect(part).toBe(end);
    return { kind, slot, generation, says };
  }
}

/** What each connection is told, sends that follow each other joined. */
function told(commands: readonly Taken[]): string[] {
  const lines: string[] = [];
  const last = new Map<string, number>();
  for (const { kind, slot, generation, says } of commands) {
    const to = `${slot}.${generation}`;
    const newest = last.get(to);
    if (kind === CommandKind.send && newest !== undefined && lines[newest].startsWith(`${to} send`)) {
      lines[newest] += says;
    } else {
      last.set(to, lines.length);
      lines.push(`${to} ${kind === CommandKind.send ? 'send ' : `${kind} `}${says}`);
    }
  }
  return lines.sort();
}

const step = fc.record({
  what: fc.constantFrom('copy', 'copy', 'copy', 'copy', 'received', 'simple', 'publish', 'take', 'startOver'),
  slot: fc.nat(2),
  generation: fc.nat(1),
  header: fc.constantFrom(0, 4, 4, 16, 3),
  length: fc.oneof(fc.nat(100), fc.nat(100), fc.nat(16_384)),
});

describe('command ring', () => {
  test('what is written is what the reactor reads, however it is put together', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
        const world = new World();
        const { ring } = world;
        const model: Taken[] = [];
        for (const [i, { what, slot, generation, header, length }] of steps.entries()) {
          const head = new Uint8Array(header).fill(65 + (i % 26));
          const bytes = new Uint8Array(length + 2).fill(97 + (i % 26));
          const text =
            Buffer.from(head).toString('latin1') + Buffer.from(bytes.subarray(1, length + 1)).toString('latin1');
          if (what === 'copy') {
            ring.sendCopy(slot, generation, head, header, bytes, 1, length + 1);
            model.push({ kind: CommandKind.send, slot, generation, says: text });
          } else if (what === 'received' && length > 0) {
            ring.sendReceived(slot, generation, head, header, 0, new Uint8Array(0), i, length);
            const says = `${Buffer.from(head).toString('latin1')} and [${i}, +${length})`;
            model.push({ kind: CommandKind.send, slot, generation, says });
          } else if (what === 'simple') {
            ring.simple(CommandKind.pause, slot, generation, i);
            model.push({ kind: CommandKind.pause, slot, generation, says: String(i) });
          } else {
            if (what !== 'startOver') ring.publish();
            if (what !== 'publish') world.take();
            if (what === 'startOver') ring.startOver();
          }
        }
        ring.publish();
        world.take();
        expect(told(world.taken)).toEqual(told(model));
      }),
      { numRuns: 300 },
    );
  });

  test('what is sent to one connection in a row is one command, its inline bytes in parts of up to 8,000', () => {
    const world = new World();
    const header = Uint8Array.of(0, 0, 0, 64);
    for (let i = 0; i < 16; i++) world.ring.sendCopy(7, 1, header, 4, new Uint8Array(64), 0, 64);
    world.ring.publish();
    world.take();
    expect(world.taken.map(({ says }) => says.length)).toEqual([16 * 68]);
    for (let i = 0; i < 200; i++) world.ring.sendCopy(7, 1, header, 4, new Uint8Array(64), 0, 64);
    world.ring.publish();
    world.take();
    expect(world.taken.slice(1).map(({ says }) => says.length)).toEqual([200 * 68]);
    expect(world.words).toBe(3 + 2 * 4 + (200 * 68) / 4);
    for (let i = 0; i < 16; i++) world.ring.sendReceived(7, 1, header, 4, 0, new Uint8Array(0), i, 64);
    world.ring.publish();
    world.take();
    expect(world.taken.slice(2)).toHaveLength(1);
  });

  test('counts beyond 2³¹ and 2³²', () => {
    const world = new World();
    const header = Uint8Array.of(0, 0, 0, 8);
    const turns = 2 ** 32 / COMMAND_WORDS + 1_000;
    for (let turn = 0; turn < turns; turn++) {
      world.ring.startOver();
      world.ring.sendCopy(7, 1, header, 4, new Uint8Array(8), 0, 8);
      world.ring.publish();
      world.take();
      expect(world.ring.hasTaken(world.ring.head)).toBe(true);
    }
    expect(world.taken).toHaveLength(turns);
    expect(new Set(world.taken.map(({ says }) => says)).size).toBe(1);
  });

  test('what was published is not touched again', () => {
    const world = new World();
    world.ring.sendCopy(7, 1, new Uint8Array(4), 4, new Uint8Array(8), 0, 8);
    world.ring.publish();
    world.ring.sendCopy(7, 1, new Uint8Array(4), 4, new Uint8Array(8), 0, 8);
    world.take();
    expect(world.taken.map(({ says }) => says.length)).toEqual([12]);
    world.ring.publish();
    world.take();
    expect(world.taken.map(({ says }) => says.length)).toEqual([12, 12]);
  });
});
