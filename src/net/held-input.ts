/** What arrived after the socket asked for no more, or behind a listener that threw. */
import type { CloseInfo } from '../engine/engine.js';

export class HeldInput {
  readonly chunks: Buffer[] = [];
  /** The peer's end, behind all chunks. */
  end = false;
  /** The error that reading on finds behind all chunks. */
  failure: CloseInfo | undefined = undefined;
  /** It is handed over by itself, soon. */
  isDue = false;
}
