/** Native memory that was handed over to JavaScript. Sent again, it is passed on where it lies. */

import type { Addon } from './native.js';

/** The block, and where in it the ArrayBuffer begins. The ArrayBuffer owns a reference. */
export interface NativeBlock {
  readonly low: number;
  readonly high: number;
  readonly offset: number;
}

const BLOCK = Symbol('block');
type BlockBuffer = ArrayBufferLike & { [BLOCK]?: NativeBlock };

/** Takes a reference of the block over. @returns an ordinary Buffer on its memory, or on a copy where the runtime forbids that. */
export function openBlock(addon: Addon, block: NativeBlock, length: number): Buffer {
  const { low, high, offset } = block;
  const memory = addon.openBlock(low, high, offset, length);
  if (memory === null) {
    const copy = Buffer.allocUnsafeSlow(length);
    addon.readBlock(low, high, offset, copy);
    return copy;
  }
  (memory as BlockBuffer)[BLOCK] = block;
  return Buffer.from(memory);
}

/** Of bytes that lie in a block, wherever their view came from. */
export function blockOf(bytes: Uint8Array): NativeBlock | undefined {
  return (bytes.buffer as BlockBuffer)[BLOCK];
}
