/**
 * One engine, opened and used for long: `leak-run.js --engine E --reactors N --connections C --messages M`. Connections are opened
 * and closed in turn in every way, then messages are echoed. Prints one line of JSON: what the process holds before and after.
 */
import { readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import type { Connection, DriverName, Engine, Handler } from '../../src/engine/engine.js';
import { createEngine } from '../../src/engine/select-engine.js';
import { settled } from './held.js';

const { values } = parseArgs({
  options: {
    engine: { type: 'string', default: 'epoll' },
    reactors: { type: 'string', default: '0' },
    connections: { type: 'string', default: '10000' },
    messages: { type: 'string', default: '100000' },
  },
});

/** Open at once. */
const WIDTH = 64;
const FRAMING = { format: 'length-field', initialBytesToStrip: 4 } as const;
const FRAME = Buffer.from([0, 0, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]);
/** Messages in flight on each of as many connections. */
const DEPTH = 64;
const STREAMS = 16;

function openOf(engine: Engine): number {
  const { accepted, connects, closed } = engine.counters();
  return accepted + connects - closed;
}

let largestId = 0;

/** Unix sockets for those that end in order: a TCP port would be kept for a minute. TCP for resets. */
function churn(engine: Engine, path: string, port: number, count: number): Promise<void> {
  return new Promise((resolve) => {
    let opened = 0;
    let ended = 0;
    const handler: Handler = {
      open: (connection) => {
        largestId = Math.max(largestId, connection.id);
        connection.send(FRAME);
      },
      frame: (connection) => {
        const way = connection.context as number;
        if (way === 0) connection.close();
        else if (way === 1) connection.shutdown();
        else connection.abort();
      },
      end: (connection) => connection.close(),
      close: () => {
        ended++;
        if (opened < count) start();
        else if (ended === count) resolve();
      },
    };
    const start = () => {
      const way = opened++ % 3;
      const address = way === 2 ? { host: '127.0.0.1', port } : { path };
      engine.connect({ ...address, framing: FRAMING }, handler).context = way;
    };
    for (let i = 0; i < Math.min(WIDTH, count); i++) start();
  });
}

function exchange(engine: Engine, path: string, count: number): Promise<void> {
  return new Promise((resolve, reject) => {
    let sent = 0;
    let received = 0;
    const open: Connection[] = [];
    const send = (connection: Connection) => {
      sent++;
      connection.send(FRAME);
    };
    const handler: Handler = {
      open: (connection) => {
        open.push(connection);
        for (let i = 0; i < DEPTH && sent < count; i++) send(connection);
      },
      frame: (connection) => {
        received++;
        if (sent < count) send(connection);
        if (received === count) for (const each of open) each.close();
      },
      close: (connection) => {
        open.splice(open.indexOf(connection), 1);
        if (received < count) reject(new Error(`a connection ended after ${received} of ${count} messages`));
        else if (open.length === 0) resolve();
      },
    };
    for (let i = 0; i < STREAMS; i++) engine.connect({ path, framing: FRAMING }, handler);
  });
}

const engine = createEngine({ kind: values.engine as DriverName, reactors: Number(values.reactors) });
const echo: Handler = {
  open: (connection) => {
    largestId = Math.max(largestId, connection.id);
  },
  frame: (connection, bytes, start, end) => {
    connection.sendFrame(FRAME, 4, bytes, start, end);
  },
};
const path = join(tmpdir(), `ringway-leaks-${process.pid}.sock`);
await engine.listen({ path, framing: FRAMING }, echo);
const listener = await engine.listen({ host: '127.0.0.1', port: 0, framing: FRAMING }, echo);
const { port } = listener.address as { port: number };

// What grows once and stays (pools, tables, compiled code) is there before the first look.
await churn(engine, path, port, Math.min(20_000, Number(values.connections)));
await exchange(engine, path, Math.min(200_000, Number(values.messages)));
const before = await settled(() => openOf(engine));
const startMs = performance.now();
await churn(engine, path, port, Number(values.connections));
await exchange(engine, path, Number(values.messages));
const seconds = Math.round((performance.now() - startMs) / 100) / 10;
const after = await settled(() => openOf(engine));
const counters = engine.counters();
await engine.close();
const { name, reactors } = engine;
console.log(
  JSON.stringify({
    engine: name,
    reactors,
    seconds,
    before,
    after,
    largestId,
    fdsAtEnd: readdirSync('/proc/self/fd').length,
    stale: counters.stale_completions,
  }),
);
