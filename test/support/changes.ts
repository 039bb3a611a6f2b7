/** Waiting for a condition without a clock: it is looked at again whenever somebody says that something has changed. */
export class Changes {
  readonly #waiting = new Set<() => void>();

  notify(): void {
    for (const look of [...this.#waiting]) look();
  }

  /** @param what For the message of a test that times out waiting. An exception of the condition is the promise's. */
  until(what: string, condition: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      const look = (): void => {
        try {
          if (!condition()) return;
          this.#settle(look);
          resolve();
        } catch (error) {
          this.#settle(look);
          reject(error);
        }
      };
      this.#waiting.add(look);
      waitingFor.set(look, what);
      look();
    });
  }

  #settle(look: () => void): void {
    this.#waiting.delete(look);
    waitingFor.delete(look);
  }
}

const waitingFor = new Map<() => void, string>();

/** What has not come yet, and is forgotten with this: printed where a test times out. */
export function takeWaiting(): string[] {
  const waiting = [...waitingFor.values()];
  waitingFor.clear();
  return waiting;
}

/** A condition that does not come must not keep the loop busy through the tests that follow. */
const LONGEST_MS = 10_000;

/** Lets the loop turn until the condition holds: for what has no event, such as a counter. */
export async function turnUntil(condition: () => boolean): Promise<void> {
  const until = performance.now() + LONGEST_MS;
  while (!condition()) {
    if (performance.now() > until) throw new Error(`not after ${LONGEST_MS} ms: ${condition}`);
    await new Promise((resolve) => setImmediate(resolve));
  }
}
