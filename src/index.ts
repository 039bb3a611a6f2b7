/**
 * The gateway, the frame server under it, and the SDKs of backends and clients.
 *
 * The public names, by hand: what is not here is not API.
 *
 * @module ringway
 */

// Frame server: frames to a handler.
export {
  connect,
  createServer,
  type FrameConnectOptions,
  FrameServer,
  type FrameServerOptions,
  type ServerAddressOptions,
} from './server.js';
export type { FrameHandlers } from './frame-channel.js';
export { FrameConnection } from './frame-connection.js';
export type { DelimiterFraming, Framing, LengthFieldFraming, RawFraming, VarintFraming } from './framing/framing.js';
export type { FramingName } from './framing/shorthand.js';

// Engines: bytes and frames in place, for those who count nanoseconds.
export { createEngine } from './engine/select-engine.js';
export type {
  AddressFamily,
  BoundAddress,
  BoundTcpAddress,
  BoundUnixAddress,
  CloseInfo,
  Connection,
  ConnectionOptions,
  ConnectOptions,
  DriverName,
  Engine,
  EngineName,
  EngineOptions,
  Handler,
  Kept,
  ListenAddress,
  Listener,
  ListenOptions,
  SocketAddress,
  TcpSocketAddress,
  UnixSocketAddress,
} from './engine/engine.js';
export {
  CLOSE_REASONS,
  type CloseReason,
  type CloseReasonRow,
  type CounterName,
  Status,
  type StatusName,
} from './engine/tables.gen.js';

// Gateway.
export { createGateway, type Gateway, type GatewayDeps, type ListenerAddress } from './gateway/gateway.js';
export type { GatewayDrainReport } from './gateway/drain.js';
export type {
  ClientProtocol,
  GatewayConfig,
  HealthConfig,
  LinksConfig,
  ListenerConfig,
  Log,
  LogLevel,
  PoolConfig,
  RetryConfig,
  RouteConfig,
  ServerConfig,
} from './gateway/options.js';
export type {
  BackendReport,
  EngineReport,
  EventsReport,
  GatewayReport,
  LatencyReport,
  ListenerReport,
} from './gateway/report.js';
export type { BackendState } from './gateway/backend.js';
export type { StrategyName } from './gateway/allocator.js';
export type { OutcomeName } from './gateway/tracker.js';
export { ConfigError, loadConfig, loadConfigFile } from './config/load-config.js';
export type { Problem } from './config/problem.js';
export type { AdminConfig, Config, EngineConfig, LogConfig, LogLevel as ConfigLogLevel } from './config/config.js';

// Backend SDK.
export { serve } from './backend-sdk/serve.js';
export type {
  BackendHandler,
  BackendServer,
  BackendStats,
  DrainReport,
  InPlaceHandler,
  InPlaceRequest,
  Reply,
  ServeOptions,
  Task,
  TaskContext,
} from './backend-sdk/types.js';

// Client SDK.
export { connectClient } from './client/connect-client.js';
export type { Client, ClientOptions, ClientStats, RequestOptions } from './client/types.js';

export type { Meta } from './protocol/meta.js';

// Errors.
export { type ErrorCode, type ErrorSource, RingwayError, type StatusCode } from './errors.js';
export { StatusError, type StatusErrorOptions, statusName } from './protocol/status-error.js';
