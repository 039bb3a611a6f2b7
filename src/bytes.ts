/** Bytes that a caller gave: told from what only looks like them before native code reads memory by their word. */
// As a global `Buffer` is a getter, which costs a frame 10 ns (Node 20).
import { Buffer } from 'node:buffer';
import { isUint8Array } from 'node:util/types';
import { argumentError, shown } from './errors.js';

/** One of another realm (`node:vm`, jest) counts too: only the second question knows it, and the first answers for all others. */
export function isBytes(value: unknown): value is Uint8Array {
  return value instanceof Uint8Array || isUint8Array(value);
}

/** @throws TypeError `ERR_INVALID_BYTES` */
export function checkBytes(name: string, value: unknown): asserts value is Uint8Array {
  if (!isBytes(value)) throw notBytes(name, value, 'a Uint8Array, such as a Buffer, is needed');
}

/** Asked before `isBytes`: reading a length tells V8 the value's class, and whose instance it is then costs nothing (6 ns per frame). */
function hasLength(value: Uint8Array): boolean {
  return value !== undefined && value !== null && value.length >= 0;
}

/** Bytes as they are, text as UTF-8. @throws TypeError `ERR_INVALID_BYTES` */
export function bytesOf(name: string, value: Uint8Array | string): Uint8Array {
  if (typeof value === 'string') return Buffer.from(value);
  if (hasLength(value) && isBytes(value)) return value;
  throw notBytes(name, value, 'a Uint8Array, such as a Buffer, or a string is needed');
}

/** @throws TypeError `ERR_INVALID_BYTES`; RangeError `ERR_OUT_OF_RANGE` where `bytes` has no `[start, end)` */
export function checkRange(name: string, bytes: Uint8Array, start: number, end: number): void {
  // So written, what is no number is refused, too.
  if (hasLength(bytes) && start >= 0 && start <= end && end <= bytes.length && isBytes(bytes)) return;
  checkBytes(name, bytes);
  throw argumentError('ERR_OUT_OF_RANGE', [`${name}[${start}, ${end})`, `it has ${bytes.length} bytes`]);
}

type BufferClass = new (memory: ArrayBufferLike, offset: number, length: number) => Buffer;

/** The class whose objects Buffers are: what their species names; undefined where a runtime has it otherwise. */
const SPECIES = (Buffer as unknown as { readonly [Symbol.species]?: BufferClass })[Symbol.species];
const HAS_SPECIES = SPECIES !== undefined && (SPECIES as unknown) !== Buffer && SPECIES.prototype === Buffer.prototype;

/**
 * What `Buffer.from(memory, offset, length)` makes, at 14 ns instead of 24 (`subarray` takes 35; Node 20): nobody asks in C++ again
 * whether memory is memory. A constant of its module is known to V8's compiler, which makes a typed array in place then.
 */
export function bufferOver(memory: ArrayBufferLike, offset: number, length: number): Buffer {
  return HAS_SPECIES ? new SPECIES!(memory, offset, length) : Buffer.from(memory as ArrayBuffer, offset, length);
}

function notBytes(name: string, value: unknown, right: string): Error {
  return argumentError('ERR_INVALID_BYTES', [name, shown(value), `${right}${hintFor(value)}`]);
}

/** Those who have the bytes, only in another dress. */
function hintFor(value: unknown): string {
  if (ArrayBuffer.isView(value)) return ' (Buffer.from(it.buffer, it.byteOffset, it.byteLength) has its bytes)';
  if (value instanceof ArrayBuffer || value instanceof SharedArrayBuffer) return ' (Buffer.from(it) has its bytes)';
  return '';
}
