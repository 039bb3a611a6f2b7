// What a client gets when its backend does wrong, over each protocol and on each engine, and what the log and the counters say.
import { createServer, type Socket } from 'node:net';
import { expect, test } from 'vitest';
import { Status } from '../../src/engine/tables.gen.js';
import { Flag, Kind } from '../../src/protocol/rmp.js';
import { answerAll, type BadInputWorld, startBadInput } from '../support/bad-input.js';
import { describeEngines, type EngineFixture, useEngine } from '../support/engines.js';
import { type RmpFrame, type RmpPeer, RmpPeerServer, rmpFrame } from '../support/rmp-peer.js';
import { lengthPrefixed, type TcpPeer } from '../support/tcp-peer.js';

type StatusText = 'UNAVAILABLE' | 'DEADLINE_EXCEEDED' | 'RESOURCE_EXHAUSTED' | 'INTERNAL';

const FORMS = [
  { name: 'rmp', protocol: 'rmp', errorReply: 'close' },
  { name: 'plain', protocol: 'plain', errorReply: 'close' },
  { name: 'plain with text', protocol: 'plain', errorReply: 'text' },
  { name: 'lines', protocol: 'lines', errorReply: 'text' },
  { name: 'lines with close', protocol: 'lines', errorReply: 'close' },
] as const;
type Form = (typeof FORMS)[number];

/** A request to route 0, and how its failure must look in the client's protocol. */
class Asked {
  readonly #world: BadInputWorld;
  readonly #form: Form;
  readonly #client: RmpPeer | undefined;
  readonly #peer: TcpPeer | undefined;

  private constructor(world: BadInputWorld, form: Form, client: RmpPeer | undefined, peer: TcpPeer | undefined) {
    this.#world = world;
    this.#form = form;
    this.#client = client;
    this.#peer = peer;
  }

  static async of(world: BadInputWorld, form: Form): Promise<Asked> {
    if (form.protocol === 'rmp') {
      const client = await world.rmp();
      client.send({ kind: Kind.request, id: 7, payload: 'question' });
      return new Asked(world, form, client, undefined);
    }
    const peer = await world.peer(form.protocol);
    peer.write(form.protocol === 'plain' ? lengthPrefixed('question') : 'question\n');
    // Nothing more is asked: what is owed comes, and then the end.
    peer.fin();
    return new Asked(world, form, undefined, peer);
  }

  fails(status: StatusText, flags: number, sentence: string): Promise<void> {
    return this.failsEither(status, [flags, sentence]);
  }

  async failsEither(status: StatusText, ...either: readonly [flags: number, sentence: string][]): Promise<void> {
    const sentences = either.map(([, sentence]) => sentence);
    if (this.#client !== undefined) {
      const { id, kind, arg, flags, payload } = await this.#client.next();
      expect({ id, kind, arg }).toEqual({ id: 7, kind: Kind.response, arg: Status[status] });
      expect(either).toContainEqual([flags, payload.toString()]);
      this.#client.destroy();
      return;
    }
    const peer = this.#peer!;
    const { protocol, errorReply } = this.#form;
    await peer.end();
    peer.fin();
    if (errorReply === 'close') {
      expect(peer.receivedBytes).toBe(0);
      await this.#world.closed('request-failed');
      const logged = this.#world.logs
        .filter(({ event }) => event === 'client.request-failed')
        .map(({ fields }) => fields);
      expect(logged).toMatchObject([{ listener: protocol, client: '127.0.0.1', status }]);
      expect(sentences.map((sentence) => `${status} ${sentence}`)).toContain(logged[0].message);
      return;
    }
    const texts = sentences.map((sentence) => `ERR ${status} ${sentence}`);
    const answers = texts.map((text) => (protocol === 'plain' ? lengthPrefixed(text).toString() : `${text}\n`));
    expect(answers).toContain(peer.received.toString());
  }
}

const start = (fixture: EngineFixture, { errorReply }: Form, options: Parameters<typeof startBadInput>[1] = {}) =>
  startBadInput(fixture, { route: 0, ...options, listener: { errorReply, ...options.listener } });

async function nextRequest(link: RmpPeer): Promise<RmpFrame> {
  for (;;) {
    const frame = await link.next();
    if (frame.kind === Kind.request) return frame;
  }
}

/** Nothing listens there. */
async function deadPort(): Promise<number> {
  const server = await RmpPeerServer.listen();
  await server.close();
  return server.port;
}

const BROKE = 'the connection to the backend broke before it answered';
const NEVER_SENT = 'no backend could take the request before its deadline';

describeEngines('bad input from backends', (_driver, run) => {
  const fixture = useEngine(run);

  describeForms('absent', async (form) => {
    const world = await start(fixture, form, { ports: [await deadPort()], pool: { deadlineMs: 150 } });
    await world.begin(['rmp']);
    const asked = await Asked.of(world, form);
    await asked.fails('UNAVAILABLE', Flag.notExecuted, NEVER_SENT);
    await world.logged('link.connect-failed', { pool: 'bad', reason: 'connect-failed', error: 'ECONNREFUSED' });
    const { outcomes, statuses, engineCounters } = world.gateway.stats();
    expect(outcomes.timedOut).toBe(1);
    expect(statuses.UNAVAILABLE).toBe(1);
    expect(engineCounters.connect_errors).toBeGreaterThan(0);
    await world.unharmed();
  });

  describeForms('closes each link as soon as it is there', async (form) => {
    let links = 0;
    const server = createServer((socket: Socket) => {
      links++;
      socket.on('error', () => undefined).resetAndDestroy();
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    fixture.cleanUp(() => server.close());
    const { port } = server.address() as { port: number };
    const world = await start(fixture, form, { ports: [port], pool: { deadlineMs: 400 } });
    await world.begin(['rmp']);
    const asked = await Asked.of(world, form);
    // Whether its request had left when the reset came is for the kernel to say: a client is told either, never a third.
    await asked.failsEither('UNAVAILABLE', [Flag.notExecuted, NEVER_SENT], [0, BROKE]);
    // Pauses of 100, 200, 400 ms, of which half may be cut off: no storm.
    expect(links).toBeLessThan(12);
    await world.unharmed();
  });

  describeForms('refuses, the work not begun', async (form) => {
    const world = await start(fixture, form);
    const link = await world.link();
    await world.begin(['rmp']);
    const asked = await Asked.of(world, form);
    const { id } = await nextRequest(link);
    const refusal = { arg: Status.RESOURCE_EXHAUSTED, flags: Flag.notExecuted, payload: 'no\r\nroom' };
    link.send({ kind: Kind.response, id, ...refusal });
    const sentence = form.name === 'lines' ? 'no  room' : 'no\r\nroom';
    await asked.fails('RESOURCE_EXHAUSTED', Flag.notExecuted, sentence);
    await world.unharmed();
  });

  describeForms('hangs', async (form) => {
    const world = await start(fixture, form, { pool: { deadlineMs: 150 } });
    const link = await world.link();
    await world.begin(['rmp']);
    const asked = await Asked.of(world, form);
    const { id, arg } = await nextRequest(link);
    expect(arg).toBeGreaterThan(0);
    expect(arg).toBeLessThanOrEqual(150);
    await asked.fails('DEADLINE_EXCEEDED', 0, 'the deadline passed before the backend answered');
    expect(await link.next()).toMatchObject({ kind: Kind.cancel, id });
    link.send({ kind: Kind.response, id, payload: 'late' });
    await link.untilPong();
    expect(world.gateway.stats()).toMatchObject({ events: { late_responses: 1 }, outcomes: { timedOut: 1 } });
    await world.unharmed();
  });

  describeForms('dies in the middle of its answer, by RST', async (form) => dies(fixture, form, 'RST'));
  describeForms('dies in the middle of its answer, by FIN', async (form) => dies(fixture, form, 'FIN'));

  describeForms('dies after a partial response', async (form) => {
    const world = await start(fixture, form);
    const link = await world.link();
    await world.begin(['rmp']);
    const client = form.protocol === 'rmp' ? await world.rmp() : undefined;
    client?.send({ kind: Kind.request, id: 1, flags: Flag.idempotent });
    const asked = client === undefined ? await Asked.of(world, form) : undefined;
    const { id } = await nextRequest(link);
    link.send({ kind: Kind.response, id, flags: Flag.more, payload: 'the first half' });
    await link.untilPong();
    link.socket.resetAndDestroy();
    if (client !== undefined) {
      expect((await client.next()).payload.toString()).toBe('the first half');
      expect(await client.next()).toMatchObject({ id: 1, flags: 0, arg: Status.UNAVAILABLE });
      client.destroy();
    }
    await asked?.fails('UNAVAILABLE', 0, BROKE);
    const again = await world.link();
    again.destroy();
    await world.unharmed();
  });

  test.each([
    [
      'HTTP',
      Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'),
      'frame-too-long',
      /1213486148 bytes is over|maxFrameLength/,
    ],
    ['the largest length', Buffer.from([0xff, 0xff, 0xff, 0xff]), 'frame-too-long', /over maxFrameLength 16777216/],
    ['length 0', Buffer.from([0, 0, 0, 0]), 'bad-frame', /malformed frame/],
    ['an unknown kind', rmpFrame({ kind: 99 }), 'protocol-error', /sent a frame of kind 99/],
    ['a request', rmpFrame({ kind: Kind.request, id: 1 }), 'protocol-error', /sent a frame of kind 1/],
    [
      'a hello that is late',
      Buffer.concat([7, 9].map((kind) => rmpFrame({ kind, payload: Buffer.alloc(14, 1) }))),
      'protocol-error',
      /hello/,
    ],
    ['half a frame and FIN', Buffer.from([0, 0, 0, 40, 2]), 'truncated-frame', /middle of a frame/],
  ])('speaks garbage: %s', async (what, bytes, reason, message) => {
    const world = await startBadInput(fixture);
    const link = await world.link();
    await world.begin(['rmp', 'plain', 'lines']);
    const asked = await Asked.of(world, FORMS[0]);
    await nextRequest(link);
    link.socket.write(bytes);
    if (what.endsWith('FIN')) link.socket.end();
    await asked.fails('UNAVAILABLE', 0, BROKE);
    await link.closed;
    await world.closed(reason);
    await world.logged('link.lost', { pool: 'bad', reason, message: expect.stringMatching(message) });
    expect(world.gateway.stats().events.protocol_errors).toBe(reason === 'protocol-error' ? 1 : 0);
    await servesAgain(world, await world.link());
    await world.unharmed();
  });

  test('answers twice, answers nobody, and answers what was never asked for an answer: counted, never passed on', async () => {
    const world = await startBadInput(fixture);
    const link = await world.link();
    await world.begin(['rmp', 'plain', 'lines']);
    const client = await world.rmp();
    client.send({ kind: Kind.request, id: 1 }, { kind: Kind.request, id: 2, flags: Flag.noReply });
    const first = await nextRequest(link);
    const noReply = await nextRequest(link);
    const answer = { kind: Kind.response, id: first.id, payload: 'once' };
    link.send(
      answer,
      answer,
      { ...answer, flags: Flag.more },
      { ...answer, id: 0xdead_beef },
      { ...answer, id: noReply.id },
    );
    await link.untilPong();
    expect((await client.untilPong()).map(({ id, payload }) => [id, payload.toString()])).toEqual([[1, 'once']]);
    expect(world.gateway.stats().events.unknown_responses).toBe(4);
    void answerAll(link);
    client.send({ kind: Kind.request, id: 1, payload: 'the same id, free again' });
    expect((await client.next()).payload.toString()).toBe('the same id, free again');
    client.destroy();
    await world.unharmed();
  });

  test.each(['plain', 'lines'] as const)(
    'answers twice and in the wrong order: %s gets each answer once, in order',
    async (protocol) => {
      const world = await startBadInput(fixture, { route: 0 });
      const link = await world.link();
      await world.begin(['rmp']);
      const peer = await world.peer(protocol);
      const texts = ['one', 'two', 'three'];
      const stream = Buffer.concat(
        texts.map((text) => (protocol === 'plain' ? lengthPrefixed(text) : Buffer.from(`${text}\n`))),
      );
      peer.write(stream);
      const requests = [await nextRequest(link), await nextRequest(link), await nextRequest(link)];
      for (const { id, payload } of requests.reverse()) {
        link.send({ kind: Kind.response, id, payload }, { kind: Kind.response, id, payload: 'twice' });
      }
      expect((await peer.bytes(stream.length)).equals(stream)).toBe(true);
      await link.untilPong();
      expect(peer.receivedBytes).toBe(stream.length);
      expect(world.gateway.stats().events.unknown_responses).toBe(3);
      peer.destroy();
      await world.unharmed();
    },
  );

  test('gives no sign of life: the link is closed as unhealthy and made anew', async () => {
    const world = await startBadInput(fixture, { pool: { health: { pingIntervalMs: 50, pingTimeoutMs: 150 } } });
    const link = await world.link();
    await world.begin(['rmp', 'plain', 'lines']);
    const asked = await Asked.of(world, FORMS[0]);
    // A frame that never ends is no sign of life either.
    link.socket.write(rmpFrame({ kind: Kind.response, id: 1, payload: 'stalls' }).subarray(0, 18));
    await asked.fails('UNAVAILABLE', 0, BROKE);
    await world.logged('link.lost', { reason: 'unhealthy', message: expect.stringContaining('150 ms') });
    (await world.link()).destroy();
    await expect.poll(() => world.gateway.stats().closeReasons.unhealthy).toBe(1);
    for (const good of ['rmp', 'plain', 'lines'] as const) expect(world.port(good)).toBeGreaterThan(0);
  });

  test('an answer longer than maxFrameLength of the pool costs its link, and nobody else anything', async () => {
    const world = await startBadInput(fixture, { pool: { maxFrameLength: 1_000 } });
    const link = await world.link();
    await world.begin(['rmp', 'plain', 'lines']);
    const asked = await Asked.of(world, FORMS[0]);
    const { id } = await nextRequest(link);
    link.send({ kind: Kind.response, id, payload: Buffer.alloc(1_001) });
    await asked.fails('UNAVAILABLE', 0, BROKE);
    await world.logged('link.lost', {
      reason: 'frame-too-long',
      message: expect.stringContaining('1001 bytes is over maxFrameLength 1000'),
    });
    await servesAgain(world, await world.link());
    await world.unharmed();
  });
});

function describeForms(what: string, body: (form: Form) => Promise<void>): void {
  test.each(FORMS)(`${what}: $name`, body);
}

async function dies(fixture: EngineFixture, form: Form, how: 'RST' | 'FIN'): Promise<void> {
  const world = await start(fixture, form);
  const link = await world.link();
  await world.begin(['rmp']);
  const asked = await Asked.of(world, form);
  const { id } = await nextRequest(link);
  link.socket.write(rmpFrame({ kind: Kind.response, id, payload: 'cut in two' }).subarray(0, 20));
  if (how === 'RST') link.socket.resetAndDestroy();
  else link.socket.end();
  await asked.fails('UNAVAILABLE', 0, BROKE);
  await world.logged('link.lost', { pool: 'bad' });
  const again = await world.link();
  await servesAgain(world, again);
  await world.unharmed();
}

/** The backend, on its new link, answers a new request. */
async function servesAgain(world: BadInputWorld, link: RmpPeer): Promise<void> {
  const client = await world.rmp();
  client.send({ kind: Kind.request, id: 1, payload: 'again' });
  const { id, payload } = await nextRequest(link);
  link.send({ kind: Kind.response, id, payload });
  expect((await client.next()).payload.toString()).toBe('again');
  client.destroy();
}
