/** How bytes become frames. The terms are Netty's. Options of every format and what each means. */

interface Bounded {
  /** Longest payload, in bytes. A frame that declares more closes the connection before a byte of it is buffered. Default 16 MiB. */
  readonly maxFrameLength?: number;
  /**
   * Each frame ends with a hold: what stands behind it stays unframed until `Connection.setFraming` says which framing goes on
   * (the same one, too). Default false.
   */
  readonly hold?: boolean;
}

/**
 * A length field at a fixed place (Netty's LengthFieldBasedFrameDecoder). The whole frame on the wire is
 * `lengthFieldOffset + lengthFieldLength + length + lengthAdjustment` bytes; `initialBytesToStrip` of them are not delivered.
 *
 *     | lengthFieldOffset | length field | length + lengthAdjustment bytes |
 *     |<-- not delivered: initialBytesToStrip -->|<---- the frame ---------|
 */
export interface LengthFieldFraming extends Bounded {
  /** Which format this is. */
  readonly format: 'length-field';
  /** Default 0. */
  readonly lengthFieldOffset?: number;
  /** Default 4. */
  readonly lengthFieldLength?: 1 | 2 | 3 | 4 | 8;
  /** Default `big`. */
  readonly byteOrder?: 'big' | 'little';
  /** Default 0. */
  readonly lengthAdjustment?: number;
  /** Default 0: the length field is part of what is delivered. */
  readonly initialBytesToStrip?: number;
  /**
   * Bytes after the length field that are header, not payload, hence not counted by `maxFrameLength` (RMP: 12). A frame
   * shorter than that is malformed. Default 0.
   */
  readonly headerLength?: number;
}

/** Frames end with a delimiter (Netty's DelimiterBasedFrameDecoder). */
export interface DelimiterFraming extends Bounded {
  /** Which format this is. */
  readonly format: 'delimiter';
  /** 1 to 16 bytes. Default LF. */
  readonly delimiter?: string | Uint8Array;
  /** Default true. */
  readonly stripDelimiter?: boolean;
  /** Drops one CR before the delimiter. Default false. */
  readonly stripCarriageReturn?: boolean;
  /** What stands before FIN without a delimiter is a last frame, not a truncated one. Default false. */
  readonly acceptUnterminated?: boolean;
}

/** Protobuf's length prefix: a base-128 varint of at most 5 bytes, not delivered (Netty's ProtobufVarint32FrameDecoder). */
export interface VarintFraming extends Bounded {
  /** Which format this is. */
  readonly format: 'varint';
}

/** Whatever was received at once is a frame. Nothing is ever incomplete. */
export interface RawFraming {
  /** Which format this is. */
  readonly format: 'raw';
}

/** How bytes become frames, on one connection. `format` says which; the rest are its options. */
export type Framing = LengthFieldFraming | DelimiterFraming | VarintFraming | RawFraming;
