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

/**
 * Nobody looks at it any more, nor will anything be sent from it: its memory goes now. The garbage collector would first mark its heap
 * for memory outside of it (256 KB relayed: a third of a gateway's CPU time).
 */
export function closeBlock(addon: Addon, memory: ArrayBuffer): void {
  (memory as BlockBuffer)[BLOCK] = undefined;
  addon.closeBlock(memory);
}

/** Of bytes that lie in a block, wherever their view came from. */
export function blockOf(bytes: Uint8Array): NativeBlock | undefined {
  return (bytes.buffer as BlockBuffer)[BLOCK];
}
