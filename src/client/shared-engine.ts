/** One engine for all clients of a process that ask for the same one; it is closed with the last of them. */
import type { Engine, EngineName } from '../engine/engine.js';
import { createEngine } from '../engine/select-engine.js';

interface Shared {
  readonly engine: Promise<Engine>;
  users: number;
}

const sharedEngines = new Map<EngineName, Shared>();

export interface EngineLease {
  /** Rejects when a named engine cannot run. */
  readonly engine: Promise<Engine>;
  release(): Promise<void>;
}

export function leaseEngine(kind: EngineName): EngineLease {
  // Clients have few connections: inside Node's own loop they cost no thread and no wake-ups.
  const shared = sharedEngines.get(kind) ?? { engine: start(kind), users: 0 };
  sharedEngines.set(kind, shared);
  shared.users++;
  return { engine: shared.engine, release: () => release(kind, shared) };
}

async function start(kind: EngineName): Promise<Engine> {
  return createEngine({ kind, reactors: 0 });
}

async function release(kind: EngineName, shared: Shared): Promise<void> {
  if (--shared.users > 0) return;
  if (sharedEngines.get(kind) === shared) sharedEngines.delete(kind);
  const engine = await shared.engine.catch(() => undefined);
  await engine?.close();
}
