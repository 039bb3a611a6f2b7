// The load generator is only worth as much as what it notices: here it meets servers that lie, each in one way.
import { createServer, type Server, type Socket } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { afterEach, describe, expect, it } from 'vitest';
import { HEADER_BYTES } from '../../src/protocol/rmp.js';
import { endBenchPrograms, LoadRun, load, startBenchServer, whyNoBenchPrograms } from '../support/bench-programs.js';

if (whyNoBenchPrograms !== undefined) console.log(`the load generator: not run: ${whyNoBenchPrograms}`);

const REQUEST = 1;
const RESPONSE = 2;
const CANCEL = 3;
const PING = 6;
const PONG = 7;
const MORE = 1;
const NTH = 20;

/** What a server does with the frames of one connection; `count` is the number of this one, from 1 on. */
type Answer = (frame: Buffer, send: (...frames: Buffer[]) => void, count: number, socket: Socket) => void;

const servers: { server: Server; sockets: Set<Socket> }[] = [];

afterEach(async () => {
  await endBenchPrograms();
  for (const { server, sockets } of servers.splice(0)) {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  }
});

/** Frames with a u32 length in front, which RMP's are as well. `count` is over all connections. */
async function serve(answer: Answer, onConnection?: (socket: Socket) => void): Promise<number> {
  const sockets = new Set<Socket>();
  let count = 0;
  const server = createServer({ noDelay: true }, (socket) => {
    let pending = Buffer.alloc(0);
    sockets.add(socket.on('close', () => sockets.delete(socket)).on('error', () => {}));
    onConnection?.(socket);
    socket.on('data', (chunk) => {
      pending = pending.length === 0 ? chunk : Buffer.concat([pending, chunk]);
      const answers: Buffer[] = [];
      while (pending.length >= 4 && pending.length >= 4 + pending.readUInt32BE(0)) {
        const end = 4 + pending.readUInt32BE(0);
        answer(pending.subarray(0, end), (...frames) => answers.push(...frames), ++count, socket);
        pending = pending.subarray(end);
      }
      if (answers.length > 0 && !socket.destroyed) socket.write(Buffer.concat(answers));
    });
  });
  servers.push({ server, sockets });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as { port: number }).port;
}

const echo: Answer = (frame, send) => send(frame);

/** The response to a request, with other fields where the test wants them. */
function respond(request: Buffer, change: { status?: number; flags?: number; payload?: Buffer; id?: number } = {}) {
  const payload = change.payload ?? request.subarray(HEADER_BYTES);
  const frame = Buffer.concat([request.subarray(0, HEADER_BYTES), payload]);
  frame.writeUInt32BE(HEADER_BYTES - 4 + payload.length, 0);
  frame[4] = RESPONSE;
  frame[5] = change.flags ?? 0;
  frame.writeUInt32BE(change.id ?? request.readUInt32BE(8), 8);
  frame.writeUInt32BE(change.status ?? 0, 12);
  return frame;
}

/** Partial responses with these numbers, then the final one. */
function stream(request: Buffer, numbers: readonly number[]): Buffer[] {
  const partials = numbers.map((number) => {
    const index = Buffer.alloc(4);
    index.writeUInt32BE(number);
    return respond(request, { flags: MORE, payload: Buffer.concat([index, request.subarray(HEADER_BYTES)]) });
  });
  return [...partials, respond(request, { payload: Buffer.alloc(0) })];
}

const flipped = (frame: Buffer, at: number): Buffer => {
  const copy = Buffer.from(frame);
  copy[at] ^= 1;
  return copy;
};

describe.skipIf(whyNoBenchPrograms !== undefined)('the load generator', () => {
  it('finds nothing wrong with an honest server', async () => {
    const port = await serve(echo);
    const report = await load(port, '--connections', 10, '--depth', 4, '--pid', process.pid);
    expect(report).toMatchObject({ status: 0, errors: 0, stderr: '' });
    expect(report.messages).toBeGreaterThan(100);
    expect(report.cpu[0].cpuUs).toBeGreaterThan(0);
    const { p50, p90, p99, p999, max } = report.latency_us;
    expect([p50, p90, p99, p999, max].toSorted((a, b) => a - b)).toEqual([p50, p90, p99, p999, max]);
    expect(p50).toBeGreaterThan(0);
  });

  it('warms up until every connection had its answers, and no longer than it may', async () => {
    let count = 0;
    // 100 connections, an answer every 2 ms or more.
    const slow: Answer = (frame, _send, _count, socket) => {
      ++count;
      setTimeout(() => socket.destroyed || socket.write(frame), 2);
    };
    const warmUp = ['--connections', 100, '--seconds', 0.05, '--warmup-answers', 20];
    const report = await load(await serve(slow), ...warmUp, '--warmup-most', 10);
    expect(report).toMatchObject({ status: 0, errors: 0 });
    expect(count - report.messages).toBeGreaterThanOrEqual(20 * 100);
    const startMs = performance.now();
    await load(await serve(slow), ...warmUp, '--warmup-answers', 100_000, '--warmup-most', 0.2);
    expect(performance.now() - startMs).toBeLessThan(5_000);
  });

  it('counts behind its gates what the server was asked while they were open, all of it and nothing else', async () => {
    let count = 0;
    const port = await serve((frame, send) => {
      ++count;
      send(frame);
    });
    const run = new LoadRun(port, ['--connections', 5, '--depth', 4, '--gate']);
    await run.line(/"warm"/);
    const before = count;
    await delay(50);
    expect(count).toBe(before);
    run.child.stdin!.write('\n');
    await run.line(/"rested"/);
    const after = count;
    await delay(50);
    expect(count).toBe(after);
    run.child.stdin!.write('\n');
    expect(await run.report).toMatchObject({ status: 0, errors: 0, messages: after - before });
  });

  describe('with answers in order', () => {
    it.each([
      { what: 'the first byte', size: 64, at: 4 },
      { what: 'the sequence', size: 64, at: 11 },
      { what: 'the last byte', size: 64, at: 67 },
      { what: 'a byte in the middle of a large payload', size: 262_144, at: 150_001 },
      { what: 'the last byte of a large payload', size: 262_144, at: 262_147 },
    ])('notices one bit changed in $what', async ({ size, at }) => {
      const port = await serve((frame, send, count) => send(count === NTH ? flipped(frame, at) : frame));
      expect(await load(port, '--size', size, '--connections', 3)).toMatchObject({ status: 1, wrong: 1, errors: 1 });
    });

    it('notices a bit changed in an answer that comes byte by byte', async () => {
      const port = await serve((frame, _send, count, socket) => {
        for (const byte of count === NTH ? flipped(frame, 40) : frame) socket.write(Buffer.of(byte));
      });
      expect(await load(port, '--connections', 2)).toMatchObject({ status: 1, wrong: 1, errors: 1 });
    });

    it('notices two answers of one connection that are swapped', async () => {
      let held: Buffer | undefined;
      const port = await serve((frame, send, count) => {
        if (count === NTH) held = Buffer.from(frame);
        else if (held !== undefined) {
          send(frame, held);
          held = undefined;
        } else send(frame);
      });
      expect(await load(port, '--connections', 1, '--depth', 4)).toMatchObject({ status: 1, wrong: 2, errors: 2 });
    });

    it('notices two connections that get the answers of each other', async () => {
      let held: { frame: Buffer; socket: Socket } | undefined;
      const port = await serve((frame, send, count, socket) => {
        if (count === NTH) held = { frame: Buffer.from(frame), socket };
        else if (held !== undefined) {
          held.socket.write(frame);
          send(held.frame);
          held = undefined;
        } else send(frame);
      });
      expect(await load(port, '--connections', 2)).toMatchObject({ status: 1, wrong: 2, errors: 2 });
    });

    it('notices an answer given twice', async () => {
      const port = await serve((frame, send, count) => (count === NTH ? send(frame, frame) : send(frame)));
      const report = await load(port, '--connections', 1);
      expect(report.status).toBe(1);
      expect(report.wrong + report.unexpected).toBeGreaterThan(0);
    });

    it('notices a second answer after the last request too', async () => {
      const port = await serve((frame, send, _count, socket) => {
        send(frame);
        // The request that the measured time ends on: nothing follows it.
        setTimeout(() => socket.write(frame), 5);
      });
      const report = await load(port, '--connections', 1, '--rate', 1, '--arrivals', 'uniform', '--seconds', 1.005);
      expect(report).toMatchObject({ status: 1, unexpected: 1 });
    });

    it('notices an answer that never comes', async () => {
      const port = await serve((frame, send, count) => (count === NTH ? undefined : send(frame)));
      expect(await load(port, '--connections', 1)).toMatchObject({ status: 1, missing: 1, errors: 1 });
    });

    it('notices a dropped answer by the one that comes in its place', async () => {
      const port = await serve((frame, send, count) => (count === NTH ? undefined : send(frame)));
      const report = await load(port, '--connections', 1, '--depth', 2);
      expect(report).toMatchObject({ status: 1, missing: 1 });
      expect(report.wrong).toBeGreaterThan(0);
    });

    it('notices an answer that is cut, and one that is too long', async () => {
      for (const change of [-1, 1]) {
        const port = await serve((frame, send, count) => {
          if (count !== NTH) return send(frame);
          const other = Buffer.concat([frame, Buffer.alloc(1)]).subarray(0, frame.length + change);
          other.writeUInt32BE(other.length - 4, 0);
          send(other);
        });
        expect(await load(port, '--connections', 3)).toMatchObject({ status: 1, wrong: 1, errors: 1 });
      }
    });

    it('notices a connection that the server closes', async () => {
      const port = await serve((frame, send, count, socket) => (count === NTH ? socket.destroy() : send(frame)));
      const report = await load(port, '--connections', 3);
      expect(report).toMatchObject({ status: 1, closed: 1, missing: 1, errors: 2 });
    });

    it('compares raw bytes where the server does not frame', async () => {
      const server = createServer({ noDelay: true }, (socket) => {
        let received = 0;
        socket
          .on('error', () => {})
          .on('data', (chunk) => {
            const at = 1_000 - received;
            received += chunk.length;
            socket.write(at >= 0 && at < chunk.length ? flipped(chunk, at) : chunk);
          });
      });
      servers.push({ server, sockets: new Set() });
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
      const { port } = server.address() as { port: number };
      expect(await load(port, '--protocol', 'raw-echo', '--connections', 1)).toMatchObject({ status: 1, wrong: 1 });
    });

    it('sends sizes as often as their weights say', async () => {
      const counts = new Map<number, number>();
      const port = await serve((frame, send) => {
        counts.set(frame.length - 4, (counts.get(frame.length - 4) ?? 0) + 1);
        send(frame);
      });
      const report = await load(port, '--connections', 10, '--depth', 8, '--size', '64:6,5000:3,70000:1');
      expect(report).toMatchObject({ status: 0, errors: 0 });
      const total = [...counts.values()].reduce((sum, count) => sum + count, 0);
      expect([...counts.keys()].toSorted((a, b) => a - b)).toEqual([64, 5_000, 70_000]);
      expect(counts.get(64)! / total).toBeGreaterThan(0.4);
      expect(counts.get(64)! / total).toBeLessThan(0.8);
      expect(counts.get(64)!).toBeGreaterThan(counts.get(5_000)!);
      expect(counts.get(5_000)!).toBeGreaterThan(counts.get(70_000)!);
    });
  });

  describe('with RMP', () => {
    const rmp = (port: number, ...args: (string | number)[]) =>
      load(port, '--protocol', 'rmp', '--connections', 2, '--depth', 4, ...args);
    const serveRmp = (answer: Answer) =>
      serve((frame, send, count, socket) => {
        if (frame[4] === REQUEST) answer(frame, send, count, socket);
      });

    it('takes answers in any order', async () => {
      let held: Buffer[] = [];
      const port = await serveRmp((frame, _send, _count, socket) => {
        held.push(respond(frame));
        if (held.length < 4) return;
        socket.write(Buffer.concat(held.toReversed()));
        held = [];
      });
      expect(await rmp(port, '--connections', 1)).toMatchObject({ status: 0, errors: 0 });
    });

    it('notices the payloads of two answers that are swapped', async () => {
      let held: Buffer | undefined;
      const port = await serveRmp((frame, send, count) => {
        if (count === NTH) {
          held = Buffer.from(frame);
        } else if (held !== undefined) {
          const [first, second] = [held, frame].map((request) => request.subarray(HEADER_BYTES));
          send(respond(held, { payload: second }), respond(frame, { payload: first }));
          held = undefined;
        } else {
          send(respond(frame));
        }
      });
      expect(await rmp(port, '--connections', 1)).toMatchObject({ status: 1, wrong: 2, errors: 2 });
    });

    it.each([
      { what: 'a response given twice', answer: (frame: Buffer) => [respond(frame), respond(frame)] },
      { what: 'a response to nobody', answer: (frame: Buffer) => [respond(frame), respond(frame, { id: 65_535 })] },
      { what: 'a frame of a kind that may not come', answer: (frame: Buffer) => [respond(frame), frame] },
    ])('notices $what', async ({ answer }) => {
      const port = await serveRmp((frame, send, count) => send(...(count === NTH ? answer(frame) : [respond(frame)])));
      const report = await rmp(port);
      expect(report.status).toBe(1);
      expect(report.unexpected).toBe(1);
    });

    it('notices an error instead of an answer, and a partial response nobody asked for', async () => {
      for (const change of [{ status: 14 }, { status: 1 }, { flags: MORE }]) {
        const port = await serveRmp((frame, send, count) => {
          if (count !== NTH) return send(respond(frame));
          send(respond(frame, change), ...(change.flags === MORE ? [respond(frame)] : []));
        });
        expect(await rmp(port)).toMatchObject({ status: 1, wrong: 1, errors: 1 });
      }
    });

    it('answers pings', async () => {
      let pongs = 0;
      const port = await serve((frame, send, count) => {
        if (frame[4] === PONG && frame.subarray(HEADER_BYTES).toString() === 'are you there') ++pongs;
        if (frame[4] !== REQUEST) return;
        const ping = respond(frame, { payload: Buffer.from('are you there') });
        ping[4] = PING;
        send(...(count === NTH ? [ping, respond(frame)] : [respond(frame)]));
      });
      expect(await rmp(port)).toMatchObject({ status: 0, errors: 0 });
      expect(pongs).toBe(1);
    });

    const streams = (port: number) => rmp(port, '--mode', 'stream', '--partials', 3);

    it('counts partial responses', async () => {
      const port = await serveRmp((frame, send) => send(...stream(frame, [0, 1, 2])));
      const report = await streams(port);
      expect(report).toMatchObject({ status: 0, errors: 0 });
      expect(report.partials).toBeGreaterThanOrEqual(3 * report.messages - 3 * 8);
    });

    it.each([
      { what: 'partial responses out of order', numbers: [0, 2, 1] },
      { what: 'a partial response that is missing', numbers: [0, 1] },
      { what: 'a partial response too many', numbers: [0, 1, 2, 3] },
      { what: 'a partial response given twice', numbers: [0, 0, 1, 2] },
    ])('notices $what', async ({ numbers }) => {
      const port = await serveRmp((frame, send, count) => send(...stream(frame, count === NTH ? numbers : [0, 1, 2])));
      expect(await streams(port)).toMatchObject({ status: 1, wrong: 1, errors: 1 });
    });

    it('notices a bit changed in a partial response', async () => {
      const port = await serveRmp((frame, send, count) => {
        const [first, second, ...rest] = stream(frame, [0, 1, 2]);
        send(first, count === NTH ? flipped(second, second.length - 1) : second, ...rest);
      });
      expect(await streams(port)).toMatchObject({ status: 1, wrong: 1, errors: 1 });
    });

    const cancels = (port: number) => rmp(port, '--mode', 'cancel');
    const cancelled = (frame: Buffer) => respond(frame, { status: 1, payload: Buffer.alloc(0) });

    it('cancels each request and takes CANCELLED or the answer', async () => {
      let cancelFrames = 0;
      const port = await serve((frame, send) => {
        if (frame[4] === CANCEL) ++cancelFrames;
        else send(frame.readUInt32BE(8) % 2 === 0 ? respond(frame) : cancelled(frame));
      });
      const report = await cancels(port);
      expect(report).toMatchObject({ status: 0, errors: 0 });
      expect(report.cancelled + report.answered).toBe(report.messages);
      expect(report.cancelled).toBeGreaterThan(0);
      expect(report.answered).toBeGreaterThan(0);
      expect(cancelFrames).toBeGreaterThanOrEqual(report.messages);
    });

    it('notices a cancelled request that gets two final responses, or none', async () => {
      const twice = await serveRmp((frame, send, count) =>
        send(cancelled(frame), ...(count % NTH === 1 ? [respond(frame)] : [])),
      );
      expect((await cancels(twice)).unexpected).toBeGreaterThan(0);
      const never = await serveRmp((frame, send, count) => (count === NTH + 1 ? undefined : send(cancelled(frame))));
      expect(await cancels(never)).toMatchObject({ status: 1, missing: 1, errors: 1 });
    });
  });

  describe('in an open loop', () => {
    const STALL_MS = 200;
    /** Stops the whole server, once. */
    const stop = () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, STALL_MS);
    const open = ['--connections', 4, '--rate', 1_000];

    it('sends at the rate it was asked for', async () => {
      const port = await serve(echo);
      for (const kind of ['poisson', 'uniform']) {
        const report = await load(port, ...open, '--arrivals', kind, '--seconds', 0.5);
        expect(report).toMatchObject({ status: 0, errors: 0 });
        expect(report.arrivals).toBeGreaterThan(400);
        expect(report.arrivals).toBeLessThan(600);
      }
    });

    it('counts what waited behind a stall of the server', async () => {
      const port = await serve((frame, send, count) => {
        if (count === 50) stop();
        send(frame);
      });
      const report = await load(port, ...open, '--seconds', 1);
      expect(report).toMatchObject({ status: 0, errors: 0 });
      expect(report.latency_us.max).toBeGreaterThan(0.9 * STALL_MS * 1_000);
      expect(report.latency_us.p999).toBeGreaterThan(0.9 * STALL_MS * 1_000);
      // About 200 of 1,000 requests became due meanwhile, so that one in ten waited for half of it.
      expect(report.latency_us.p90).toBeGreaterThan(0.25 * STALL_MS * 1_000);
    });

    it('counts what waited behind --depth in the generator', async () => {
      const port = await serve((frame, send, count) => {
        if (count === 50) stop();
        send(frame);
      });
      const report = await load(port, ...open, '--seconds', 1, '--depth', 1);
      expect(report).toMatchObject({ status: 0, errors: 0 });
      expect(report.arrivals).toBeGreaterThan(800);
      expect(report.latency_us.p90).toBeGreaterThan(0.25 * STALL_MS * 1_000);
    });

    it('counts a stall that lasts beyond the measured time', async () => {
      const port = await serve((frame, send, count) => {
        if (count === 400) stop();
        send(frame);
      });
      const report = await load(port, ...open, '--seconds', 0.5);
      expect(report).toMatchObject({ status: 0, errors: 0 });
      expect(report.latency_us.max).toBeGreaterThan(0.9 * STALL_MS * 1_000);
      expect(report.messages).toBeLessThan(report.arrivals);
    });

    it('says how late it was itself, and counts that too', async () => {
      let reached = () => {};
      const halfway = new Promise<void>((resolve) => (reached = resolve));
      const port = await serve((frame, send, count) => {
        if (count === 50) reached();
        send(frame);
      });
      const run = new LoadRun(port, [...open, '--seconds', 1]);
      await halfway;
      run.child.kill('SIGSTOP');
      await delay(STALL_MS);
      run.child.kill('SIGCONT');
      const report = await run.report;
      expect(report).toMatchObject({ status: 0, errors: 0 });
      expect(report.lateness_us.max).toBeGreaterThan(0.8 * STALL_MS * 1_000);
      expect(report.latency_us.max).toBeGreaterThan(0.8 * STALL_MS * 1_000);
      expect(report.arrivals).toBeGreaterThan(800);
    });
  });

  describe('with new connections', () => {
    it('opens, asks, closes and counts', async () => {
      let opened = 0;
      let ended = 0;
      const port = await serve(echo, (socket) => {
        ++opened;
        socket.on('end', () => ++ended);
      });
      const report = await load(port, '--mode', 'churn', '--connections', 5, '--depth', 2);
      expect(report).toMatchObject({ status: 0, errors: 0 });
      expect(report.connects).toBeGreaterThan(10);
      expect(opened).toBeGreaterThanOrEqual(report.connects);
      expect(ended).toBeGreaterThanOrEqual(report.connects);
      expect(report.messages).toBeGreaterThanOrEqual(2 * report.connects - 10);
    });

    it('notices a connection that is closed without an answer, and a wrong answer', async () => {
      const closing = await serve((frame, send, count, socket) => (count === NTH ? socket.destroy() : send(frame)));
      const churn = ['--mode', 'churn', '--connections', 3];
      expect(await load(closing, ...churn)).toMatchObject({ status: 1, closed: 1, missing: 1 });
      const lying = await serve((frame, send, count) => send(count === NTH ? flipped(frame, 30) : frame));
      expect(await load(lying, ...churn)).toMatchObject({ status: 1, wrong: 1, errors: 1 });
    });

    it('holds idle connections beside the busy ones, and notices when one is closed', async () => {
      const sockets: Socket[] = [];
      const busy = new Set<Socket>();
      const echoBusy: Answer = (frame, send, _count, socket) => {
        busy.add(socket);
        send(frame);
      };
      const port = await serve(echoBusy, (socket) => sockets.push(socket));
      expect(await load(port, '--idle', 20, '--connections', 3)).toMatchObject({ status: 0, errors: 0 });
      expect(sockets.length).toBe(23);
      expect(busy.size).toBe(3);

      const closing = await serve(
        (frame, send, count) => {
          if (count === NTH) sockets[0].destroy();
          send(frame);
        },
        (socket) => sockets.push(socket),
      );
      sockets.length = 0;
      expect(await load(closing, '--idle', 20, '--connections', 3)).toMatchObject({ status: 1, closed: 1, errors: 1 });
    });
  });

  it('says what is wrong with its arguments', async () => {
    for (const args of [
      ['--size', '64:0'],
      ['--size', '7'],
      ['--mode', 'stream'],
      ['--mode', 'churn', '--rate', 5],
      ['--gate', '--mode', 'churn'],
      ['--what', 1],
    ]) {
      await expect(load(1, ...args)).rejects.toThrow(/exit status 2/);
    }
  });
});

describe.skipIf(whyNoBenchPrograms !== undefined)('the echo backend', () => {
  const backend = async (...args: (string | number)[]) => {
    const started = await startBenchServer('ringway-echo-backend', '--protocol', 'rmp', ...args);
    if (typeof started === 'string') throw new Error(started);
    return started.port;
  };

  it('streams', async () => {
    const report = await load(await backend('--partials', 100), '--protocol', 'rmp', '--mode', 'stream', '--depth', 2);
    expect(report).toMatchObject({ status: 0, errors: 0 });
  });

  it('answers late, and a cancel at once', async () => {
    const port = await backend('--delay-ms', 100);
    const waiting = await load(port, '--protocol', 'rmp', '--depth', 4);
    expect(waiting).toMatchObject({ status: 0, errors: 0 });
    expect(waiting.latency_us.p50).toBeGreaterThan(90_000);
    const cancelling = await load(port, '--protocol', 'rmp', '--mode', 'cancel', '--depth', 4);
    expect(cancelling).toMatchObject({ status: 0, errors: 0, answered: 0 });
    expect(cancelling.cancelled).toBe(cancelling.messages);
  });
});
