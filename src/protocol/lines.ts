/**
 * The `lines` client protocol: text up to LF (a CR before it is dropped, a last line without LF counts at FIN), answered by one
 * line each in request order. `nc` is a client.
 */
import type { DelimiterFraming } from '../framing/framing.js';

const LF = 0x0a;
const CR = 0x0d;
const SPACE = 0x20;

/** Frames are the lines, without their ends. */
export function linesFraming(maxFrameLength: number): DelimiterFraming {
  return { format: 'delimiter', stripCarriageReturn: true, acceptUnterminated: true, maxFrameLength };
}

export function hasLineBreak(bytes: Uint8Array, start: number, end: number): boolean {
  for (let i = start; i < end; i++) if (bytes[i] === LF || bytes[i] === CR) return true;
  return false;
}

/** A copy in which each LF and CR is a space: an answer must stay one line. */
export function asOneLine(bytes: Uint8Array, start: number, end: number): Uint8Array {
  // Not slice(): a Buffer's is a view.
  const line = new Uint8Array(bytes.subarray(start, end));
  for (let i = 0; i < line.length; i++) if (line[i] === LF || line[i] === CR) line[i] = SPACE;
  return line;
}
