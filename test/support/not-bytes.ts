/** What is easily given where a Uint8Array is wanted, and how an error calls it. */
export const NOT_BYTES: readonly (readonly [name: string, value: never])[] = [
  ['a DataView', new DataView(new ArrayBuffer(8))],
  ['a Uint16Array', new Uint16Array(60_000)],
  ['an ArrayBuffer', new ArrayBuffer(4)],
  ['an array', [1, 2, 3]],
  ['an object', {}],
  ['42', 42],
  ['undefined', undefined],
  ['null', null],
].map(([name, value]) => [name as string, value as never]);
