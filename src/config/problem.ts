/** What is wrong with a configuration: one line per problem, with the path, the value and what would be right. */
import { RingwayError } from '../errors.js';

/** One thing that is wrong with a configuration. */
export interface Problem {
  /** Keys and places from the top, as in `['listeners', 0, 'port']`. */
  readonly path: readonly (string | number)[];
  /** `70000 is not a port: 0 to 65535`. */
  readonly message: string;
  /** Line of the file, from 1, where it is known. */
  readonly line?: number;
}

/** `listeners[0].port`; keys that are no plain words are quoted. */
export function formatPath(path: readonly (string | number)[]): string {
  let text = '';
  for (const step of path) {
    if (typeof step === 'number') text += `[${step}]`;
    else if (!/^[A-Za-z_][\w-]*$/.test(step)) text += `[${JSON.stringify(step)}]`;
    else text += text === '' ? step : `.${step}`;
  }
  return text;
}

const LONGEST_VALUE = 60;

/** A value as the user wrote it, cut where it is long. */
export function formatValue(value: unknown): string {
  // JSON has no NaN and no Infinity, and would say null.
  const text = typeof value === 'number' ? String(value) : (JSON.stringify(value) ?? String(value));
  return text.length > LONGEST_VALUE ? `${text.slice(0, LONGEST_VALUE)}…` : text;
}

export function formatProblem(problem: Problem): string {
  const path = formatPath(problem.path);
  const line = problem.line === undefined ? '' : ` (line ${problem.line})`;
  return `${path === '' ? '' : `${path}: `}${problem.message}${line}`;
}

/** A configuration that cannot be used. `message` has one line per problem. */
export class ConfigError extends RingwayError {
  override readonly name = 'ConfigError';
  declare readonly code: 'ERR_RINGWAY_CONFIG';
  /** All that is wrong, in the order of the file. */
  readonly problems: readonly Problem[];

  /** Made by `loadConfig` and `loadConfigFile`. */
  constructor(problems: readonly Problem[]) {
    super('ERR_RINGWAY_CONFIG', [problems.map(formatProblem).join('\n')]);
    this.problems = problems;
  }
}
