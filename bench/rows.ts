/** What is measured, and what it must reach: CPU time per message as a share of another server's, at most. */
import type { Shape } from './load.js';

export interface EchoRow {
  readonly shape: Shape;
  /** Against `node:net` with careful JS framing. */
  readonly limit: number;
}

export interface RelayRow {
  readonly shape: Shape;
  /** Against HAProxy `mode tcp`, one thread. */
  readonly limit: number;
  /** Against the same gateway on the portable engine. */
  readonly portableLimit: number;
}

export const ECHO_ROWS: readonly EchoRow[] = [
  { shape: { connections: 500, depth: 1, size: 64 }, limit: 0.65 },
  { shape: { connections: 500, depth: 16, size: 64 }, limit: 0.5 },
  { shape: { connections: 50, depth: 1, size: 4096 }, limit: 0.85 },
];

export const RELAY_ROWS: readonly RelayRow[] = [
  { shape: { connections: 500, depth: 1, size: 64 }, limit: 0.6, portableLimit: 0.5 },
  { shape: { connections: 500, depth: 16, size: 64 }, limit: 0.8, portableLimit: 0.5 },
];

/** Resident memory that the idle connections of the echo server may add. */
export const IDLE_LIMIT_BYTES = 15_000_000;

export function shapeName({ connections, depth, size }: Shape): string {
  return `${connections} × ${depth}, ${size} B`;
}
