/** How the native engine comes to be: the addon is loaded, its layout compared, its rings allocated. */
import { RingwayError, shown } from '../errors.js';
import type { Engine, EngineOptions } from './engine.js';
import { loadAddon } from './load-addon.js';
import { type Addon, allocateRings, type EngineHandle, LAYOUT } from './native.js';
import { NativeEngine } from './native-engine.js';
import { defaultReactors } from './reactor-count.js';
import { resolveBytes } from './resolve-options.js';
import { ENGINE_LIMITS } from './tables.gen.js';

const MAX_REACTORS = 64;

/** What the addon made of the options. */
export interface Created {
  readonly handle: EngineHandle;
  readonly driver: 'io_uring' | 'epoll';
  readonly reason: string;
  readonly events: { take: () => boolean };
}

/** The native engine, or the sentence why there is none. */
export function createNativeEngine(
  options: EngineOptions,
): { engine: Engine; reason?: undefined } | { reason: string } {
  const kind = options.kind ?? 'auto';
  if (kind === 'portable') return { reason: 'the portable engine was asked for' };
  const loaded = loadAddon();
  if (loaded.error !== undefined) return { reason: loaded.error };
  const addon = loaded.addon as Addon;
  if (String(addon.layout?.()) !== String(LAYOUT)) {
    return {
      reason: `the native engine at ${loaded.path} is of another version: build it again (npx ringway build; in a clone, npm run build:native)`,
    };
  }
  const reactors = resolveReactors(options.reactors ?? 'auto');
  const memory = Array.from({ length: Math.max(1, reactors) }, allocateRings);
  const events = { take: () => false };
  const created = addon.createEngine(
    {
      kind,
      reactors,
      maxEngineBytes: resolveBytes('maxEngineBytes', options.maxEngineBytes, ENGINE_LIMITS.maxEngineBytes),
      maxPartialBytes: resolveBytes('maxPartialBytes', options.maxPartialBytes, ENGINE_LIMITS.maxPartialBytes),
    },
    memory,
    () => events.take(),
  );
  if (created.error !== undefined) return { reason: created.error };
  return { engine: new NativeEngine(addon, { ...created, events }, memory, reactors) };
}

/** What of io_uring this machine has, found by trying: for `ringway doctor`. Empty where there is no addon. */
export function describeIoUring(): ReturnType<Addon['describe']> {
  const loaded = loadAddon();
  return loaded.error === undefined ? (loaded.addon as Addon).describe() : [];
}

function resolveReactors(reactors: number | 'auto'): number {
  if (reactors === 'auto') return defaultReactors();
  if (!Number.isInteger(reactors) || reactors < 0 || reactors > MAX_REACTORS) {
    const right = `it must be 'auto' or an integer from 0 to ${MAX_REACTORS}`;
    throw new RingwayError('ERR_INVALID_OPTION', ['reactors', shown(reactors), right]);
  }
  return reactors;
}
