/** A handler that writes down what it is told, for tests to wait for. */
import type { CloseInfo, Connection, Handler } from '../../src/engine/engine.js';
import { Changes } from './changes.js';

export interface Ended {
  readonly connection: Connection;
  readonly info: CloseInfo;
}

export class Recorder implements Handler {
  readonly changes = new Changes();
  readonly opened: Connection[] = [];
  /** Copies of the frames, in the order they came, of all connections. */
  readonly frames: Buffer[] = [];
  readonly closed: Ended[] = [];
  ends = 0;
  drains = 0;
  batches = 0;
  /** Only there where a hook is given: engines ask whether they are. */
  readonly end?: (connection: Connection) => void;
  readonly idle?: (connection: Connection) => boolean;
  readonly #hooks: Partial<Handler>;

  constructor(hooks: Partial<Handler> = {}) {
    this.#hooks = hooks;
    if (hooks.idle !== undefined) this.idle = hooks.idle.bind(hooks);
    if (hooks.end !== undefined) this.end = (connection) => this.#ended(connection);
  }

  open(connection: Connection): void {
    this.opened.push(connection);
    this.#tell(() => this.#hooks.open?.(connection));
  }

  frame(connection: Connection, bytes: Uint8Array, start: number, end: number): void {
    this.frames.push(Buffer.from(bytes.subarray(start, end)));
    this.#tell(() => this.#hooks.frame?.(connection, bytes, start, end));
  }

  batchEnd(): void {
    this.batches++;
    this.#tell(() => this.#hooks.batchEnd?.());
  }

  #ended(connection: Connection): void {
    this.ends++;
    this.#tell(() => this.#hooks.end?.(connection));
  }

  drain(connection: Connection): void {
    this.drains++;
    this.#tell(() => this.#hooks.drain?.(connection));
  }

  close(connection: Connection, info: CloseInfo): void {
    this.closed.push({ connection, info });
    this.#tell(() => this.#hooks.close?.(connection, info));
  }

  #tell(hook: () => void): void {
    try {
      hook();
    } finally {
      this.changes.notify();
    }
  }

  async connection(index = 0): Promise<Connection> {
    await this.changes.until(`connection ${index} is open`, () => this.opened.length > index);
    return this.opened[index];
  }

  async frameAt(index: number): Promise<Buffer> {
    await this.changes.until(`frame ${index} came`, () => this.frames.length > index);
    return this.frames[index];
  }

  async closeInfo(index = 0): Promise<CloseInfo> {
    await this.changes.until(`connection ${index} closed`, () => this.closed.length > index);
    return this.closed[index].info;
  }
}

const header = new Uint8Array(4);

/** Answers each frame with itself behind its length: as an echo server on `lengthFraming` does. */
export function echoFrame(connection: Connection, bytes: Uint8Array, start: number, end: number): void {
  new DataView(header.buffer).setUint32(0, end - start);
  connection.sendFrame(header, 4, bytes, start, end);
}

/** A u32 big-endian length that is not delivered. */
export const lengthFraming = { format: 'length-field', initialBytesToStrip: 4 } as const;
