/** One engine for everybody in the process who did not ask for one of their own; it closes with its last user. */
import type { Engine, EngineName, EngineOptions } from './engine.js';
import { createEngine } from './select-engine.js';

export interface EngineLease {
  readonly engine: Engine;
  /** To be called once. Closes the engine where nobody else uses it. */
  release(): Promise<void>;
}

let shared: Engine | undefined;
let users = 0;

/**
 * @param asked An engine: it is borrowed, and its owner closes it. Options or a name: an engine of its own. Nothing: the
 *   process's shared one, `auto`.
 * @throws RingwayError `ERR_ENGINE_UNAVAILABLE`, `ERR_INVALID_OPTION`
 */
export function leaseEngine(asked?: Engine | EngineOptions | EngineName): EngineLease {
  if (asked === undefined) return leaseShared();
  if (isEngine(asked)) return { engine: asked, release: async () => undefined };
  const engine = createEngine(asked);
  return { engine, release: () => engine.close() };
}

function leaseShared(): EngineLease {
  shared ??= createEngine();
  users++;
  const engine = shared;
  return { engine, release: () => releaseShared(engine) };
}

async function releaseShared(engine: Engine): Promise<void> {
  if (--users > 0) return;
  shared = undefined;
  await engine.close();
}

function isEngine(asked: Engine | EngineOptions | EngineName): asked is Engine {
  return typeof asked === 'object' && typeof (asked as Partial<Engine>).listen === 'function';
}
