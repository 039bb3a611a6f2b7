/** What happened last in a simulation, for the report of a failure. Off while seeds only run: a failing one is run again. */
const KEPT = 200;

export class Trace {
  readonly enabled: boolean;
  readonly #lines: string[] = [];

  constructor(enabled: boolean) {
    this.enabled = enabled;
  }

  add(line: string): void {
    this.#lines.push(line);
    if (this.#lines.length > KEPT) this.#lines.shift();
  }

  last(count: number): string[] {
    return this.#lines.slice(-count);
  }
}
