/** The other end of a connection, by hand over node:net: it sends what the test says, right or wrong, and remembers what came. */
import { connect, createServer, type NetConnectOpts, type Server, type Socket } from 'node:net';
import type { Listener } from '../../src/engine/engine.js';
import { Changes } from './changes.js';

export class TcpPeer {
  readonly socket: Socket;
  readonly changes = new Changes();
  /** How its end came: FIN, RST, or both halves closed. */
  ended = false;
  closed = false;
  error: NodeJS.ErrnoException | undefined = undefined;
  receivedBytes = 0;
  readonly #chunks: Buffer[] = [];

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('connect', () => this.changes.notify());
    socket.on('data', (chunk: Buffer) => {
      this.#chunks.push(chunk);
      this.receivedBytes += chunk.length;
      this.changes.notify();
    });
    socket.on('end', () => {
      this.ended = true;
      this.changes.notify();
    });
    socket.on('error', (error) => {
      this.error = error;
      this.changes.notify();
    });
    socket.on('close', () => {
      this.closed = true;
      this.changes.notify();
    });
  }

  /** @param options `paused`: reads nothing until `resume`. */
  static async connect(
    address: Listener['address'],
    options: { readonly paused?: boolean; readonly localAddress?: string } = {},
  ): Promise<TcpPeer> {
    const { localAddress } = options;
    const where = 'path' in address ? { path: address.path } : { host: address.host, port: address.port, localAddress };
    const socket = connect({ ...where, allowHalfOpen: true, noDelay: true } as NetConnectOpts);
    const peer = new TcpPeer(socket);
    if (options.paused === true) socket.pause();
    await peer.changes.until('the peer is connected', () => {
      if (peer.error !== undefined) throw peer.error;
      return !socket.connecting;
    });
    return peer;
  }

  get received(): Buffer {
    if (this.#chunks.length > 1) this.#chunks.splice(0, this.#chunks.length, Buffer.concat(this.#chunks));
    return this.#chunks[0] ?? Buffer.alloc(0);
  }

  write(bytes: Uint8Array | string): void {
    this.socket.write(bytes);
  }

  /** Resolves when the kernel took the bytes. */
  written(bytes: Uint8Array | string): Promise<void> {
    return new Promise((resolve, reject) => this.socket.write(bytes, (error) => (error ? reject(error) : resolve())));
  }

  async bytes(count: number): Promise<Buffer> {
    await this.changes.until(`${count} bytes came`, () => this.receivedBytes >= count || this.#broken(count));
    return this.received;
  }

  #broken(count: number): boolean {
    if (this.closed)
      throw new Error(`closed after ${this.receivedBytes} of ${count} bytes: ${this.error?.code ?? 'FIN'}`);
    return false;
  }

  fin(): void {
    this.socket.end();
  }

  reset(): void {
    this.socket.resetAndDestroy();
  }

  async end(): Promise<void> {
    await this.changes.until('the peer got FIN', () => this.ended || this.closed);
  }

  async close(): Promise<void> {
    await this.changes.until('the peer is closed', () => this.closed);
  }

  destroy(): void {
    this.socket.destroy();
  }
}

/** A listening socket whose connections are peers. */
export class TcpPeerServer {
  readonly peers: TcpPeer[] = [];
  readonly changes = new Changes();
  readonly #server: Server;

  private constructor(paused: boolean) {
    this.#server = createServer({ allowHalfOpen: true, noDelay: true, pauseOnConnect: paused }, (socket) => {
      this.peers.push(new TcpPeer(socket));
      if (paused) socket.pause();
      this.changes.notify();
    });
  }

  static async listen(options: { readonly host?: string; readonly path?: string; readonly paused?: boolean } = {}) {
    const { host = '127.0.0.1', path, paused = false } = options;
    const server = new TcpPeerServer(paused);
    await new Promise<void>((resolve) =>
      server.#server.listen(path === undefined ? { host, port: 0 } : { path }, resolve),
    );
    return server;
  }

  get address(): Listener['address'] {
    const bound = this.#server.address();
    if (bound === null) throw new Error('not listening');
    return typeof bound === 'string' ? { path: bound } : { host: bound.address, port: bound.port };
  }

  async peer(index = 0): Promise<TcpPeer> {
    await this.changes.until(`${index + 1} connections came`, () => this.peers.length > index);
    return this.peers[index];
  }

  destroy(): void {
    for (const peer of this.peers) peer.destroy();
    this.#server.close();
  }
}

/** A u32 big-endian length and the payload. */
export function lengthPrefixed(payload: Uint8Array | string): Buffer {
  const bytes = Buffer.from(payload);
  const frame = Buffer.allocUnsafe(4 + bytes.length);
  frame.writeUInt32BE(bytes.length, 0);
  bytes.copy(frame, 4);
  return frame;
}
