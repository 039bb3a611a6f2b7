/** One listening address and the sessions of its clients. */
import type { CloseInfo, Connection, Engine, Handler, Listener } from '../engine/engine.js';
import type { Framing } from '../framing/framing.js';
import { linesFraming } from '../protocol/lines.js';
import { plainFraming } from '../protocol/plain.js';
import { rmpFraming } from '../protocol/rmp.js';
import { hashString } from './allocator.js';
import type { ClientProtocol, ListenerConfig } from './options.js';
import { OrderedSession } from './ordered-session.js';
import { RmpSession } from './rmp-session.js';
import type { Session, SessionContext } from './session.js';

const FRAMINGS: Record<ClientProtocol, (maxFrameLength: number) => Framing> = {
  rmp: rmpFraming,
  plain: plainFraming,
  lines: linesFraming,
};

export interface ClientListenerOptions {
  readonly context: SessionContext;
  /** The next client's number. */
  readonly nextNumber: () => number;
  /** Some pool allocates by client: the address has to be hashed. */
  readonly byClient: boolean;
}

export class ClientListener implements Handler {
  readonly sessions = new Set<Session>();
  readonly config: ListenerConfig;
  readonly #options: ClientListenerOptions;
  /** The last one that closed: with it V8 keeps what it compiled for its class while there are no clients (native-engine.ts). */
  spare: Session | undefined = undefined;
  #listener: Listener | undefined;
  /** Undefined: not draining. */
  #graceMs: number | undefined;
  #hungUp = false;

  constructor(options: ClientListenerOptions) {
    this.config = options.context.config;
    this.#options = options;
  }

  get name(): string {
    return this.config.name;
  }

  get address(): Listener['address'] | undefined {
    return this.#listener?.address;
  }

  /** @throws what `Engine.listen` throws. */
  async listen(engine: Engine): Promise<void> {
    const { config } = this;
    const { host = '127.0.0.1', port, path } = config;
    this.#listener = await engine.listen(
      {
        ...(path === undefined ? { host, port: port! } : { path }),
        framing: FRAMINGS[config.protocol](config.maxFrameLength),
        maxConnections: config.maxConnections,
        maxConnectionsPerIp: config.maxConnectionsPerIp,
        idleTimeoutMs: config.idleTimeoutMs,
        partialFrameTimeoutMs: config.partialFrameTimeoutMs,
        writeStallTimeoutMs: config.writeStallTimeoutMs,
        maxBufferedBytes: config.maxBufferedBytes,
        backlog: config.backlog,
        reusePort: config.reusePort,
      },
      this,
    );
  }

  /** Accepts no more and tells the clients. */
  goAway(graceMs: number): void {
    this.#graceMs = graceMs;
    void this.stop();
    for (const session of [...this.sessions]) session.sayGoingAway(graceMs);
  }

  async stop(): Promise<void> {
    await this.#listener?.close();
  }

  hangUp(): void {
    this.#hungUp = true;
    for (const session of [...this.sessions]) session.dismiss('going-away');
  }

  open(connection: Connection): void {
    const { context, nextNumber, byClient } = this.#options;
    const Protocol = this.config.protocol === 'rmp' ? RmpSession : OrderedSession;
    const number = nextNumber();
    const session = new Protocol(number, byClient ? clientKey(connection, number) : 0, connection, context);
    connection.context = session;
    this.sessions.add(session);
    // Accepted by the kernel before the socket was closed.
    if (this.#hungUp) session.dismiss('going-away');
    else if (this.#graceMs !== undefined) session.sayGoingAway(this.#graceMs);
  }

  frame(connection: Connection, bytes: Uint8Array, start: number, end: number): void {
    (connection.context as Session).frame(bytes, start, end);
  }

  drain(connection: Connection): void {
    (connection.context as Session).drained();
  }

  end(connection: Connection): void {
    (connection.context as Session).end();
  }

  idle(connection: Connection): boolean {
    return (connection.context as Session).openTasks > 0;
  }

  close(connection: Connection, info: CloseInfo): void {
    const session = connection.context as Session;
    this.sessions.delete(session);
    session.closed(info);
    this.spare = session;
  }
}

/** What consistent hashing goes by: its address, or, on a unix socket, which has none, the connection itself. */
function clientKey({ remoteAddress }: Connection, number: number): number {
  return remoteAddress === '' ? number : hashString(remoteAddress) | 0;
}
