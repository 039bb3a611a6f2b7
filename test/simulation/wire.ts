/**
 * Bytes of the simulated world. Every payload begins with the number of its task, so that whoever sees it knows whose it is; the
 * rest is one letter that follows from the number, so that mixed up or overwritten bytes are noticed.
 */
import { At, Flag, HEADER_BYTES, readU16, writeHeader } from '../../src/protocol/rmp.js';

/** A mark and five characters of six bits each: 2^30 tasks. None of the characters is a CR or LF. */
const TAG_BYTES = 6;
const TAG_MARK = 0x23;
const TAG_FIRST = 0x30;
const LF = 0x0a;
const SPACE = 0x20;

/** The shortest payload of a task. */
export const MIN_BODY_BYTES = TAG_BYTES;

/** Requests are filled with small letters, answers with capitals. */
const REQUEST_LETTER = 0x61;
const ANSWER_LETTER = 0x41;

export const NO_BODY = new Uint8Array(0);

function body(task: number, length: number, letter: number): Uint8Array {
  const bytes = Buffer.allocUnsafe(length);
  bytes[0] = TAG_MARK;
  for (let i = 1; i < TAG_BYTES; i++) bytes[i] = TAG_FIRST + ((task >>> (6 * (i - 1))) & 63);
  bytes.fill(letter + (task % 26), TAG_BYTES);
  return bytes;
}

/** @param length at least MIN_BODY_BYTES */
export function requestBody(task: number, length: number): Uint8Array {
  return body(task, length, REQUEST_LETTER);
}

/** An answer with room for it has a line break in it, which a client of `lines` gets as a space. */
export function answerBody(task: number, length: number): Uint8Array {
  const bytes = body(task, length, ANSWER_LETTER);
  if (task % 5 === 0 && length > TAG_BYTES + 1) bytes[TAG_BYTES] = LF;
  return bytes;
}

/** The task whose payload begins at `start`, or -1. */
export function taskOf(bytes: Uint8Array, start: number, end: number): number {
  if (end - start < TAG_BYTES || bytes[start] !== TAG_MARK) return -1;
  let task = 0;
  for (let i = TAG_BYTES - 1; i > 0; i--) {
    const digit = bytes[start + i] - TAG_FIRST;
    if (digit < 0 || digit > 63) return -1;
    task = (task << 6) | digit;
  }
  return task;
}

/** Whether the bytes behind the number are still those that were sent. First and last are looked at, and one between. */
export function isRequestOf(task: number, bytes: Uint8Array, start: number, end: number): boolean {
  return sound(task, bytes, start, end, REQUEST_LETTER + (task % 26));
}

export function isAnswerOf(task: number, bytes: Uint8Array, start: number, end: number): boolean {
  return sound(task, bytes, start, end, ANSWER_LETTER + (task % 26));
}

function sound(task: number, bytes: Uint8Array, start: number, end: number, letter: number): boolean {
  if (taskOf(bytes, start, end) !== task) return false;
  const first = start + TAG_BYTES;
  if (first === end) return true;
  if (bytes[first] !== letter && bytes[first] !== LF && bytes[first] !== SPACE) return false;
  return end - first === 1 || (bytes[end - 1] === letter && bytes[(first + end) >> 1] === letter);
}

/** A whole RMP frame. */
export function rmpFrame(
  kind: number,
  flags: number,
  route: number,
  id: number,
  arg: number,
  payload: Uint8Array,
): Uint8Array {
  const bytes = Buffer.allocUnsafe(HEADER_BYTES + payload.length);
  writeHeader(bytes, payload.length, kind, flags, route, id, arg);
  bytes.set(payload, At.payload);
  return bytes;
}

/** Where the body begins behind the meta, if the flags say that there is some. */
export function bodyAt(flags: number, bytes: Uint8Array, start: number): number {
  return (flags & Flag.meta) === 0 ? start : start + 2 + readU16(bytes, start);
}
