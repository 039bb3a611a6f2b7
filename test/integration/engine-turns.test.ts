// What one connection, and all together, may take of one turn, so that the others and Node's loop get theirs. The portable engine
// reads what node:net gives it, 64 KB at a time.
import { expect, test } from 'vitest';
import type { Connection } from '../../src/engine/engine.js';
import { ENGINE_LIMITS } from '../../src/engine/tables.gen.js';
import { describeEngines, useEngine } from '../support/engines.js';
import { lengthFraming, Recorder } from '../support/recorder.js';
import { lengthPrefixed, TcpPeerServer } from '../support/tcp-peer.js';

/** Counts frames between two ends of a batch: the most of one connection, and of all. */
class TurnCounter extends Recorder {
  mostOfOne = 0;
  mostBytesOfOne = 0;
  mostOfAll = 0;
  received = 0;
  readonly #turn = new Map<Connection, { frames: number; bytes: number }>();

  override frame(connection: Connection, _bytes: Uint8Array, start: number, end: number): void {
    const of = this.#turn.get(connection) ?? { frames: 0, bytes: 0 };
    of.frames++;
    of.bytes += end - start;
    this.received++;
    this.#turn.set(connection, of);
  }

  override batchEnd(): void {
    const all = [...this.#turn.values()];
    this.mostOfOne = Math.max(this.mostOfOne, ...all.map(({ frames }) => frames));
    this.mostBytesOfOne = Math.max(this.mostBytesOfOne, ...all.map(({ bytes }) => bytes));
    this.mostOfAll = Math.max(
      this.mostOfAll,
      all.reduce((sum, { frames }) => sum + frames, 0),
    );
    this.#turn.clear();
    this.changes.notify();
  }
}

const FRAMES = 20_000;
const many = (frame: Buffer, count: number): Buffer => Buffer.concat(Array.from({ length: count }, () => frame));

describeEngines('engine: turns', (driver, run) => {
  const fixture = useEngine(run);
  const native = driver !== 'portable';

  async function taken(frame: Buffer, count: number, peers = 1): Promise<TurnCounter> {
    const counter = new TurnCounter();
    const listener = await fixture.engine.listen({ port: 0, framing: lengthFraming }, counter);
    const bytes = many(frame, count);
    for (let i = 0; i < peers; i++) (await fixture.peer(listener)).write(bytes);
    await counter.changes.until('all frames came', () => counter.received === count * peers);
    return counter;
  }

  test('creditFrames: an accepted connection delivers at most so many frames in a turn', async () => {
    const counter = await taken(lengthPrefixed('x'), FRAMES);
    if (native) expect(counter.mostOfOne).toBeLessThanOrEqual(ENGINE_LIMITS.creditFrames);
    expect(counter.received).toBe(FRAMES);
  });

  test('creditBytes: and at most so many bytes, and the frame that passes them', async () => {
    const counter = await taken(lengthPrefixed(Buffer.alloc(10_000)), 500);
    if (native) expect(counter.mostBytesOfOne).toBeLessThan(ENGINE_LIMITS.creditBytes + 10_000);
    expect(counter.received).toBe(500);
  });

  test('outgoingCreditFrames, outgoingCreditBytes: one that was connected has more', async () => {
    const server = await TcpPeerServer.listen();
    fixture.cleanUp(() => server.destroy());
    const counter = new TurnCounter();
    const where = { ...(server.address as { host: string; port: number }), framing: lengthFraming };
    fixture.engine.connect(where, counter);
    const peer = await server.peer();
    peer.write(many(lengthPrefixed('x'), FRAMES));
    await counter.changes.until('all frames came', () => counter.received === FRAMES);
    if (native) expect(counter.mostOfOne).toBeLessThanOrEqual(ENGINE_LIMITS.outgoingCreditFrames);
    peer.write(many(lengthPrefixed(Buffer.alloc(10_000)), 500));
    await counter.changes.until('all long frames came', () => counter.received === FRAMES + 500);
    if (native) expect(counter.mostBytesOfOne).toBeLessThan(ENGINE_LIMITS.outgoingCreditBytes + 10_000);
  });

  test('drainFrames: JavaScript takes at most so many of all connections before it lets the loop turn', async () => {
    const counter = await taken(lengthPrefixed('x'), 200, 200);
    if (native) expect(counter.mostOfAll).toBeLessThanOrEqual(ENGINE_LIMITS.drainFrames);
    expect(counter.received).toBe(200 * 200);
  });
});
