/** Connections that speak no protocol at all, by the hundred and the thousand. */
import { connect, type Socket } from 'node:net';

/** Opened at a time: what waits in the kernel's queue of a listening socket has its own bound. */
const AT_ONCE = 100;

export class RawClients {
  readonly sockets: Socket[] = [];
  closed = 0;
  failed = 0;
  readonly #port: number;

  constructor(port: number) {
    this.#port = port;
  }

  get open(): number {
    return this.sockets.length - this.closed;
  }

  /** Resolves when each is connected or refused. */
  async connect(count: number): Promise<void> {
    for (let done = 0; done < count; done += AT_ONCE) {
      await Promise.all(Array.from({ length: Math.min(AT_ONCE, count - done) }, () => this.#one()));
    }
  }

  /** To each that is open. */
  write(bytes: Uint8Array): void {
    for (const socket of this.sockets) if (socket.writable) socket.write(bytes);
  }

  destroy(): void {
    for (const socket of this.sockets) socket.destroy();
  }

  #one(): Promise<void> {
    const socket = connect({ host: '127.0.0.1', port: this.#port, noDelay: true });
    this.sockets.push(socket);
    return new Promise((resolve) => {
      socket.once('connect', resolve);
      socket.on('data', () => {});
      socket.on('error', () => {
        this.failed++;
        resolve();
      });
      socket.once('close', () => {
        this.closed++;
      });
    });
  }
}
