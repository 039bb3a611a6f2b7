/**
 * The memory that tasks keep payloads in. The engine lets the frames of a batch share one slab, so a slab is counted in once and
 * its users by number; it is let go with the last of them, to the engine where it may be used again.
 */
import { NO_PLACE, Places } from './places.js';

export class KeptBytes {
  /** Memory of all slabs that are held, whatever part of them is used. */
  bytes = 0;
  readonly #slabs = new Places<Uint8Array>();
  /** Each slab once, or it would be used again while somebody still holds it by its other place. */
  readonly #placeOf = new Map<Uint8Array, number>();
  readonly #users: number[] = [];
  readonly #reusable: boolean[] = [];
  readonly #reuse: (slab: Uint8Array) => void;
  /** The one held last: most probably the next one too. */
  #newest: Uint8Array | undefined;
  #newestPlace = NO_PLACE;

  /** `reuse` is given the reusable slabs that nobody uses any more. */
  constructor(reuse: (slab: Uint8Array) => void) {
    this.#reuse = reuse;
  }

  /** Slabs that some task has bytes in. */
  get size(): number {
    return this.#slabs.size;
  }

  /** The place of `bytes`, with one user more. */
  hold(bytes: Uint8Array, isReusable: boolean): number {
    if (bytes !== this.#newest) {
      this.#newestPlace = this.#placeOf.get(bytes) ?? this.#add(bytes, isReusable);
      this.#newest = bytes;
    }
    this.#users[this.#newestPlace]++;
    return this.#newestPlace;
  }

  at(place: number): Uint8Array | undefined {
    return this.#slabs.at(place);
  }

  drop(place: number): void {
    if (--this.#users[place] > 0) return;
    const slab = this.#slabs.at(place)!;
    this.bytes -= slab.length;
    this.#slabs.remove(place);
    this.#placeOf.delete(slab);
    if (place === this.#newestPlace) this.#newest = undefined;
    if (this.#reusable[place]) this.#reuse(slab);
  }

  #add(bytes: Uint8Array, isReusable: boolean): number {
    const place = this.#slabs.add(bytes);
    this.#placeOf.set(bytes, place);
    this.#users[place] = 0;
    this.#reusable[place] = isReusable;
    this.bytes += bytes.length;
    return place;
  }
}
