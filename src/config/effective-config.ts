/** A configuration as YAML with every default written out: what `--check` prints. Loading it again gives the same. */
import { stringify } from 'yaml';
import type { ListenerConfig, PoolConfig } from '../gateway/options.js';
import type { Config } from './config.js';

export function effectiveConfig(config: Config): string {
  const { engine, drainGraceMs, maxQueuedTotal, log, admin, listeners, pools, routes } = config;
  const plain = {
    engine,
    drainGraceMs,
    maxQueuedTotal,
    log,
    admin,
    listeners: listeners.map(plainListener),
    pools: Object.fromEntries(pools.map(plainPool)),
    routes,
  };
  // Through JSON, so that undefined values and shared objects (YAML's anchors) do not appear.
  return stringify(JSON.parse(JSON.stringify(plain)), { lineWidth: 0 });
}

/** `route` and `errorReply` have no meaning with rmp, and a configuration that names them there is refused. */
function plainListener(listener: ListenerConfig): Partial<ListenerConfig> {
  if (listener.protocol !== 'rmp') return listener;
  const { route: _route, errorReply: _errorReply, ...rest } = listener;
  return rest;
}

function plainPool(pool: PoolConfig): [string, object] {
  const { name, servers, ...rest } = pool;
  return [name, { ...rest, servers: servers.map(({ address, weight }) => ({ address, weight })) }];
}
