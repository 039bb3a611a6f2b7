// Clients that speak plain or lines: answered in the order of their requests. On the fake engine.
import { describe, expect, test } from 'vitest';
import { Status } from '../../src/engine/tables.gen.js';
import type { ListenerConfig } from '../../src/gateway/options.js';
import { limits } from '../../src/limits.js';
import { encodeHello } from '../../src/protocol/hello.js';
import { encodeMeta } from '../../src/protocol/meta.js';
import { Flag, Kind } from '../../src/protocol/rmp.js';
import { encodeFrame, GatewayWorld, type WorldOptions } from '../support/gateway-world.js';
import type { FakePeer } from '../support/fake-engine.js';

function plain(text: string): Buffer {
  const frame = Buffer.alloc(4 + text.length);
  frame.writeUInt32BE(text.length);
  frame.write(text, 4, 'latin1');
  return frame;
}

function takePlain(peer: FakePeer): string[] {
  const texts: string[] = [];
  while (peer.received.length >= 4) {
    const length = peer.received.readUInt32BE();
    texts.push(peer.received.toString('latin1', 4, 4 + length));
    peer.received = peer.received.subarray(4 + length);
  }
  return texts;
}

function takeText(peer: FakePeer): string {
  const text = peer.received.toString();
  peer.received = Buffer.alloc(0);
  return text;
}

function start(protocol: 'plain' | 'lines', listener: Partial<ListenerConfig> = {}, options: WorldOptions = {}) {
  return GatewayWorld.start({ ...options, listeners: [{ protocol, ...listener }] });
}

describe.each(['plain', 'lines'] as const)('%s client', (protocol) => {
  const encode = (text: string) => (protocol === 'plain' ? plain(text) : Buffer.from(`${text}\n`));
  const take = (peer: FakePeer) => (protocol === 'plain' ? takePlain(peer) : takeText(peer).split('\n').slice(0, -1));

  test('answers come in request order, whatever order the backends answer in', async () => {
    const world = await start(protocol);
    const client = world.client();
    world.send(client, ...['a', 'b', 'c', 'd'].map(encode));
    const [a, b, c, d] = world.requests();
    expect([a, b, c, d].map(({ frame }) => frame.payload.toString())).toEqual(['a', 'b', 'c', 'd']);
    world.echo([c, b]);
    expect(take(client)).toEqual([]);
    world.echo([a]);
    expect(take(client)).toEqual(['a', 'b', 'c']);
    world.echo([d]);
    expect(take(client)).toEqual(['d']);
    expect(world.stats).toMatchObject({ open: 0, outcomes: { answered: 4 } });
  });

  test('partial responses are put together, meta is stripped', async () => {
    const world = await start(protocol);
    const client = world.client();
    world.send(client, encode('1'), encode('2'));
    const [one, two] = world.requests();
    const meta = encodeMeta({ tenant: 'x' });
    const part = (id: number, flags: number, ...payload: Uint8Array[]) => ({
      kind: Kind.response,
      id,
      flags,
      payload: Buffer.concat(payload),
    });
    world.send(two.peer, part(two.frame.id, Flag.more | Flag.meta, meta, Buffer.from('x')));
    world.send(
      one.peer,
      part(one.frame.id, Flag.more, Buffer.from('a')),
      part(one.frame.id, Flag.more, Buffer.from('b')),
    );
    world.send(two.peer, part(two.frame.id, 0, Buffer.from('y')));
    world.send(one.peer, part(one.frame.id, Flag.meta, meta, Buffer.from('c')));
    expect(take(client)).toEqual(['abc', 'xy']);
  });

  test('a failed request is answered in its place with errorReply text', async () => {
    const world = await start(protocol, { errorReply: 'text' });
    const client = world.client();
    world.send(client, encode('1'), encode('2'), encode('3'));
    const [one, two, three] = world.requests();
    world.send(two.peer, {
      kind: Kind.response,
      id: two.frame.id,
      arg: Status.INVALID_ARGUMENT,
      payload: 'no such word',
    });
    world.echo([three, one]);
    expect(take(client)).toEqual(['1', 'ERR INVALID_ARGUMENT no such word', '3']);
    expect(client.gone).toBe(false);
  });

  test('a failed request closes the connection in its turn, with a logged reason', async () => {
    const world = await start(protocol, { errorReply: 'close' });
    const client = world.client();
    world.send(client, encode('1'), encode('2'), encode('3'));
    const [one, two, three] = world.requests();
    world.send(two.peer, { kind: Kind.response, id: two.frame.id, arg: Status.INTERNAL, payload: 'broken' });
    expect(client.gone).toBe(false);
    world.echo([one]);
    expect(take(client)).toEqual(['1']);
    expect(client.gone).toBe(true);
    expect(world.logs).toContainEqual(
      expect.objectContaining({
        event: 'client.request-failed',
        fields: expect.objectContaining({ status: 'INTERNAL', message: 'INTERNAL broken' }),
      }),
    );
    expect(world.received().map(({ frame }) => [frame.kind, frame.id])).toEqual([[Kind.cancel, three.frame.id]]);
    expect(world.stats).toMatchObject({ open: 0, closeReasons: { 'request-failed': 1 } });
  });

  test('FIN: what is open is answered, then the connection closes', async () => {
    const world = await start(protocol);
    const client = world.client();
    client.send(encode('1'), encode('2'));
    client.fin();
    world.engine.settle();
    expect(client.gone).toBe(false);
    world.echo(world.requests());
    expect(take(client)).toEqual(['1', '2']);
    expect(client.sawFin).toBe(true);
  });

  test('FIN with nothing open closes at once', async () => {
    const world = await start(protocol);
    const client = world.client();
    client.fin();
    world.engine.settle();
    expect(client.sawFin).toBe(true);
  });

  test('RST cancels', async () => {
    const world = await start(protocol);
    const client = world.client();
    world.send(client, encode('1'), encode('2'));
    const [, two] = world.requests();
    world.echo([two]);
    client.rst();
    world.engine.settle();
    expect(world.received().map(({ frame }) => frame.kind)).toEqual([Kind.cancel]);
    expect(world.stats).toMatchObject({ open: 0, outcomes: { answered: 1, cancelled: 1 } });
  });

  test('a full queue stops reading instead of refusing, and nothing is lost', async () => {
    const world = await start(protocol, { maxQueuedPerClient: 5 }, { down: true });
    const client = world.client();
    for (let i = 0; i < 20; i++) world.send(client, encode(String(i)));
    expect(world.stats.queued).toBe(5);
    expect(world.stats.outcomes.refused).toBe(0);
    world.server().down = false;
    world.engine.advance(500);
    for (let round = 0; round < 20; round++) world.echo(world.requests());
    expect(take(client)).toEqual(Array.from({ length: 20 }, (_, i) => String(i)));
  });

  test('the queue of all full: reading stops and goes on when there is room', async () => {
    const world = await start(protocol, { maxQueuedPerClient: 50 }, { down: true, config: { maxQueuedTotal: 10 } });
    const [a, b] = [world.client(), world.client()];
    for (let i = 0; i < 20; i++) {
      world.send(a, encode(`a${i}`));
      world.send(b, encode(`b${i}`));
    }
    // One read's worth of overshoot for each client that had to be stopped.
    expect(world.stats.queued).toBeLessThanOrEqual(12);
    world.server().down = false;
    world.engine.advance(500);
    for (let round = 0; round < 40; round++) world.echo(world.requests());
    expect(take(a)).toHaveLength(20);
    expect(take(b)).toHaveLength(20);
  });

  test('who was stopped by the queue of all is not read again because one of its own tasks left it', async () => {
    const options = { pools: [{ maxInFlight: 1 }], config: { maxQueuedTotal: 10 } };
    const world = await start(protocol, { maxQueuedPerClient: 100 }, options);
    const client = world.client();
    const twenty = Buffer.concat(Array.from({ length: 20 }, (_, i) => encode(String(i))));
    client.send(twenty);
    client.send(twenty);
    world.engine.settle();
    expect(world.stats.queued).toBeGreaterThan(10);
    const queued = world.stats.queued;
    world.echo(world.requests());
    expect(world.stats.queued).toBe(queued - 1);
    for (let round = 0; round < 40; round++) world.echo(world.requests());
    expect(take(client)).toHaveLength(40);
  });

  // The answer to the first makes room for the second, which fails and closes the client, while the third looks for a place.
  test('a client that is closed while its newest request is queued leaves nothing behind', async () => {
    for (let seed = 1; seed <= 20; seed++) {
      const options = { seed, pools: [{ maxInFlight: 1 }], config: { maxQueuedTotal: 1 } };
      const world = await start(protocol, { errorReply: 'close' }, options);
      const hello = encodeHello({ features: 0, maxFrameLength: 5, streamWindow: 0 });
      world.send(world.server().peer, encodeFrame({ kind: Kind.hello, payload: hello }));
      const client = world.client();
      world.send(client, encode('short'));
      world.send(client, encode('too long'));
      const [{ peer, frame }] = world.requests();
      peer.send(encodeFrame({ kind: Kind.response, id: frame.id }));
      client.send(encode('third'));
      world.engine.settle();
      expect(client.gone).toBe(true);
      expect(world.stats).toMatchObject({ queued: 0, open: 0 });
      expect(world.requests()).toEqual([]);
      expect(world.conserved()).toBe(true);
    }
  });

  test('no more than maxPipelined are unanswered', async () => {
    const world = await start(protocol, {}, { pools: [{ maxInFlight: 10_000 }] });
    const client = world.client();
    for (let i = 0; i < limits.maxPipelined + 100; i++) world.send(client, encode(String(i)));
    expect(world.stats.open).toBe(limits.maxPipelined);
    const requests = world.requests();
    world.echo(requests);
    world.echo(world.requests());
    expect(take(client)).toHaveLength(limits.maxPipelined + 100);
  });

  test('the deadline of the pool holds, in order', async () => {
    const world = await start(protocol, { errorReply: 'text' }, { pools: [{ deadlineMs: 500 }] });
    const client = world.client();
    world.send(client, encode('1'));
    world.engine.advance(300);
    world.send(client, encode('2'));
    const requests = world.requests();
    world.echo([requests[1]]);
    world.engine.advance(300);
    expect(take(client)).toEqual(['ERR DEADLINE_EXCEEDED the deadline passed before the backend answered', '2']);
  });
});

describe('lines', () => {
  test('LF and CR inside an answer become spaces, a CR before LF is dropped, a last line without LF counts', async () => {
    const world = await start('lines');
    const client = world.client();
    client.send(Buffer.from('one\r\ntwo'));
    client.fin();
    world.engine.settle();
    const requests = world.requests();
    expect(requests.map(({ frame }) => frame.payload.toString())).toEqual(['one', 'two']);
    for (const { peer, frame } of requests.reverse()) {
      world.send(peer, { kind: Kind.response, id: frame.id, payload: `${frame.payload}\r\nmore\n` });
    }
    expect(takeText(client)).toBe('one  more \ntwo  more \n');
    expect(client.sawFin).toBe(true);
  });

  test('errors are text by default', async () => {
    const world = await start('lines', { route: 9 });
    const client = world.client();
    world.send(client, Buffer.from('x\n'));
    expect(takeText(client)).toBe('ERR NOT_FOUND no such route\n');
  });
});

describe('plain', () => {
  test('partial responses together longer than one answer may be end the request', async () => {
    const world = await start('plain', { errorReply: 'text' });
    const client = world.client();
    world.send(client, plain('x'));
    const [{ frame, peer }] = world.requests();
    const part = { kind: Kind.response, id: frame.id, flags: Flag.more, payload: Buffer.alloc(9_000_000) };
    world.send(peer, part);
    world.send(peer, part);
    expect(takePlain(client)).toEqual([expect.stringMatching(/^ERR RESOURCE_EXHAUSTED /)]);
    expect(world.received().map((received) => received.frame.kind)).toEqual([Kind.cancel]);
  });

  test('the final response counts too, without its meta', async () => {
    const world = await start('plain', { errorReply: 'text' });
    const client = world.client();
    const meta = encodeMeta({ tenant: 't' });
    const half = limits.maxConcatenatedBytes / 2;
    for (const surplus of [0, 1]) {
      world.send(client, plain('x'));
      const [{ frame, peer }] = world.requests();
      const part = { kind: Kind.response, id: frame.id, flags: Flag.more, payload: Buffer.alloc(half) };
      const last = Buffer.concat([meta, Buffer.alloc(half + surplus)]);
      world.send(peer, part, { ...part, flags: Flag.meta, payload: last });
    }
    const [whole, refusal] = takePlain(client);
    expect(whole).toHaveLength(limits.maxConcatenatedBytes);
    expect(refusal).toMatch(/^ERR RESOURCE_EXHAUSTED /);
    expect(world.stats).toMatchObject({ open: 0, outcomes: { answered: 1, failed: 1 } });
    expect(world.conserved()).toBe(true);
  });

  test('what happens to such clients is counted: parts passed on, pauses, connections closed for a failure', async () => {
    const world = await start('plain', { errorReply: 'close', maxQueuedPerClient: 1 }, { pools: [{ maxInFlight: 1 }] });
    const client = world.client();
    world.send(client, plain('x'), plain('y'), plain('z'));
    const [{ frame, peer }] = world.requests();
    world.send(peer, { kind: Kind.response, id: frame.id, flags: Flag.more });
    world.send(peer, { kind: Kind.response, id: frame.id, arg: Status.INTERNAL });
    expect(client.gone).toBe(true);
    expect(world.stats.events).toMatchObject({ partial_responses: 1, client_pauses: 1, failures_closed: 1 });
  });

  test('a stream of tiny partial responses is bounded by what it costs, not by its bytes', async () => {
    const world = await start('plain', { errorReply: 'text' });
    const client = world.client();
    world.send(client, plain('x'));
    const [{ frame, peer }] = world.requests();
    const parts = Array.from({ length: 10_000 }, () => ({ kind: Kind.response, id: frame.id, flags: Flag.more }));
    // Each of them without a byte: 32 MiB hold no more than 262,144.
    for (let i = 0; i < 27; i++) world.send(peer, ...parts);
    expect(takePlain(client)).toEqual([expect.stringMatching(/^ERR RESOURCE_EXHAUSTED /)]);
    world.send(client, plain('next'));
    world.echo(world.requests());
    expect(takePlain(client)).toEqual(['next']);
  });

  test('answers that wait for their turn are bounded', async () => {
    const world = await start('plain');
    const client = world.client();
    world.send(client, ...['1', '2', '3', '4'].map(plain));
    const [, ...others] = world.requests();
    for (const { peer, frame } of others) {
      world.send(peer, { kind: Kind.response, id: frame.id, payload: Buffer.alloc(14_000_000) });
    }
    expect(client.gone).toBe(true);
    expect(world.stats).toMatchObject({ open: 0, closeReasons: { 'response-buffer-full': 1 } });
  });
});
