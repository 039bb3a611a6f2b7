/** What arrived after the socket asked for no more, or behind a listener that threw. */
export class HeldInput {
  readonly chunks: Buffer[] = [];
  /** The peer's end, behind all chunks. */
  end = false;
  /** It is handed over by itself, soon. */
  isDue = false;
}
