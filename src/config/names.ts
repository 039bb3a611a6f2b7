/** Names and bounds that the schema and the command line share, apart so that a command need not load the schema for them. */
import type { EngineName } from '../engine/engine.js';

export const ENGINES = ['io_uring', 'epoll', 'portable', 'auto'] as const satisfies readonly EngineName[];

/** Threads of one process; far above any machine's use. */
export const MOST_REACTORS = 64;

export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
