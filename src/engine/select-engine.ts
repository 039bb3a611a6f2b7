/** Which engine runs: the one that was named, or the best that can. */
import { RingwayError, shown } from '../errors.js';
import type { Engine, EngineName, EngineOptions } from './engine.js';
import { createNativeEngine } from './create-native-engine.js';
import { PortableEngine } from './portable-engine.js';

const NAMES: readonly EngineName[] = ['io_uring', 'epoll', 'portable', 'auto'];
/** Decides for callers that ask for `auto`, or for nothing: for tests and for operators. */
const ENVIRONMENT_NAME = 'RINGWAY_ENGINE';

/**
 * @param options What to run, or just its name. Default `auto`: io_uring, else epoll, else portable.
 * @throws RingwayError `ERR_ENGINE_UNAVAILABLE` when a named engine cannot run here; `auto` never throws it.
 * @throws RingwayError `ERR_INVALID_OPTION`
 */
export function createEngine(options: EngineOptions | EngineName = {}): Engine {
  const asked: EngineOptions = typeof options === 'string' ? { kind: options } : options;
  const { kind, why } = kindOf(asked);
  if (kind === 'portable') return new PortableEngine(asked, why);
  const native = createNativeEngine({ ...asked, kind });
  if (native.reason === undefined) return native.engine;
  if (kind === 'auto') return new PortableEngine(asked, `neither io_uring nor epoll can run here: ${native.reason}`);
  throw new RingwayError('ERR_ENGINE_UNAVAILABLE', [kind, native.reason, adviceFor(kind)]);
}

function kindOf(options: EngineOptions): { kind: EngineName; why: string } {
  const given = options.kind ?? 'auto';
  checkName('engine', given);
  if (given !== 'auto') return { kind: given, why: `engine: ${given} was asked for` };
  const fromEnvironment = process.env[ENVIRONMENT_NAME];
  if (fromEnvironment === undefined || fromEnvironment === '') return { kind: 'auto', why: '' };
  checkName(ENVIRONMENT_NAME, fromEnvironment);
  return { kind: fromEnvironment as EngineName, why: `${ENVIRONMENT_NAME}=${fromEnvironment} was set` };
}

function checkName(what: string, name: string): void {
  if ((NAMES as readonly string[]).includes(name)) return;
  throw new RingwayError('ERR_INVALID_OPTION', [what, shown(name), `it must be one of ${NAMES.join(', ')}`]);
}

function adviceFor(kind: EngineName): string {
  const other = kind === 'io_uring' ? 'epoll' : 'portable';
  return `Run \`ringway doctor\` for what to change, or use engine: ${other} or auto`;
}
