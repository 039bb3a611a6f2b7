/**
 * Puts another module in the place of `net` and `node:net`, for everything that the process loads from now on.
 *
 * Only what is imported or required changes: Node's own modules (`http`, `tls`, `http2`) hold the real one by other means and
 * keep it, and `process.getBuiltinModule('net')` still gives it to who asks.
 */
import Module, { register } from 'node:module';
import type { ReplaceData } from './resolve-hook.js';

/** What stands in for `net`. */
export interface NetReplacement extends ReplaceData {
  /** What `require('net')` gives: an ordinary object, as `net` is one, so that a program may patch it. */
  readonly exports: object;
}

type Resolved = { url: string; format?: string | null; shortCircuit?: boolean };
type NextResolve = (specifier: string, context?: ResolveContext) => Resolved;
interface ResolveContext {
  readonly parentURL?: string;
  readonly conditions: readonly string[];
}

/** Parts of `node:module` that are younger than the types of Node 20, or older than the word public. */
interface Loader {
  /** Since 22.15: hooks on the program's own thread. */
  registerHooks?(hooks: { resolve(specifier: string, context: ResolveContext, next: NextResolve): Resolved }): unknown;
  /** Every `require` ends here, that of `createRequire` and of modules that were imported too. */
  _load(request: string, parent: { filename?: string | null } | null | undefined, isMain: boolean): unknown;
}

const NAMES: readonly string[] = ['net', 'node:net'];

/** To be called once, before the program's first module is loaded. */
export function replaceNet({ exports, url, own }: NetReplacement): void {
  replaceInRequire(exports, own);
  replaceInImport({ url, own });
}

/** No hook of Node 20 sees what `require` asks for. */
function replaceInRequire(exports: object, own: string): void {
  const loader = Module as unknown as Loader;
  const load = loader._load;
  const ownFolder = new URL(own).pathname;
  loader._load = function (this: unknown, request, parent, isMain) {
    if (!NAMES.includes(request) || parent?.filename?.startsWith(ownFolder)) {
      return load.call(this, request, parent, isMain);
    }
    return exports;
  };
}

function replaceInImport(data: ReplaceData): void {
  const loader = Module as unknown as Loader;
  if (loader.registerHooks === undefined) {
    register(new URL('./resolve-hook.js', import.meta.url), { data });
    return;
  }
  loader.registerHooks({
    resolve(specifier, context, next) {
      const replaced = NAMES.includes(specifier) && context.conditions.includes('import');
      if (!replaced || context.parentURL?.startsWith(data.own)) return next(specifier, context);
      return { url: data.url, format: 'module', shortCircuit: true };
    },
  });
}
