/**
 * A TCP proxy that breaks what goes through it: late, slow, not at all, or ended by FIN or RST, also in the middle of a frame. What
 * it holds back is not lost: when the fault is lifted the bytes go on, as after a network that came back.
 */
import { connect, createServer, type Server, type Socket } from 'node:net';

export type LinkFault =
  | { readonly kind: 'none' }
  /** Every byte comes so much later. */
  | { readonly kind: 'delay'; readonly ms: number }
  | { readonly kind: 'throttle'; readonly bytesPerSecond: number }
  /** Connections are accepted and nothing moves, in either direction. */
  | { readonly kind: 'black-hole' };

export const NO_FAULT: LinkFault = { kind: 'none' };
const STEP_MS = 5;

export class FaultProxy {
  readonly port: number;
  readonly #server: Server;
  readonly #targetPort: number;
  readonly #pairs = new Set<Pair>();
  #fault: LinkFault = NO_FAULT;
  #refusing = false;

  private constructor(server: Server, targetPort: number) {
    this.#server = server;
    this.port = (server.address() as { port: number }).port;
    this.#targetPort = targetPort;
    server.on('connection', (socket) => this.#accept(socket));
  }

  static async listen(targetPort: number): Promise<FaultProxy> {
    const server = createServer({ allowHalfOpen: true, noDelay: true });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return new FaultProxy(server, targetPort);
  }

  /** Connections through it now. */
  get connections(): number {
    return this.#pairs.size;
  }

  /** For the connections that are open and those that come. */
  set(fault: LinkFault): void {
    this.#fault = fault;
    for (const pair of this.#pairs) pair.set(fault);
  }

  /** FIN to both sides of every connection, after `bytes` more towards the one that connected: in the middle of a frame. */
  cut(bytes = 0): void {
    for (const pair of this.#pairs) pair.cut(bytes);
  }

  /** RST to both sides of every connection. */
  reset(): void {
    for (const pair of this.#pairs) pair.reset();
  }

  /** Resets what is open, and each new connection at once. */
  refuse(refusing: boolean): void {
    this.#refusing = refusing;
    if (refusing) this.reset();
  }

  close(): Promise<void> {
    for (const pair of this.#pairs) pair.reset();
    return new Promise((resolve) => this.#server.close(() => resolve()));
  }

  #accept(near: Socket): void {
    if (this.#refusing) {
      near.on('error', () => {});
      near.resetAndDestroy();
      return;
    }
    const pair = new Pair(near, this.#targetPort, () => this.#pairs.delete(pair));
    this.#pairs.add(pair);
    pair.set(this.#fault);
  }
}

/** Both directions of one connection. */
class Pair {
  readonly #near: Socket;
  readonly #far: Socket;
  readonly #out: Hose;
  readonly #back: Hose;

  constructor(near: Socket, targetPort: number, onClosed: () => void) {
    this.#near = near;
    this.#far = connect({ host: '127.0.0.1', port: targetPort, allowHalfOpen: true, noDelay: true });
    this.#out = new Hose(near, this.#far);
    this.#back = new Hose(this.#far, near);
    let open = 2;
    for (const [socket, other] of [
      [near, this.#far],
      [this.#far, near],
    ]) {
      socket.on('error', () => other.resetAndDestroy());
      socket.once('close', () => {
        open--;
        if (open > 0) return;
        this.#out.stop();
        this.#back.stop();
        onClosed();
      });
    }
  }

  set(fault: LinkFault): void {
    this.#out.set(fault);
    this.#back.set(fault);
  }

  cut(bytes: number): void {
    this.#back.endAfter(bytes);
    this.#far.end();
  }

  reset(): void {
    this.#near.resetAndDestroy();
    this.#far.resetAndDestroy();
  }
}

/** One direction. Bytes wait in order until the fault lets them go. */
class Hose {
  readonly #from: Socket;
  readonly #to: Socket;
  #fault: LinkFault = NO_FAULT;
  #waiting: { bytes: Buffer; dueMs: number }[] = [];
  #ended = false;
  #left = Infinity;
  #timer: NodeJS.Timeout | undefined;

  constructor(from: Socket, to: Socket) {
    this.#from = from;
    this.#to = to;
    from.on('data', (bytes) => this.#take(bytes));
    from.on('end', () => {
      this.#ended = true;
      this.#flow();
    });
    to.on('drain', () => this.#flow());
  }

  set(fault: LinkFault): void {
    this.#fault = fault;
    clearInterval(this.#timer);
    this.#timer = fault.kind === 'none' ? undefined : setInterval(() => this.#flow(), STEP_MS);
    this.#flow();
  }

  endAfter(bytes: number): void {
    this.#left = bytes;
    if (bytes === 0) this.#end();
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  #take(bytes: Buffer): void {
    const delayMs = this.#fault.kind === 'delay' ? this.#fault.ms : 0;
    this.#waiting.push({ bytes, dueMs: performance.now() + delayMs });
    if (this.#fault.kind === 'none' || this.#fault.kind === 'black-hole') this.#flow();
  }

  #flow(): void {
    const fault = this.#fault;
    if (fault.kind === 'black-hole' || this.#to.writableNeedDrain) {
      this.#from.pause();
      return;
    }
    let allowance = fault.kind === 'throttle' ? Math.ceil((fault.bytesPerSecond * STEP_MS) / 1000) : Infinity;
    const now = performance.now();
    while (this.#waiting.length > 0 && this.#waiting[0].dueMs <= now && allowance > 0) {
      const { bytes } = this.#waiting[0];
      const some = bytes.subarray(0, Math.min(bytes.length, allowance));
      allowance -= some.length;
      if (some.length === bytes.length) this.#waiting.shift();
      else this.#waiting[0].bytes = bytes.subarray(some.length);
      this.#write(some);
    }
    // A slow link is slow for its sender too: no more is read than waits here already.
    if (fault.kind === 'throttle' && this.#waiting.length > 0) this.#from.pause();
    else this.#from.resume();
    if (this.#ended && this.#waiting.length === 0) this.#to.end();
  }

  #write(bytes: Buffer): void {
    if (!this.#to.writable) return;
    const some = bytes.length > this.#left ? bytes.subarray(0, this.#left) : bytes;
    this.#left -= some.length;
    this.#to.write(some);
    if (this.#left <= 0) this.#end();
  }

  #end(): void {
    this.#left = 0;
    this.#to.end();
  }
}
