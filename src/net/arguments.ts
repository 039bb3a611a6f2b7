/** `connect` and `listen` take a port, a path, or options, then perhaps a host, and a callback at the end. */

export type Callback = (...args: unknown[]) => void;
export type Options = Record<string, unknown>;

/** Marks arguments that were normalized already: libraries hand them from `createConnection` to `connect`. */
export const kNormalized = Symbol('ringway.net.normalized');

export type NormalizedArguments = [Options, Callback | null] & { [kNormalized]?: true };

export function normalizeArguments(args: readonly unknown[]): NormalizedArguments {
  const normalized: NormalizedArguments = [{}, null];
  normalized[kNormalized] = true;
  if (args.length === 0) return normalized;
  const [first, second] = args;
  if (typeof first === 'object' && first !== null) {
    normalized[0] = first as Options;
  } else if (isPath(first)) {
    normalized[0].path = first;
  } else {
    normalized[0].port = first;
    if (args.length > 1 && typeof second === 'string') normalized[0].host = second;
  }
  const last = args[args.length - 1];
  if (typeof last === 'function') normalized[1] = last as Callback;
  return normalized;
}

/** A string that is no number is a path. */
export function isPath(value: unknown): value is string {
  return typeof value === 'string' && toNumber(value) === false;
}

export function toNumber(value: unknown): number | false {
  const number = Number(value);
  return number >= 0 ? number : false;
}
