/** From what a user writes (YAML, of which JSON is a part) to a checked configuration with every default filled in. */
import { readFile } from 'node:fs/promises';
import { isNode, LineCounter, parseDocument } from 'yaml';
import type { ListenerConfig, PoolConfig, ServerConfig } from '../gateway/options.js';
import { limits } from '../limits.js';
import { parseAddress } from './address.js';
import type { Config } from './config.js';
import { crossCheck } from './cross-check.js';
import { ConfigError, type Problem } from './problem.js';
import { type ParsedConfig, type ParsedListener, type ParsedPool, schema } from './schema.js';

export { ConfigError } from './problem.js';

/**
 * Reads, parses and checks a file.
 * @throws ConfigError for what is wrong inside; the system's error (`ENOENT`, `EACCES`) when it cannot be read.
 */
export async function loadConfigFile(file: string | URL): Promise<Config> {
  return loadConfig(await readFile(file, 'utf8'));
}

/**
 * Parses and checks a text in YAML or JSON.
 * @throws ConfigError with every problem found: path, value, what would be right, and the line.
 */
export function loadConfig(text: string): Config {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  if (document.errors.length > 0) {
    throw new ConfigError(
      document.errors.map((error) => ({
        path: [],
        message: SENTENCES[error.code] ?? `not YAML: ${error.message}`,
        line: lines.linePos(error.pos[0]).line,
      })),
    );
  }
  const lineOf = (path: readonly (string | number)[]): number | undefined => {
    // A missing key has no place: its parent's is the nearest.
    for (let depth = path.length; depth > 0; depth--) {
      const node = document.getIn(path.slice(0, depth), true);
      if (isNode(node) && node.range) return lines.linePos(node.range[0]).line;
    }
    return undefined;
  };
  return checkConfig(toPlain(document), lineOf);
}

/** Where the parser's own words are for programmers. */
const SENTENCES: Readonly<Record<string, string>> = {
  MULTIPLE_DOCS: 'a second document begins here: a configuration is one',
};

function toPlain(document: ReturnType<typeof parseDocument>): unknown {
  try {
    return document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    throw new ConfigError([{ path: [], message: `not YAML: ${(error as Error).message}` }]);
  }
}

/**
 * Checks what is already a JavaScript object, as written by hand in a program.
 * @throws ConfigError
 */
export function checkConfig(
  input: unknown,
  lineOf?: (path: readonly (string | number)[]) => number | undefined,
): Config {
  const parsed = schema.safeParse(input ?? {});
  const problems = parsed.success ? crossCheck(parsed.data) : parsed.error.issues.flatMap(toProblems);
  if (problems.length > 0)
    throw new ConfigError(problems.map((problem) => ({ ...problem, line: lineOf?.(problem.path) })));
  return complete(parsed.data!);
}

interface Issue {
  readonly code?: string;
  readonly path: readonly PropertyKey[];
  readonly message: string;
  readonly keys?: readonly string[];
  readonly issues?: readonly Issue[];
}

/** An issue of zod may stand for several unknown keys (a line of its message for each). */
function toProblems(issue: Issue): Problem[] {
  const path = issue.path as readonly (string | number)[];
  if (issue.code === 'unrecognized_keys') {
    const messages = issue.message.split('\n');
    return (issue.keys ?? []).map((key, at) => ({ path: [...path, key], message: messages[at] }));
  }
  // The message of a bad key says it by itself.
  if (issue.code === 'invalid_key')
    return (issue.issues ?? []).map(({ message }) => ({ path: path.slice(0, -1), message }));
  return [{ path, message: issue.message }];
}

function complete(parsed: ParsedConfig): Config {
  return {
    engine: parsed.engine,
    drainGraceMs: parsed.drainGraceMs,
    maxQueuedTotal: parsed.maxQueuedTotal,
    log: parsed.log,
    admin: parsed.admin && { ...parsed.admin, host: numeric(parsed.admin.host) },
    listeners: parsed.listeners.map(completeListener),
    pools: Object.entries(parsed.pools).map(([name, pool]) => completePool(name, pool)),
    routes: parsed.routes,
  };
}

/** The engine listens on addresses, not names. */
function numeric(host: string): string {
  return host === 'localhost' ? '127.0.0.1' : host;
}

/** In one order, whatever the user's: `--check` prints it. */
function completeListener(listener: ParsedListener, at: number): ListenerConfig {
  const { name, host, port, path, protocol, route, errorReply, maxStreamBufferedBytes, ...rest } = listener;
  return {
    name: name ?? `listener-${at}`,
    ...(path === undefined ? { host: numeric(host ?? '127.0.0.1'), port } : { path }),
    protocol,
    route: route ?? 0,
    errorReply: errorReply ?? (protocol === 'lines' ? 'text' : 'close'),
    ...rest,
    maxStreamBufferedBytes: maxStreamBufferedBytes ?? Math.min(limits.maxStreamBufferedBytes, rest.maxBufferedBytes),
  };
}

function completePool(name: string, pool: ParsedPool): PoolConfig {
  return { ...pool, name, servers: pool.servers.map(completeServer) };
}

function completeServer(server: { address: string; weight: number }): ServerConfig {
  const address = parseAddress(server.address);
  if (typeof address === 'string') throw new TypeError(`${server.address} ${address}`);
  return { ...address, ...server };
}
