// What a client that does wrong gets, over each protocol and on each engine: an end with a reason, a line in the log and a count.
import { expect, test } from 'vitest';
import type { CounterName } from '../../src/engine/tables.gen.js';
import type { ClientProtocol } from '../../src/gateway/options.js';
import { Flag, Kind } from '../../src/protocol/rmp.js';
import { startBadInput } from '../support/bad-input.js';
import { describeEngines, useEngine } from '../support/engines.js';
import { rmpFrame } from '../support/rmp-peer.js';
import { lengthPrefixed } from '../support/tcp-peer.js';

const MOST = 1_000;
const PROTOCOLS = ['rmp', 'plain', 'lines'] as const;

interface Row {
  readonly protocol: ClientProtocol;
  readonly what: string;
  readonly bytes: Buffer;
  /** FIN follows the bytes. */
  readonly fin?: boolean;
  readonly reason: string;
  readonly message: RegExp;
  readonly counter?: CounterName;
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value >>> 0);
  return bytes;
}

const request = (payload: string, parts = {}) => rmpFrame({ kind: Kind.request, route: 1, id: 1, payload, ...parts });
const hello = Buffer.from('000100000001010000000000000020', 'hex').subarray(0, 14);

const tooLong = { reason: 'frame-too-long', counter: 'frames_too_long' } as const;
const bad = { reason: 'bad-frame', counter: 'bad_frames' } as const;
const broken = { reason: 'protocol-error' } as const;

const ROWS: readonly Row[] = [
  {
    protocol: 'rmp',
    what: 'the largest length',
    bytes: u32(0xffff_ffff),
    ...tooLong,
    message: /over maxFrameLength 1000/,
  },
  {
    protocol: 'rmp',
    what: 'the largest signed length',
    bytes: u32(0x7fff_ffff),
    ...tooLong,
    message: /2147483635 bytes/,
  },
  { protocol: 'rmp', what: 'one byte too many', bytes: u32(12 + MOST + 1), ...tooLong, message: /1001 bytes .* 1000/ },
  {
    protocol: 'rmp',
    what: 'HTTP',
    bytes: Buffer.from('GET / HTTP/1.1\r\n\r\n'),
    ...tooLong,
    message: /maxFrameLength/,
  },
  {
    protocol: 'rmp',
    what: 'TLS',
    bytes: Buffer.from('16030100f8010000f403', 'hex'),
    ...tooLong,
    message: /maxFrameLength/,
  },
  { protocol: 'rmp', what: 'length 0', bytes: u32(0), ...bad, message: /malformed frame/ },
  { protocol: 'rmp', what: 'length 11', bytes: u32(11), ...bad, message: /malformed frame/ },
  {
    protocol: 'rmp',
    what: 'a truncated frame',
    bytes: request('whole').subarray(0, 18),
    fin: true,
    reason: 'truncated-frame',
    message: /in the middle of a frame/,
  },
  { protocol: 'rmp', what: 'kind 0', bytes: rmpFrame({ kind: 0 }), ...broken, message: /unknown kind 0/ },
  { protocol: 'rmp', what: 'kind 127', bytes: rmpFrame({ kind: 127 }), ...broken, message: /unknown kind 127/ },
  {
    protocol: 'rmp',
    what: 'an id in flight',
    bytes: Buffer.concat([request('a', { route: 0 }), request('b', { route: 0 })]),
    ...broken,
    message: /id 1, which is still in flight/,
  },
  {
    protocol: 'rmp',
    what: 'malformed meta',
    bytes: request('xx', { flags: Flag.meta }),
    ...broken,
    message: /malformed meta/,
  },
  {
    protocol: 'rmp',
    what: 'meta that ends past the payload',
    bytes: request('\0\u0004\u0002\0\u0009', { flags: Flag.meta }),
    ...broken,
    message: /malformed meta/,
  },
  {
    protocol: 'rmp',
    what: 'a short hello',
    bytes: rmpFrame({ kind: Kind.hello, payload: hello.subarray(0, 13) }),
    ...broken,
    message: /malformed hello/,
  },
  {
    protocol: 'rmp',
    what: 'a hello of version 0',
    bytes: rmpFrame({ kind: Kind.hello, payload: Buffer.alloc(14) }),
    ...broken,
    message: /malformed hello/,
  },
  {
    protocol: 'rmp',
    what: 'a second hello',
    bytes: Buffer.concat([1, 2].map(() => rmpFrame({ kind: Kind.hello, payload: hello }))),
    ...broken,
    message: /not its first frame/,
  },
  { protocol: 'plain', what: 'the largest length', bytes: u32(-1), ...tooLong, message: /4294967295 bytes .* 1000/ },
  {
    protocol: 'plain',
    what: 'the smallest signed length',
    bytes: u32(-(2 ** 31)),
    ...tooLong,
    message: /2147483648 bytes/,
  },
  { protocol: 'plain', what: 'one byte too many', bytes: u32(MOST + 1), ...tooLong, message: /1001 bytes .* 1000/ },
  {
    protocol: 'plain',
    what: 'a truncated frame',
    bytes: lengthPrefixed('whole').subarray(0, 7),
    fin: true,
    reason: 'truncated-frame',
    message: /in the middle of a frame/,
  },
  {
    protocol: 'plain',
    what: 'a truncated header',
    bytes: Buffer.from([0, 0]),
    fin: true,
    reason: 'truncated-frame',
    message: /in the middle of a frame/,
  },
  {
    protocol: 'lines',
    what: 'a line without an end',
    bytes: Buffer.alloc(MOST * 3, 'x'),
    ...tooLong,
    message: /over maxFrameLength 1000/,
  },
  {
    protocol: 'lines',
    what: 'a line one byte too long',
    bytes: Buffer.from(`${'x'.repeat(MOST + 1)}\n`),
    ...tooLong,
    message: /over maxFrameLength 1000/,
  },
];

describeEngines('bad input from clients', (_driver, run) => {
  const fixture = useEngine(run);

  test.each(ROWS)('$protocol: $what', async ({ protocol, bytes, fin, reason, message, counter }) => {
    const world = await startBadInput(fixture, { listener: { maxFrameLength: MOST } });
    await world.link();
    await world.begin(PROTOCOLS);
    const peer = await world.peer(protocol);
    peer.write(bytes);
    if (fin === true) peer.fin();
    await peer.end();
    peer.fin();
    await world.closed(reason);
    await world.logged(reason === 'protocol-error' ? 'client.protocol-error' : 'client.closed', {
      [reason === 'protocol-error' ? 'what' : 'message']: expect.stringMatching(message),
    });
    if (counter !== undefined) await world.counted(counter);
    expect(world.gateway.stats().events.protocol_errors).toBe(reason === 'protocol-error' ? 1 : 0);
    await peer.close();
    await world.unharmed();
  });
});
