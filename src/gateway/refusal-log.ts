/**
 * What is counted where no connection and no task is there to log it: connections refused at accept, answers of backends that
 * nobody waited for. One line for all of a second, so that a flood does not fill the log too.
 */
import type { Engine } from '../engine/engine.js';
import type { CounterName } from '../engine/tables.gen.js';
import type { LinkCounters } from './backend-connection.js';
import type { Log } from './options.js';

const INTERVAL_MS = 1_000;
const REFUSED: readonly CounterName[] = ['refused_max_connections', 'refused_max_connections_per_ip', 'accept_errors'];
const UNEXPECTED = ['unknownResponses', 'lateResponses'] as const satisfies readonly (keyof LinkCounters)[];

export class RefusalLog {
  readonly #engine: Pick<Engine, 'counters'>;
  readonly #links: LinkCounters;
  readonly #log: Log;
  #dueMs = 0;
  #seen = new Map<string, number>();

  constructor(engine: Pick<Engine, 'counters'>, links: LinkCounters, log: Log) {
    this.#engine = engine;
    this.#links = links;
    this.#log = log;
    // An engine that was used before has counted before.
    const counters = engine.counters();
    for (const name of REFUSED) this.#seen.set(name, counters[name]);
  }

  tick(now: number): void {
    if (now < this.#dueMs) return;
    this.#dueMs = now + INTERVAL_MS;
    const counters = this.#engine.counters();
    this.#report('client.refused', REFUSED, (name) => counters[name]);
    this.#report('backend.unexpected-answers', UNEXPECTED, (name) => this.#links[name]);
  }

  /** The increases since the last line, and only those. */
  #report<Name extends string>(event: string, names: readonly Name[], read: (name: Name) => number): void {
    const increases: Record<string, number> = {};
    for (const name of names) {
      const value = read(name);
      const increase = value - (this.#seen.get(name) ?? 0);
      if (increase > 0) increases[name] = increase;
      this.#seen.set(name, value);
    }
    if (Object.keys(increases).length > 0) this.#log('warn', event, increases);
  }
}
