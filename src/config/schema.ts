/**
 * The shape of a configuration: names, types, ranges and defaults. What one value says about another stands in
 * `cross-check.ts`. Every number's default comes from the tables of limits.
 */
import { isIP } from 'node:net';
import { z } from 'zod';
import { ENGINE_LIMITS } from '../engine/tables.gen.js';
import { DEFAULT_STRATEGY, STRATEGIES } from '../gateway/allocator.js';
import { limits } from '../limits.js';
import { ADDRESS_HINT, parseAddress, pathProblem } from './address.js';
import { ENGINES, LOG_LEVELS, MOST_REACTORS } from './names.js';
import { nearest } from './nearest.js';
import { formatValue } from './problem.js';

/** Longest payload the protocols' length fields and the engine's buffers are made for: 1 GiB. */
const LARGEST_FRAME = 2 ** 30;
/** Longest time of any timer: 24.8 days, as everywhere in Node. */
const LONGEST_MS = 2 ** 31 - 1;
const MOST_BYTES = 2 ** 40;
const MOST = 2 ** 31 - 1;

interface Issue {
  readonly code?: string;
  readonly input?: unknown;
  readonly keys?: readonly string[];
}

/** `missing: …` where nothing was written, else the value and what is wrong with it. */
function wrong(what: string, right: string): (issue: Issue) => string {
  return ({ input }) =>
    input === undefined ? `missing: ${what}, ${right}` : `${formatValue(input)} is not ${what}: ${right}`;
}

function integer(what: string, min: number, max: number, note = ''): z.ZodNumber {
  const error = wrong(what, `${min} to ${max}${note}`);
  return z.number({ error }).int({ error }).min(min, { error }).max(max, { error });
}

function real(what: string, min: number, max: number): z.ZodNumber {
  const error = wrong(what, `${min} to ${max}`);
  return z.number({ error }).min(min, { error }).max(max, { error });
}

const port = (min: number): z.ZodNumber => integer('a port', min, 65_535);
const ms = (min = 1): z.ZodNumber => integer('a time in ms', min, LONGEST_MS);
const msOrNever = (): z.ZodNumber => integer('a time in ms', 0, LONGEST_MS, ' (0: no limit)');
const bytes = (min = 1, max = MOST_BYTES): z.ZodNumber => integer('a number of bytes', min, max);
const count = (what: string, min = 1, max = MOST): z.ZodNumber => integer(`a number of ${what}`, min, max);

function flag(): z.ZodBoolean {
  return z.boolean({ error: wrong('a switch', 'true or false') });
}

function oneOf<const Names extends readonly [string, ...string[]]>(
  what: string,
  names: Names,
): z.ZodType<Names[number]> {
  return z.enum(names as unknown as [string, ...string[]], {
    error: ({ input }) => {
      const guess = typeof input === 'string' ? nearest(input, names) : undefined;
      const right = `${names.slice(0, -1).join(', ')} or ${names.at(-1)}`;
      return wrong(what, guess === undefined ? right : `did you mean ${guess}? It is one of ${right}`)({ input });
    },
  }) as unknown as z.ZodType<Names[number]>;
}

/** Strict: one line for each unknown key, with the nearest known one. */
function object<Shape extends z.ZodRawShape>(what: string, shape: Shape) {
  const known = Object.keys(shape);
  return z.strictObject(shape, {
    error: (issue: Issue) => {
      if (issue.code === 'unrecognized_keys') return (issue.keys ?? []).map((key) => unknownKey(key, known)).join('\n');
      return wrong(what, `an object with ${known.join(', ')}`)(issue);
    },
  });
}

function unknownKey(key: string, known: readonly string[]): string {
  const guess = nearest(key, known);
  return guess === undefined ? `unknown key; known are ${known.join(', ')}` : `unknown key: did you mean ${guess}?`;
}

/** A string that passes `problem`, which says `has …` or `is …` after the value. */
function text(what: string, right: string, problem: (value: string) => string | undefined) {
  return z.string({ error: wrong(what, right) }).superRefine((value, context) => {
    const message = problem(value);
    if (message !== undefined) context.addIssue({ code: 'custom', message: `${formatValue(value)} ${message}` });
  });
}

const NAME_HINT = '1 to 64 letters, digits, ".", "_" or "-"';
const nameProblem = (value: string): string | undefined =>
  /^[\w.-]{1,64}$/.test(value) ? undefined : `is not a name: ${NAME_HINT}`;

const listenHost = () =>
  text('an IP address to listen on', '"127.0.0.1", "::1", "0.0.0.0" for every interface', (value) =>
    value === 'localhost' || isIP(value) !== 0
      ? undefined
      : 'is not an IP address to listen on: "127.0.0.1", "::1", "0.0.0.0" for every interface',
  );

const socketPath = () => text('the path of a unix socket', '"/run/ringway.sock"', pathProblem);

const engineKind = oneOf('an engine', ENGINES);
const reactors = z.custom<number | 'auto'>(
  (value) =>
    value === 'auto' || (Number.isInteger(value) && (value as number) >= 0 && (value as number) <= MOST_REACTORS),
  { error: wrong('a number of reactors', `0 (inside the main loop) to ${MOST_REACTORS}, or auto`) },
);
export const engineObject = object('an engine', {
  kind: engineKind.default('auto'),
  reactors: reactors.default('auto'),
  maxEngineBytes: bytes(2 ** 20).default(ENGINE_LIMITS.maxEngineBytes),
  maxPartialBytes: bytes(2 ** 20).default(ENGINE_LIMITS.maxPartialBytes),
});

/** A bare name stands for `{ kind: name }`; its problems are told at `engine`, not at a key nobody wrote. */
const engine = z.unknown().transform((value, context): z.infer<typeof engineObject> => {
  const name = typeof value === 'string' ? engineKind.safeParse(value) : undefined;
  const parsed = name === undefined ? engineObject.safeParse(value ?? {}) : name;
  if (!parsed.success) {
    for (const issue of parsed.error.issues) context.issues.push({ ...issue, input: value } as never);
    return z.NEVER;
  }
  return name === undefined ? (parsed.data as z.infer<typeof engineObject>) : engineObject.parse({ kind: name.data });
});

const listener = object('a listener', {
  name: text('a name', NAME_HINT, nameProblem).optional(),
  host: listenHost().optional(),
  port: port(0).optional(),
  path: socketPath().optional(),
  protocol: oneOf('a protocol', ['rmp', 'plain', 'lines']).default('rmp'),
  route: integer('a route', 0, 65_535).optional(),
  errorReply: oneOf('an error reply', ['close', 'text']).optional(),
  maxFrameLength: bytes(1, LARGEST_FRAME).default(ENGINE_LIMITS.maxFrameLength),
  maxConnections: count('connections').default(ENGINE_LIMITS.maxConnections),
  maxConnectionsPerIp: count('connections').optional(),
  idleTimeoutMs: msOrNever().default(ENGINE_LIMITS.idleTimeoutMs),
  partialFrameTimeoutMs: msOrNever().default(ENGINE_LIMITS.partialFrameTimeoutMs),
  writeStallTimeoutMs: msOrNever().default(ENGINE_LIMITS.writeStallTimeoutMs),
  maxBufferedBytes: bytes().default(ENGINE_LIMITS.maxBufferedBytes),
  maxStreamBufferedBytes: bytes().optional(),
  maxQueuedPerClient: count('requests').default(limits.maxQueuedPerClient),
  backlog: count('connections', 1, 65_535).default(ENGINE_LIMITS.backlog),
  reusePort: flag().default(false),
});

const server = object('a server', {
  address: text('an address', ADDRESS_HINT, (value) => {
    const parsed = parseAddress(value);
    return typeof parsed === 'string' ? parsed : undefined;
  }),
  weight: real('a weight', 0.01, 1000).default(1),
});

const links = object('links', {
  min: count('links', 1, 64).default(limits.minLinks),
  max: count('links', 1, 64).default(limits.maxLinks),
  connectTimeoutMs: ms().default(ENGINE_LIMITS.connectTimeoutMs),
  reconnectMinMs: ms().default(limits.reconnectMinMs),
  reconnectMaxMs: ms().default(limits.reconnectMaxMs),
  hello: flag().default(true),
});

const health = object('a health check', {
  pingIntervalMs: integer('a time in ms', 0, LONGEST_MS, ' (0: no pings)').default(limits.pingIntervalMs),
  pingTimeoutMs: ms().default(limits.pingTimeoutMs),
  consecutiveFailures: integer('a number of failures', 0, MOST, ' (0: never eject)').default(
    limits.consecutiveFailures,
  ),
  ejectMs: ms().default(limits.ejectMs),
  slowStartMs: integer('a time in ms', 0, LONGEST_MS, ' (0: full weight at once)').default(limits.slowStartMs),
});

const retries = object('retries', {
  maxAttempts: count('attempts', 1, 100).default(limits.maxAttempts),
  ratio: real('a share of the requests', 0, 1).default(limits.retryRatio),
  windowMs: ms(100).default(limits.retryWindowMs),
  minPerSecond: real('a number of retries per second', 0, 1e6).default(limits.retryMinPerSecond),
});

const pool = object('a pool', {
  strategy: oneOf('a strategy', STRATEGIES).default(DEFAULT_STRATEGY),
  boundFactor: real('a multiple of the fair load', 1, 100).optional(),
  deadlineMs: ms().default(limits.deadlineMs),
  maxInFlight: count('requests').default(limits.maxInFlight),
  maxFrameLength: bytes(1, LARGEST_FRAME).default(ENGINE_LIMITS.maxFrameLength),
  links: links.prefault({}),
  health: health.prefault({}),
  retries: retries.prefault({}),
  resolveIntervalMs: integer('a time in ms', 0, LONGEST_MS, ' (0: names are resolved once)').default(
    limits.resolveIntervalMs,
  ),
  servers: list('servers', server, '[{ address: "127.0.0.1:9101" }]'),
});

const route = object('a route', {
  route: integer('a route', 0, 65_535),
  pool: z.string({ error: wrong('the name of a pool', 'one of those under pools') }),
  orderBy: oneOf('an order', ['none', 'client', 'key']).default('none'),
});

function list<Item extends z.ZodType>(what: string, item: Item, example: string): z.ZodArray<Item> {
  const error = wrong(`a list of ${what}`, `at least one, such as ${example}`);
  return z.array(item, { error }).min(1, { error });
}

const admin = object('an admin address', {
  host: listenHost().default('127.0.0.1'),
  port: port(0),
});

export const schema = object('a configuration', {
  engine: engine.prefault('auto'),
  drainGraceMs: ms(0).default(limits.drainGraceMs),
  maxQueuedTotal: count('requests').default(limits.maxQueuedTotal),
  log: object('log settings', { level: oneOf('a level', LOG_LEVELS).default('info') }).prefault({}),
  admin: admin.optional(),
  listeners: list('listeners', listener, '[{ port: 8080, protocol: rmp }]'),
  pools: z.record(
    z.string().superRefine((value, context) => {
      const message = nameProblem(value);
      if (message !== undefined) context.addIssue({ code: 'custom', message: `${formatValue(value)} ${message}` });
    }),
    pool,
    {
      error: wrong(
        'pools',
        'an object from names to pools, such as { chat: { servers: [{ address: "127.0.0.1:9101" }] } }',
      ),
    },
  ),
  routes: list('routes', route, '[{ route: 0, pool: chat }]'),
});

export type ParsedConfig = z.infer<typeof schema>;
export type ParsedListener = ParsedConfig['listeners'][number];
export type ParsedPool = ParsedConfig['pools'][string];
