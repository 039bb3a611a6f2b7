/** Each behaviour once, on every engine that runs here. */
import { afterEach, beforeEach, describe, expect } from 'vitest';
import type { DriverName, Engine, EngineOptions, Listener } from '../../src/engine/engine.js';
import { createNativeEngine } from '../../src/engine/create-native-engine.js';
import { createEngine } from '../../src/engine/select-engine.js';
import type { CounterName } from '../../src/engine/tables.gen.js';
import { takeWaiting, turnUntil } from './changes.js';
import { TcpPeer } from './tcp-peer.js';

const DRIVERS: readonly DriverName[] = ['io_uring', 'epoll', 'portable'];
/** `TEST_ENGINES=io_uring,epoll`: only these, and each of them must be able to run. */
const required = (process.env.TEST_ENGINES ?? '').split(',').filter((name) => name !== '') as DriverName[];

/** One way of running an engine. */
export interface EngineRun {
  readonly driver: DriverName;
  readonly reactors: number | 'auto';
  /** A new engine; it is checked that it really runs on this driver. The test closes it. */
  create(options?: Omit<EngineOptions, 'kind' | 'reactors'>): Engine;
}

export interface EngineRunOptions {
  /** Of the native engines, each a run of its own. Default: one run with `auto`. */
  readonly reactors?: readonly (number | 'auto')[];
}

/**
 * Runs the suite once on each engine. One that cannot run here is reported with its reason and skipped; where the
 * environment's TEST_ENGINES names the engines, only these run, and one that cannot fails.
 */
export function describeEngines(
  name: string,
  suite: (engine: DriverName, run: EngineRun) => void,
  { reactors = ['auto'] }: EngineRunOptions = {},
): void {
  for (const driver of required.length > 0 ? required : DRIVERS) {
    const reason = whyNot(driver);
    const skipped = reason !== undefined && required.length === 0;
    if (skipped) {
      console.log(`${name}: not run on ${driver}: ${reason}`);
    }
    for (const count of driver === 'portable' ? [0] : reactors) {
      const title = `${name} on ${driver}${count === 'auto' || driver === 'portable' ? '' : `, reactors ${count}`}`;
      describe.skipIf(skipped)(title, () => suite(driver, runOf(driver, count)));
    }
  }
}

function runOf(driver: DriverName, reactors: number | 'auto'): EngineRun {
  return {
    driver,
    reactors,
    create: (options = {}) => {
      const engine = createEngine({ ...options, kind: driver, reactors });
      if (engine.name !== driver) throw new Error(`${driver} was asked for and ${engine.name} runs`);
      if (driver !== 'portable' && reactors !== 'auto' && engine.reactors !== reactors) {
        throw new Error(`${reactors} reactors were asked for and ${engine.reactors} run`);
      }
      return engine;
    },
  };
}

const probed = new Map<DriverName, string | undefined>();

/** The reason why a driver cannot run, by really trying. */
function whyNot(driver: DriverName): string | undefined {
  if (driver === 'portable') return undefined;
  if (!probed.has(driver)) {
    const tried = createNativeEngine({ kind: driver, reactors: 0 });
    probed.set(driver, tried.reason);
    if (tried.reason === undefined) void tried.engine.close();
  }
  return probed.get(driver);
}

/** An engine for each test, and what the test opened beside it; all ends with the test. */
export interface EngineFixture {
  readonly engine: Engine;
  /** A peer that is connected to the listener. */
  peer(listener: Listener | Listener['address'], options?: { readonly paused?: boolean }): Promise<TcpPeer>;
  /** The engine's counters become these (reactors write them when they come to it); others are not looked at. */
  counted(expected: Partial<Record<CounterName, number>>): Promise<void>;
  /** To be done at the end of the test, in reverse order. */
  cleanUp(action: () => unknown): void;
}

export function useEngine(run: EngineRun, options?: Omit<EngineOptions, 'kind' | 'reactors'>): EngineFixture {
  let engine: Engine;
  const cleanUps: (() => unknown)[] = [];
  beforeEach(() => {
    engine = run.create(options);
  });
  afterEach(async ({ task }) => {
    if (task.result?.state === 'fail') console.log(`${task.name}: still waiting for`, takeWaiting());
    for (const action of cleanUps.splice(0).reverse()) await action();
    await engine.close();
  });
  return {
    get engine() {
      return engine;
    },
    async peer(listener, peerOptions) {
      const peer = await TcpPeer.connect('close' in listener ? listener.address : listener, peerOptions);
      cleanUps.push(() => peer.destroy());
      return peer;
    },
    async counted(expected) {
      const names = Object.keys(expected) as CounterName[];
      await turnUntil(() => names.every((name) => engine.counters()[name] === expected[name])).catch(() => {
        expect(engine.counters()).toMatchObject(expected);
      });
    },
    cleanUp: (action) => cleanUps.push(action),
  };
}
