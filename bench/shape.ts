/** What the load looks like: connections, requests in flight on each, payload sizes, and what is done with them. */

/** Closed requests; connect-request-close; one request and many partial responses; requests cancelled before their answer. */
export const MODES = ['request', 'churn', 'stream', 'cancel'] as const;
export type Mode = (typeof MODES)[number];

export interface Shape {
  readonly connections: number;
  /** Requests in flight on each; 0 at a constant arrival rate, where nothing waits for an answer. */
  readonly depth: number;
  /** Payload bytes, or sizes with their weights: `64:70,1024:30`. */
  readonly sizes: string;
  readonly mode: Mode;
  /** Connections held open beside, without a message. */
  readonly idle: number;
}

/** Partial responses of one request in `stream`. */
export const PARTIALS = 100;

export function shape(connections: number, depth: number, sizes: number | string, more: Partial<Shape> = {}): Shape {
  return { connections, depth, sizes: String(sizes), mode: 'request', idle: 0, ...more };
}

/** `500 × 16, 64 B` */
export function describeShape({ connections, depth, sizes, mode, idle }: Shape): string {
  const size = /^\d+$/.test(sizes) ? describeBytes(Number(sizes)) : 'mixed sizes';
  const kind = {
    request: '',
    churn: ', connect-request-close',
    stream: `, ${PARTIALS} partials`,
    cancel: ', cancelled',
  };
  const load =
    depth > 0 ? `${connections} × ${depth}` : `${connections} ${connections === 1 ? 'connection' : 'connections'}`;
  return `${load}, ${size}${kind[mode]}${idle > 0 ? `, ${idle.toLocaleString('en-US')} idle beside` : ''}`;
}

export function describeBytes(bytes: number): string {
  return bytes >= 1024 && bytes % 1024 === 0 ? `${bytes / 1024} KB` : `${bytes} B`;
}

const PATTERN = /^(\d+)x(\d+)x([\d:,]+)(?:\+(\d+)idle)?(?:\/(\w+))?$/;

/** `CONNECTIONSxDEPTHxSIZES[+Nidle][/mode]`: `200x4x512`, `100x1x64+10000idle`, `50x1x64/churn`. Undefined when it is none. */
export function parseShape(text: string): Shape | undefined {
  const match = PATTERN.exec(text);
  if (match === null) return undefined;
  const [, connections, depth, sizes, idle = '0', mode = 'request'] = match;
  const known = MODES.find((name) => name === mode);
  const wellFormed =
    /^(\d+|\d+:\d+(,\d+:\d+)*)$/.test(sizes) && sizes.split(',').every((part) => Number.parseInt(part, 10) >= 8);
  if (known === undefined || !wellFormed || Number(connections) < 1 || Number(depth) < 1) return undefined;
  return shape(Number(connections), Number(depth), sizes, { mode: known, idle: Number(idle) });
}
