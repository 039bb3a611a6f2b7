/** Parsers of option values for commander, and the options that several commands have. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { ENGINES, MOST_REACTORS } from '../config/names.js';
import type { EngineName } from '../engine/engine.js';

/** A whole number in a range; anything else is refused with what would be right. */
export function wholeNumber(what: string, min: number, max: number): (text: string) => number {
  return (text) => {
    const value = /^\d+$/.test(text) ? Number(text) : Number.NaN;
    if (!(value >= min && value <= max)) throw new InvalidArgumentError(`It is not ${what}: ${min} to ${max}.`);
    return value;
  };
}

export const port = wholeNumber('a port', 0, 65_535);
export const targetPort = wholeNumber('a port', 1, 65_535);
export const milliseconds = wholeNumber('a time in ms', 0, 2 ** 31 - 1);
export const routeNumber = wholeNumber('a route', 0, 65_535);

function reactorCount(text: string): number | 'auto' {
  return text === 'auto' ? text : wholeNumber('a number of reactors (or auto)', 0, MOST_REACTORS)(text);
}

export interface EngineArguments {
  readonly engine: EngineName;
  readonly reactors: number | 'auto';
}

/** `--engine` and `--reactors`. */
export function withEngineOptions(command: Command): Command {
  return command
    .addOption(
      new Option('--engine <name>', 'what moves the bytes; only auto falls back').choices([...ENGINES]).default('auto'),
    )
    .addOption(
      new Option('--reactors <n>', "threads that move bytes; 0, which auto is: inside Node's own loop")
        .argParser(reactorCount)
        .default('auto'),
    );
}
