import type { NativeConnection } from './native-connection.js';

/** A token is a word of an event; 0 names none, and the greatest is left out. */
const MOST_TOKENS = 0xffff_fffe;

/** Connections on their way to be open, by the token that the event of their opening, or of its failure, will name. */
export class Openings {
  readonly #connections = new Map<number, NativeConnection>();
  #nextToken = 1;

  /** @returns its token */
  add(connection: NativeConnection): number {
    const token = this.#nextToken;
    this.#nextToken = (token % MOST_TOKENS) + 1;
    this.#connections.set(token, connection);
    return token;
  }

  take(token: number): NativeConnection | undefined {
    const connection = this.#connections.get(token);
    this.#connections.delete(token);
    return connection;
  }
}
