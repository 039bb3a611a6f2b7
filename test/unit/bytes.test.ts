import { deepStrictEqual } from 'node:assert/strict';
import { Buffer } from 'node:buffer';
import { describe, expect, test } from 'vitest';
import { bufferOver } from '../../src/bytes.js';

describe('bufferOver', () => {
  const memory = new ArrayBuffer(64);

  test('makes what Buffer.from makes: a Buffer on that memory, and nothing else', () => {
    const made = bufferOver(memory, 8, 16);
    deepStrictEqual(made, Buffer.from(memory, 8, 16));
    expect(Buffer.isBuffer(made)).toBe(true);
    expect(Object.getPrototypeOf(made)).toBe(Buffer.prototype);
    expect(made.buffer).toBe(memory);
    expect([made.byteOffset, made.length]).toEqual([8, 16]);
    made.write('here');
    expect(Buffer.from(memory).toString('latin1', 8, 12)).toBe('here');
    expect(bufferOver(memory, 64, 0)).toHaveLength(0);
  });

  test('memory that is not there is refused', () => {
    expect(() => bufferOver(memory, 60, 5)).toThrow(RangeError);
    expect(() => bufferOver(memory, 65, 0)).toThrow(RangeError);
  });
});
