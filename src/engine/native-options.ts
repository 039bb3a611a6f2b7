/** Checked options in the flat form that the addon reads. */
import type { ResolvedFraming } from '../framing/validate-framing.js';
import type { NativeConnectionOptions, NativeFraming, NativeListenOptions } from './native.js';
import type {
  ResolvedConnectionOptions,
  ResolvedConnectOptions,
  ResolvedListenAddress,
  ResolvedListenOptions,
} from './resolve-options.js';
import { ENGINE_LIMITS } from './tables.gen.js';

const FORMATS = { 'length-field': 0, delimiter: 1, varint: 2, raw: 3 } as const;

const NO_FRAMING: NativeFraming = {
  format: FORMATS.raw,
  maxFrameLength: ENGINE_LIMITS.maxFrameLength,
  lengthFieldOffset: 0,
  lengthFieldLength: 4,
  littleEndian: false,
  lengthAdjustment: 0,
  initialBytesToStrip: 0,
  headerLength: 0,
  delimiter: new Uint8Array(0),
  stripDelimiter: true,
  stripCarriageReturn: false,
  acceptUnterminated: false,
  hold: false,
};

export function toNativeListen(options: ResolvedListenOptions): NativeListenOptions {
  return {
    ...toNativeConnection(options.address, options.connection, ENGINE_LIMITS.connectTimeoutMs),
    fd: 'fd' in options.address ? options.address.fd : -1,
    backlog: options.backlog,
    reusePort: options.reusePort,
    ipv6Only: options.ipv6Only,
    maxConnections: options.maxConnections,
    maxConnectionsPerIp: options.maxConnectionsPerIp,
    limitLoopback: !options.loopbackExempt,
  };
}

export function toNativeConnect(options: ResolvedConnectOptions): NativeConnectionOptions {
  const connection = toNativeConnection(options.address, options.connection, options.connectTimeoutMs);
  return { ...connection, localAddress: options.localAddress, localPort: options.localPort };
}

function toNativeConnection(
  address: ResolvedListenAddress | undefined,
  options: ResolvedConnectionOptions,
  connectTimeoutMs: number,
): NativeConnectionOptions {
  const { framing, ...rest } = options;
  const place = { path: '', host: '', port: 0, ...address };
  return { ...rest, ...place, connectTimeoutMs, localAddress: '', localPort: 0, framing: toNativeFraming(framing) };
}

/** Of a socket that is connected already. */
export function toNativeAdopted(options: ResolvedConnectionOptions): NativeConnectionOptions {
  return toNativeConnection(undefined, options, ENGINE_LIMITS.connectTimeoutMs);
}

export function toNativeFraming(framing: ResolvedFraming): NativeFraming {
  switch (framing.format) {
    case 'length-field': {
      const { byteOrder, format, ...rest } = framing;
      return { ...NO_FRAMING, ...rest, format: FORMATS[format], littleEndian: byteOrder === 'little' };
    }
    case 'delimiter':
    case 'varint':
      return { ...NO_FRAMING, ...framing, format: FORMATS[framing.format] };
    case 'raw':
      return NO_FRAMING;
  }
}
