/** Recycled memory for what is gathered to be sent and for incomplete frames: four sizes, a few spare blocks of each. */
const SIZES = [1_024, 4_096, 16_384, 65_536] as const;
/** Spare bytes kept of each size: a busy turn's worth, not a burst's. */
const SPARE_BYTES = 1_048_576;

export const LARGEST_BLOCK = SIZES[SIZES.length - 1];

/** By a mark and not by its size: node:net reads 64 KB at a time, which is one of the sizes. */
const RECYCLED = Symbol('recycled');
type Recycled = Uint8Array & { [RECYCLED]?: boolean };

function recycled(size: number): Buffer {
  const block = Buffer.allocUnsafeSlow(size);
  (block as Recycled)[RECYCLED] = true;
  return block;
}

export class BlockPool {
  readonly #spare: Buffer[][] = SIZES.map(() => []);

  /** A block of the least size that holds `bytes`; over the largest size, memory of exactly that many, never recycled. */
  acquire(bytes: number): Buffer {
    for (let i = 0; i < SIZES.length; i++) {
      if (bytes <= SIZES[i]) return this.#spare[i].pop() ?? recycled(SIZES[i]);
    }
    return Buffer.allocUnsafeSlow(bytes);
  }

  /** Whether the memory is, or will be, recycled. */
  owns(bytes: Uint8Array): boolean {
    return (bytes as Recycled)[RECYCLED] === true;
  }

  /** Nobody may look at the block any more. */
  release(block: Buffer): void {
    for (let i = 0; i < SIZES.length; i++) {
      if (block.length !== SIZES[i]) continue;
      const spare = this.#spare[i];
      if (spare.length * SIZES[i] < SPARE_BYTES) spare.push(block);
      return;
    }
  }
}
