/** The addresses of a name, which change, and answers to lookups that come when the simulation lets them. */
import type { Random } from './random.js';

interface Lookup {
  readonly resolve: (addresses: readonly string[]) => void;
  readonly reject: (error: Error) => void;
}

const ADDRESSES = 4;

export class NameService {
  addresses: string[];
  readonly #random: Random;
  readonly #lookups: Lookup[] = [];

  constructor(random: Random) {
    this.#random = random;
    this.addresses = this.#some();
  }

  readonly resolve = (_host: string): Promise<readonly string[]> =>
    new Promise((resolve, reject) => this.#lookups.push({ resolve, reject }));

  get waiting(): number {
    return this.#lookups.length;
  }

  /** Some backends leave, some come. */
  change(): void {
    this.addresses = this.#some();
  }

  /** Answers one lookup; the caller lets microtasks run. */
  answer(mayFail: boolean): void {
    const lookup = this.#lookups.shift();
    if (lookup === undefined) return;
    if (!mayFail || this.#random.chance(0.9)) lookup.resolve(this.addresses);
    else if (this.#random.chance(0.5)) lookup.resolve([]);
    else lookup.reject(new Error('ESERVFAIL'));
  }

  #some(): string[] {
    const all = Array.from({ length: ADDRESSES }, (_, i) => `10.0.1.${i + 1}`);
    const some = all.filter(() => this.#random.chance(0.5));
    return some.length > 0 ? some : [all[0]];
  }
}
