/** `ringway start`: the gateway of a configuration file. */
import type { Command } from 'commander';
import type { AdminServer } from '../admin.js';
import type { Config } from '../config/config.js';
import { ConfigError, formatProblem } from '../config/problem.js';
import type { Engine } from '../engine/engine.js';
import { createEngine } from '../engine/select-engine.js';
import { createGateway, type Gateway } from '../gateway/gateway.js';
import { createLogger, gatewayLog, type Logger } from '../log.js';
import { drainOnSignal } from './drain-on-signal.js';
import { UsageError } from './exit-status.js';
import { explainError } from './explain-error.js';
import { machineFacts } from './machine-facts.js';
import { readyLine } from './ready-line.js';

interface StartArguments {
  readonly config: string;
  readonly check?: boolean;
}

export function registerStart(program: Command): void {
  program
    .command('start')
    .description('Start the gateway of a configuration file. SIGTERM drains it, a second one aborts.')
    .requiredOption('--config <file>', 'YAML or JSON; examples/gateway.yaml in the package has every option, commented')
    .option('--check', 'check the configuration and print it with every default, without starting')
    .addHelpText(
      'after',
      '\nExit status after a drain: 0 when all was finished, 1 when the grace period cut something.',
    )
    .action(async ({ config: file, check }: StartArguments) => {
      const config = await load(file);
      if (!check) {
        process.exitCode = await start(config);
        return;
      }
      const { effectiveConfig } = await import('../config/effective-config.js');
      process.stdout.write(effectiveConfig(config));
    });
}

/** A file that cannot be read is a bad argument, like one that says nothing sensible. */
async function load(file: string): Promise<Config> {
  // The schema alone is a hundred modules, which other commands need not load.
  const { loadConfigFile } = await import('../config/load-config.js');
  try {
    return await loadConfigFile(file);
  } catch (error) {
    if (error instanceof ConfigError)
      throw new UsageError(error.problems.map((problem) => `${file}: ${formatProblem(problem)}`).join('\n'));
    // Node names no path where reading fails, only where opening does.
    const named = Object.assign(error as Error, { path: file });
    throw new UsageError(`--config ${explainError(named) ?? named.message}`);
  }
}

async function start(config: Config): Promise<number> {
  const logger = createLogger(config.log);
  warnAboutFiles(config, logger);
  const engine = createEngine(config.engine);
  try {
    return await run(config, engine, logger);
  } finally {
    await engine.close();
  }
}

async function run(config: Config, engine: Engine, logger: Logger): Promise<number> {
  const gateway = createGateway(config, { engine, log: gatewayLog(logger) });
  await gateway.start();
  let admin: AdminServer | undefined;
  try {
    if (config.admin !== undefined) {
      const { startAdmin } = await import('../admin.js');
      admin = await startAdmin(config.admin, gateway);
    }
    const ended = drainOnSignal(() => drain(gateway, logger));
    announce(gateway, engine, admin, logger);
    return await ended;
  } finally {
    // Asked until the very end: a load balancer sees 503 while the gateway drains.
    await admin?.close();
    await gateway.close();
  }
}

/** What the grace period cut is said, not only in the exit status. */
async function drain(gateway: Gateway, logger: Logger): Promise<{ readonly cut: number }> {
  const report = await gateway.drain();
  logger[report.cut > 0 || report.unflushed > 0 ? 'warn' : 'info'](report, 'gateway.drained');
  return report;
}

function announce(gateway: Gateway, engine: Engine, admin: AdminServer | undefined, logger: Logger): void {
  const addresses = gateway.addresses.map(({ address }) => address);
  const { name, reactors, reason } = engine;
  logger.info(
    { engine: name, reactors, reason, listeners: gateway.addresses, admin: admin?.address },
    'gateway.started',
  );
  console.log(readyLine(engine, addresses, admin?.address));
}

/** Beside clients and links: Node's own, the rings, the log. */
const OTHER_FILES = 64;

/** Too few file descriptors show as refused connections much later: better said at the start. */
function warnAboutFiles({ listeners, pools }: Config, logger: Logger): void {
  const { openFiles } = machineFacts();
  if (openFiles === undefined) return;
  const clients = listeners.reduce((sum, { maxConnections }) => sum + maxConnections, 0);
  const links = pools.reduce((sum, { links, servers }) => sum + (links.max + 1) * servers.length, 0);
  const wanted = clients + links + OTHER_FILES;
  if (openFiles.soft >= wanted) return;
  const { soft } = openFiles;
  logger.warn(
    { openFiles: soft, wanted, clients, links },
    `open files are limited to ${soft}: raise the limit to ${wanted} (ulimit -n) or lower maxConnections`,
  );
}
