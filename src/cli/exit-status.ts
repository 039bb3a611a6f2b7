/** What a command's exit status says. */
export const ExitStatus = {
  ok: 0,
  /** It could not do its work, or a drain cut some of it. */
  failed: 1,
  /** Arguments or a configuration that make no sense. */
  usage: 2,
  /** `request`: this plus the status of the answer. */
  status: 10,
  /** A byte holds no more: 256 would be taken for 0. */
  most: 255,
} as const;

/** A mistake in the arguments: one line on stderr and exit status 2. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
}

/** Ends the command with a line on stderr and the status given. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
  readonly exitStatus: number;

  constructor(message: string, exitStatus: number = ExitStatus.failed) {
    super(message);
    this.exitStatus = exitStatus;
  }
}
