/** `ringway`: one command per file. Here: what they have in common, and what their exit status says. */
import { Command, CommanderError } from 'commander';
import { ConfigError } from '../config/problem.js';
import { registerBackend } from './backend.js';
import { registerBuild } from './build.js';
import { registerDoctor } from './doctor.js';
import { registerEcho } from './echo.js';
import { packageVersion } from '../package-root.js';
import { CommandError, ExitStatus, UsageError } from './exit-status.js';
import { explainError } from './explain-error.js';
import { registerRequest } from './request.js';
import { registerStart } from './start.js';

export function createProgram(): Command {
  const program = new Command('ringway')
    .description('A message gateway: framed messages in, tasks allocated to backends, each answered exactly once.')
    .version(packageVersion())
    .exitOverride()
    .configureOutput({ outputError: (text, write) => write(text.replace(/^error: /, 'ringway: ')) })
    .showSuggestionAfterError()
    .showHelpAfterError('(--help shows what there is)');
  const commands = [registerStart, registerEcho, registerBackend, registerRequest, registerDoctor, registerBuild];
  for (const register of commands) register(program);
  return program;
}

/** Runs one command line (without node and script). Never throws. @returns the exit status */
export async function run(args: readonly string[]): Promise<number> {
  const program = createProgram();
  try {
    if (args.length === 0) {
      program.outputHelp({ error: true });
      return ExitStatus.usage;
    }
    await program.parseAsync([...args], { from: 'user' });
    return Number(process.exitCode ?? ExitStatus.ok);
  } catch (error) {
    return report(error);
  }
}

function report(error: unknown): number {
  // Commander has printed its own; help and version are no mistakes.
  if (error instanceof CommanderError) return error.exitCode === 0 ? ExitStatus.ok : ExitStatus.usage;
  if (error instanceof UsageError) return complain(error.message, ExitStatus.usage);
  if (error instanceof ConfigError) return complain(error.message, ExitStatus.usage);
  if (error instanceof CommandError) return complain(error.message, error.exitStatus);
  const explained = explainError(error);
  if (explained !== undefined) return complain(explained, ExitStatus.failed);
  console.error(error);
  return ExitStatus.failed;
}

function complain(message: string, status: number): number {
  process.stderr.write(`${message.replace(/^(?!ringway: )/gm, 'ringway: ')}\n`);
  return status;
}
