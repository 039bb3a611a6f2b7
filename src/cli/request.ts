/** `ringway request`: one request over RMP, its answer on stdout. */
import type { Command } from 'commander';
import type { Client } from '../client/types.js';
import { connectClient } from '../client/connect-client.js';
import { Status } from '../engine/tables.gen.js';
import { StatusError } from '../protocol/status-error.js';
import { CommandError, ExitStatus } from './exit-status.js';
import { formatAddress } from './explain-error.js';
import { milliseconds, routeNumber, targetPort } from './parse-arguments.js';

interface RequestArguments {
  readonly host: string;
  readonly port?: number;
  readonly path?: string;
  readonly route: number;
  readonly deadline: number;
  readonly idempotent?: boolean;
  readonly wait?: boolean;
}

/** How often a connection that cannot be made is looked for. */
const WATCH_MS = 20;

export function registerRequest(program: Command): void {
  program
    .command('request')
    .description('Send one request over RMP and print its answer. Partial responses are printed as they come.')
    .argument('<text>', 'the payload; - reads it from stdin')
    .option('--port <port>', 'port of a gateway or backend', targetPort)
    .option('--host <host>', 'its name or address', '127.0.0.1')
    .option('--path <path>', 'its unix socket, instead of host and port')
    .option('--route <n>', 'which route of the gateway, or command of a backend', routeNumber, 0)
    .option('--deadline <ms>', 'time budget; 0: the default of the pool', milliseconds, 10_000)
    .option('--idempotent', 'the gateway may send it to a backend twice')
    .option('--wait', 'wait until the deadline for somebody to listen there')
    .addHelpText(
      'after',
      '\nExit status: 0, or 10 + the status of the answer (14 UNAVAILABLE: 24), at most 255; its sentence is on stderr.' +
        '\nThe listener must speak rmp; a plain or lines one does not understand it.',
    )
    .action(async (text: string, options: RequestArguments, command: Command) => {
      if ((options.port === undefined) === (options.path === undefined)) {
        command.error("error: exactly one of '--port <port>' and '--path <path>' is needed");
      }
      await request(text === '-' ? await readStdin() : Buffer.from(text), options);
    });
}

async function request(payload: Buffer, options: RequestArguments): Promise<void> {
  const { host, port, path, route, deadline, idempotent, wait } = options;
  const where = path === undefined ? formatAddress(host, port!) : `unix:${path}`;
  const client = connectClient(path === undefined ? `rmp://${where}` : where, { engine: 'portable' });
  const aborter = new AbortController();
  const watch = wait ? undefined : setInterval(() => giveUpUnconnected(client, aborter), WATCH_MS);
  try {
    const responses = client.stream(payload, { route, deadlineMs: deadline, idempotent, signal: aborter.signal });
    for await (const response of responses) await write(response);
    await write(Buffer.from('\n'));
  } catch (error) {
    throw describe(error, where, client.stats().lastError);
  } finally {
    clearInterval(watch);
    await client.close();
  }
}

/** A person at a terminal need not wait for the deadline to learn that nobody listens. */
function giveUpUnconnected(client: Client, aborter: AbortController): void {
  const { connects, lastError } = client.stats();
  if (connects === 0 && lastError !== undefined) {
    aborter.abort(new StatusError(Status.UNAVAILABLE, lastError, { notExecuted: true }));
  }
}

function describe(error: unknown, where: string, lastError: string | undefined): unknown {
  if (!(error instanceof StatusError)) return error;
  if (error.cause instanceof StatusError) return describe(error.cause, where, lastError);
  const reason = error.message === lastError ? `${where}: ${error.message}` : error.message;
  return new CommandError(`${error.code}: ${reason}`, Math.min(ExitStatus.status + error.status, ExitStatus.most));
}

function write(bytes: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(bytes, (error) => (error ? reject(error) : resolve()));
  });
}

async function readStdin(): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}
