/** What the gateway held before the fault, and whether it holds no more after it. */
import { byForm } from './form.js';
import type { GatewayProcess, Holdings } from './gateway-process.js';
import { until } from './until.js';

/** V8 compiles on, tables that grew stay grown, malloc keeps pages: none of it goes on growing with the fault. */
const HEAP_ALLOWANCE_BYTES = 12 << 20;
const RSS_ALLOWANCE_BYTES = 64 << 20;
/**
 * What node:net gave back to malloc stays there, up to all of what was in use at once (512 MiB of unsent answers, and more); `heapBytes` says that nobody holds it.
 * It does not grow: 200 clients that never read, four times in a row, left 474, 531, 533 and 541 MiB of at most 558 in use.
 * The native engines trim the heap.
 */
const PORTABLE_RSS_ALLOWANCE_BYTES = byForm(256, 768) << 20;
/** Links beyond the minimum, and those for long frames, are closed a minute after their last use: the long form waits for it. */
const SURPLUS_LINKS = byForm(6, 0);
const BACK_WITHIN_MS = byForm(20_000, 100_000);

export interface BackAtStart {
  readonly before: Holdings;
  readonly after: Holdings;
}

export class StartLine {
  readonly #gateway: GatewayProcess;
  readonly #before: Holdings;

  private constructor(gateway: GatewayProcess, before: Holdings) {
    this.#gateway = gateway;
    this.#before = before;
  }

  static async draw(gateway: GatewayProcess): Promise<StartLine> {
    return new StartLine(gateway, await gateway.holdings());
  }

  /** Rejects with the figures when it does not come back. */
  async back(): Promise<BackAtStart> {
    const before = this.#before;
    const rssAllowance = this.#gateway.driver === 'portable' ? PORTABLE_RSS_ALLOWANCE_BYTES : RSS_ALLOWANCE_BYTES;
    let after = before;
    const isBack = async (): Promise<boolean> => {
      after = await this.#gateway.holdings();
      return (
        after.fds <= before.fds + SURPLUS_LINKS &&
        after.heapBytes <= before.heapBytes + HEAP_ALLOWANCE_BYTES &&
        after.rssBytes <= before.rssBytes + rssAllowance
      );
    };
    const figures = (): string => `before ${JSON.stringify(before)}, after ${JSON.stringify(after)}`;
    await until('memory and file descriptors are back at the start line', isBack, BACK_WITHIN_MS, figures);
    return { before, after };
  }
}
