/** The hook of Nodes without `module.registerHooks`: it runs on a thread of its own and knows what it was given at its start. */
import type { ResolveHook } from 'node:module';

export interface ReplaceData {
  /** The module that `import` gets in the place of `net`. */
  readonly url: string;
  /** URL of a folder, with its slash: what lies in it gets the real `net`, or the replacement would import itself. */
  readonly own: string;
}

let replace: ReplaceData | undefined;

export function initialize(data: ReplaceData): void {
  replace = data;
}

export const resolve: ResolveHook = (specifier, context, next) => {
  const isNet = specifier === 'net' || specifier === 'node:net';
  if (!isNet || replace === undefined || context.parentURL?.startsWith(replace.own)) return next(specifier, context);
  return { url: replace.url, format: 'module', shortCircuit: true };
};
