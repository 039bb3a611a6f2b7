/** One engine per name for everybody in the process who brings none of their own; it closes with its last user. */
import type { Engine, EngineName, EngineOptions } from './engine.js';
import { createEngine } from './select-engine.js';

export interface EngineLease {
  readonly engine: Engine;
  /** To be called once. Closes the engine where nobody else uses it. */
  release(): Promise<void>;
}

interface Shared {
  readonly engine: Engine;
  users: number;
}

const sharedEngines = new Map<EngineName, Shared>();

/**
 * @param asked An engine: it is borrowed, and its owner closes it. Options: an engine of its own. A name: the process's
 *   shared one of that name.
 * @throws RingwayError `ERR_ENGINE_UNAVAILABLE`, `ERR_INVALID_OPTION`
 */
export function leaseEngine(asked: Engine | EngineOptions | EngineName = 'auto'): EngineLease {
  if (typeof asked === 'string') return leaseShared(asked);
  if (isEngine(asked)) return { engine: asked, release: async () => undefined };
  const engine = createEngine(asked);
  return { engine, release: () => engine.close() };
}

function leaseShared(name: EngineName): EngineLease {
  const shared = sharedEngines.get(name) ?? { engine: createEngine(name), users: 0 };
  sharedEngines.set(name, shared);
  shared.users++;
  return { engine: shared.engine, release: () => release(name, shared) };
}

async function release(name: EngineName, shared: Shared): Promise<void> {
  if (--shared.users > 0) return;
  sharedEngines.delete(name);
  await shared.engine.close();
}

function isEngine(asked: Engine | EngineOptions): asked is Engine {
  return typeof (asked as Partial<Engine>).listen === 'function';
}
