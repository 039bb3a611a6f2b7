import type { Listener } from './engine.js';
import type { HandlerEntry, Watermarks } from './native-connection.js';
import type { NativeEngine } from './native-engine.js';
import type { ResolvedListenOptions } from './resolve-options.js';

/** A listening socket of the native engine: what its connections share. The socket itself lives in a reactor. */
export class NativeListener implements Listener {
  readonly address: Listener['address'];
  readonly id: number;
  readonly entry: HandlerEntry;
  readonly marks: Watermarks;
  readonly closed: Promise<void>;
  markClosed!: () => void;
  referenced = true;
  readonly #engine: NativeEngine;
  #closing = false;

  constructor(engine: NativeEngine, id: number, address: Listener['address'], entry: HandlerEntry, marks: Watermarks) {
    this.#engine = engine;
    this.id = id;
    this.address = address;
    this.entry = entry;
    this.marks = marks;
    this.closed = new Promise((resolve) => {
      this.markClosed = resolve;
    });
  }

  get connections(): number {
    return this.#engine.connectionsOf(this.id);
  }

  close(): Promise<void> {
    if (!this.#closing) {
      this.#closing = true;
      this.#engine.closeListener(this.id);
    }
    return this.closed;
  }

  ref(): void {
    if (this.referenced) return;
    this.referenced = true;
    this.#engine.addRef();
  }

  unref(): void {
    if (!this.referenced) return;
    this.referenced = false;
    this.#engine.dropRef();
  }
}

/** What it listens on, by what was asked for and what the socket says. One that was handed over may be of either kind. */
export function boundAddress(
  bound: { host: string; port: number; path?: string },
  options: ResolvedListenOptions,
): Listener['address'] {
  const { host, port, path } = bound;
  if ('path' in options.address) return { path: options.address.path };
  return path === undefined ? { host, port } : { path };
}
