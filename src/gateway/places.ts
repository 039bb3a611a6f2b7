/**
 * Numbers for objects that many tasks refer to: a record holds the number, and is spared the reference. A place is reused after
 * `remove`, so whoever removes makes sure that nobody holds it any more.
 */
export const NO_PLACE = -1;

export class Places<T> {
  readonly #items: (T | undefined)[] = [];
  readonly #free: number[] = [];

  add(item: T): number {
    const place = this.#free.pop() ?? this.#items.length;
    if (place === this.#items.length) this.#items.push(item);
    else this.#items[place] = item;
    return place;
  }

  /** Items that have a place. */
  get size(): number {
    return this.#items.length - this.#free.length;
  }

  /** Undefined for NO_PLACE. */
  at(place: number): T | undefined {
    return place === NO_PLACE ? undefined : this.#items[place];
  }

  remove(place: number): void {
    this.#items[place] = undefined;
    this.#free.push(place);
  }
}
