/** Slots; a power of two. */
const SLOTS = 64;

/**
 * Addresses as strings. Connections come from few addresses (of proxies, of the same machine), so that most share a string with
 * others instead of each holding its own.
 */
export class AddressTexts {
  readonly #texts: string[] = new Array(SLOTS).fill('');

  /** Of `bytes[start, end)`, one character each. */
  take(bytes: Uint8Array, start: number, end: number): string {
    let hash = 0;
    for (let i = start; i < end; i++) hash = (hash * 31 + bytes[i]) | 0;
    const slot = hash & (SLOTS - 1);
    const known = this.#texts[slot];
    if (isText(known, bytes, start, end)) return known;
    const text = String.fromCharCode(...bytes.subarray(start, end));
    this.#texts[slot] = text;
    return text;
  }
}

function isText(text: string, bytes: Uint8Array, start: number, end: number): boolean {
  if (text.length !== end - start) return false;
  for (let i = start; i < end; i++) if (text.charCodeAt(i - start) !== bytes[i]) return false;
  return true;
}
