/** What only a connection that is on its way to be open has: an outgoing one, or a descriptor that is being taken over. */
import type { NativeConnection } from './native-connection.js';

/** A command that was given before the connection is open. */
type Deferred = (connection: NativeConnection) => void;

export class Opening {
  /** Its name in the reactor; 0: the reactor knows nothing of it. */
  token = 0;
  reactor = 0;
  /** Closed by its owner before it was open: the owner has been told. */
  abandoned = false;
  #deferred: Deferred[] = [];

  defer(run: Deferred): void {
    this.#deferred.push(run);
  }

  /** What was deferred, in order. */
  run(connection: NativeConnection): void {
    for (const run of this.#deferred) run(connection);
  }

  abandon(): void {
    this.abandoned = true;
    this.#deferred = [];
  }
}
