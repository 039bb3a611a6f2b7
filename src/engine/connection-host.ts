import type { BlockPool } from './block-pool.js';
import type { Handler } from './engine.js';
import type { PortableConnection } from './portable-connection.js';
import type { CounterName } from './tables.gen.js';
import type { TimingWheel } from './timing-wheel.js';

/** What a connection of the portable engine needs of its engine: what all connections share, and the turn. */
export interface ConnectionHost {
  readonly counts: Record<CounterName, number>;
  readonly blocks: BlockPool;
  readonly wheel: TimingWheel;
  readonly maxEngineBytes: number;
  readonly maxPartialBytes: number;
  /** Bytes waiting to be sent, all connections together. */
  bufferedBytes: number;
  /** Bytes of memory that incomplete frames hold, all connections together. */
  partialBytes: number;
  /** The connection whose frames are being delivered, and the bytes they lie in. */
  delivering: PortableConnection | undefined;
  deliveredBytes: Uint8Array | undefined;
  /** Somebody went on using the delivered bytes: their memory must not be recycled. */
  deliveredPinned: boolean;
  /** Begins a turn where none is running, and tells the wheel's time in it. */
  turn(): number;
  /** Of `maxPartialBytes`, in bytes. */
  partialShare(connection: PortableConnection): number;
  flushAtTurnEnd(connection: PortableConnection): void;
  batchEndAtTurnEnd(handler: Handler): void;
  closed(connection: PortableConnection): void;
}
