/** A peer that speaks RMP by hand, over node:net: what it sends is what the test says, right or wrong. */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { HEADER_BYTES, readU16, readU32, writeHeader } from '../../src/protocol/rmp.js';

export interface RmpFrame {
  readonly kind: number;
  readonly flags: number;
  readonly route: number;
  readonly id: number;
  readonly arg: number;
  readonly payload: Buffer;
}

export function rmpFrame(
  fields: Partial<Omit<RmpFrame, 'payload'>> & { kind: number; payload?: Uint8Array | string },
): Buffer {
  const payload = Buffer.from(fields.payload ?? '');
  const frame = Buffer.alloc(HEADER_BYTES + payload.length);
  writeHeader(
    frame,
    payload.length,
    fields.kind,
    fields.flags ?? 0,
    fields.route ?? 0,
    fields.id ?? 0,
    fields.arg ?? 0,
  );
  payload.copy(frame, HEADER_BYTES);
  return frame;
}

export class RmpPeer {
  readonly socket: Socket;
  /** Resolves when the connection has ended, however. */
  readonly closed: Promise<void>;
  #received = Buffer.alloc(0);
  #waiting: { resolve: (frame: RmpFrame) => void; reject: (error: Error) => void }[] = [];
  #ended = false;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (bytes) => {
      this.#received = Buffer.concat([this.#received, bytes]);
      this.#deliver();
    });
    socket.on('error', () => {});
    this.closed = new Promise((resolve) => {
      socket.once('close', () => {
        this.#ended = true;
        for (const { reject } of this.#waiting.splice(0)) reject(new Error('the connection ended'));
        resolve();
      });
    });
  }

  static async connect(port: number): Promise<RmpPeer> {
    const socket = connect({ host: '127.0.0.1', port });
    await new Promise((resolve, reject) => socket.once('connect', resolve).once('error', reject));
    return new RmpPeer(socket);
  }

  send(...frames: Parameters<typeof rmpFrame>[0][]): void {
    this.socket.write(Buffer.concat(frames.map(rmpFrame)));
  }

  /** The next frame. Rejects when the connection ends before. */
  next(): Promise<RmpFrame> {
    const frame = this.#take();
    if (frame !== undefined) return Promise.resolve(frame);
    if (this.#ended) return Promise.reject(new Error('the connection ended'));
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }));
  }

  /** Whatever else came before the answer to a ping that is sent now. */
  async untilPong(): Promise<RmpFrame[]> {
    this.send({ kind: 6, id: 0xffff_fff0 });
    const frames: RmpFrame[] = [];
    for (;;) {
      const frame = await this.next();
      if (frame.kind === 7 && frame.id === 0xffff_fff0) return frames;
      frames.push(frame);
    }
  }

  destroy(): void {
    this.socket.destroy();
  }

  #deliver(): void {
    while (this.#waiting.length > 0) {
      const frame = this.#take();
      if (frame === undefined) return;
      this.#waiting.shift()?.resolve(frame);
    }
  }

  #take(): RmpFrame | undefined {
    const bytes = this.#received;
    if (bytes.length < 4) return undefined;
    const end = 4 + readU32(bytes, 0);
    if (bytes.length < end) return undefined;
    this.#received = bytes.subarray(end);
    return {
      kind: bytes[4],
      flags: bytes[5],
      route: readU16(bytes, 6),
      id: readU32(bytes, 8),
      arg: readU32(bytes, 12),
      payload: bytes.subarray(HEADER_BYTES, end),
    };
  }
}

/** A listener whose connections are peers by hand. */
export class RmpPeerServer {
  readonly port: number;
  readonly #server: Server;
  readonly #peers: RmpPeer[] = [];
  #waiting: ((peer: RmpPeer) => void)[] = [];

  constructor(server: Server) {
    this.#server = server;
    this.port = (server.address() as { port: number }).port;
    server.on('connection', (socket) => {
      const peer = new RmpPeer(socket);
      const waiting = this.#waiting.shift();
      if (waiting === undefined) this.#peers.push(peer);
      else waiting(peer);
    });
  }

  static async listen(): Promise<RmpPeerServer> {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new RmpPeerServer(server);
  }

  accept(): Promise<RmpPeer> {
    const peer = this.#peers.shift();
    return peer === undefined ? new Promise((resolve) => this.#waiting.push(resolve)) : Promise.resolve(peer);
  }

  close(): Promise<void> {
    return new Promise((resolve) => this.#server.close(() => resolve()));
  }
}
