/** Logs: pino's JSON lines with ISO times, on stderr, so that stdout holds only what a command answers. */
import { type DestinationStream, destination, type Logger, pino, stdTimeFunctions } from 'pino';

import type { Log } from './gateway/options.js';

export type { Logger } from 'pino';

export interface LogOptions {
  /** `trace` `debug` `info` `warn` `error` `fatal` `silent`. Default `info`. */
  readonly level?: string;
  /** Where the lines go. Default stderr, written at once, so that none is lost at a crash. */
  readonly stream?: DestinationStream;
}

export function createLogger(options: LogOptions = {}): Logger {
  return pino(
    {
      level: options.level ?? 'info',
      timestamp: stdTimeFunctions.isoTime,
      base: { pid: process.pid },
      formatters: { level: (label) => ({ level: label }) },
    },
    options.stream ?? destination({ dest: 2, sync: true }),
  );
}

/** The gateway's log on a logger: the event's name is the message, its fields stand beside it. */
export function gatewayLog(logger: Logger): Log {
  return (level, event, fields) => logger[level](fields, event);
}
