/** How a connection ends; one that nobody has begun to end has none. */
export class Ending {
  /** The peer sent FIN. */
  peerEnded = false;
  /** Nothing more can be sent: `shutdown` was called, or it is being detached. */
  finished = false;
  /** What `close(reason, message)` said, for CloseInfo. */
  message: string | undefined = undefined;
  /** Who waits for its descriptor. */
  detaching: { resolve(fd: number): void; reject(error: Error): void } | undefined = undefined;
  /** What the close event said; until then the socket is asked. */
  bytesReceived = -1;
}
