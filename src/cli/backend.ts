/** `ringway backend`: an RMP backend, echoing or with a handler from a module. */
import { resolve } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import type { Command } from 'commander';
import { serve } from '../backend-sdk/serve.js';
import type { BackendHandler, InPlaceHandler, Reply, Task, TaskContext } from '../backend-sdk/types.js';
import { drainOnSignal } from './drain-on-signal.js';
import { UsageError } from './exit-status.js';
import { type EngineArguments, milliseconds, port, wholeNumber, withEngineOptions } from './parse-arguments.js';
import { readyLine } from './ready-line.js';

interface BackendArguments extends EngineArguments {
  readonly host: string;
  readonly port?: number;
  readonly path?: string;
  readonly echo?: boolean;
  readonly handler?: string;
  readonly delayMs: number;
  readonly maxConcurrent?: number;
  readonly drainGraceMs?: number;
}

type AnyHandler = BackendHandler | InPlaceHandler;

export function registerBackend(program: Command): void {
  const command = program
    .command('backend')
    .description('Serve requests over RMP, to gateways and clients: an echo, or the handler of a module.')
    .option('--port <port>', 'port to listen on; 0: any free one', port)
    .option('--host <address>', 'IP address to listen on; 0.0.0.0 or :: lets other machines in', '127.0.0.1')
    .option('--path <path>', 'unix socket to listen on, instead of host and port')
    .option('--echo', 'answer each request with its payload')
    .option(
      '--handler <module>',
      'module whose default export (or `handle`) answers: (task, { signal, partial }) => reply',
    )
    .option('--delay-ms <n>', 'wait before each answer', milliseconds, 0)
    .option(
      '--max-concurrent <n>',
      'requests handled at once, 1024 by default; 1024 more wait, others are refused',
      wholeNumber('a number of requests', 1, 2 ** 31 - 1),
    )
    .option('--drain-grace-ms <n>', 'time for what is in flight after SIGTERM, 30000 by default', milliseconds);
  command.addHelpText(
    'after',
    '\nSIGTERM drains it, a second one aborts. Exit status then: 0 when all was finished, 1 when the grace period cut something.',
  );
  withEngineOptions(command).action(async (options: BackendArguments) => {
    if ((options.port === undefined) === (options.path === undefined)) {
      command.error("error: exactly one of '--port <port>' and '--path <path>' is needed");
    }
    if ((options.echo === undefined) === (options.handler === undefined)) {
      command.error("error: exactly one of '--echo' and '--handler <module>' is needed");
    }
    const handler = options.handler === undefined ? ECHO : await importHandler(options.handler);
    process.exitCode = await runBackend(options, options.delayMs > 0 ? delayed(handler, options.delayMs) : handler);
  });
}

async function runBackend(options: BackendArguments, handler: AnyHandler): Promise<number> {
  const { host, port, path, engine, reactors, maxConcurrent, drainGraceMs } = options;
  const address = path === undefined ? { host, port: port! } : { path };
  const server = await serve(
    {
      ...address,
      engine: { kind: engine, reactors },
      maxConcurrent,
      drainGraceMs,
      onError: (error) => console.error(error),
    },
    handler,
  );
  const ended = drainOnSignal(() => server.drain());
  console.log(readyLine(server.engine, [server.address]));
  return ended;
}

/** Answers in place: the cheapest echo there is, so that a bench measures the gateway. */
const ECHO: InPlaceHandler & BackendHandler = {
  handleInPlace: (request) => request.respond(request.bytes, request.start, request.end),
  handle: (task) => task.payload,
};

function delayed(handler: AnyHandler, delayMs: number): BackendHandler {
  if (!('handle' in handler))
    throw new UsageError('--delay-ms needs a handler with `handle`: handleInPlace cannot wait');
  return {
    async handle(task: Task, context: TaskContext): Promise<Reply> {
      await delay(delayMs, undefined, { signal: context.signal });
      return handler.handle(task, context);
    },
  };
}

/** A module may export a function or an object with `handle` or `handleInPlace`, as its default or by name. */
async function importHandler(path: string): Promise<AnyHandler> {
  const url = pathToFileURL(resolve(path)).href;
  let module: Record<string, unknown>;
  try {
    module = (await import(url)) as Record<string, unknown>;
  } catch (error) {
    const code = (error as { code?: string }).code;
    if (code === 'ERR_MODULE_NOT_FOUND') throw new UsageError(`--handler ${path}: ${(error as Error).message}`);
    throw error;
  }
  for (const candidate of [module.default, module]) {
    if (typeof candidate === 'function') return { handle: candidate as BackendHandler['handle'] };
    if (isHandler(candidate)) return candidate;
  }
  throw new UsageError(
    `--handler ${path}: it exports no function: export default (task, { signal, partial }) => reply`,
  );
}

function isHandler(value: unknown): value is AnyHandler {
  if (typeof value !== 'object' || value === null) return false;
  const { handle, handleInPlace } = value as { handle?: unknown; handleInPlace?: unknown };
  return typeof handle === 'function' || typeof handleInPlace === 'function';
}
