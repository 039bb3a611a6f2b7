/**
 * The memory that tasks keep payloads in. The engine lets the frames of a batch share one slab, so a slab is counted in once and
 * its users by number; it is let go with the last of them.
 */
import { NO_PLACE, Places } from './places.js';

export class KeptBytes {
  /** Memory of all slabs that are held, whatever part of them is used. */
  bytes = 0;
  readonly #slabs = new Places<Uint8Array>();
  readonly #users: number[] = [];
  /** The one held last: most probably the next one too. */
  #newest: Uint8Array | undefined;
  #newestPlace = NO_PLACE;

  /** Slabs that some task has bytes in. */
  get size(): number {
    return this.#slabs.size;
  }

  /** The place of `bytes`, with one user more. */
  hold(bytes: Uint8Array): number {
    if (bytes !== this.#newest) this.#add(bytes);
    this.#users[this.#newestPlace]++;
    return this.#newestPlace;
  }

  at(place: number): Uint8Array | undefined {
    return this.#slabs.at(place);
  }

  drop(place: number): void {
    if (--this.#users[place] > 0) return;
    this.bytes -= this.#slabs.at(place)!.length;
    this.#slabs.remove(place);
    if (place === this.#newestPlace) this.#newest = undefined;
  }

  #add(bytes: Uint8Array): void {
    const place = this.#slabs.add(bytes);
    if (place === this.#users.length) this.#users.push(0);
    this.#users[place] = 0;
    this.bytes += bytes.length;
    this.#newest = bytes;
    this.#newestPlace = place;
  }
}
