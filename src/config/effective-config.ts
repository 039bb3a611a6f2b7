/** A configuration as YAML with every default written out: what `--check` prints. Loading it again gives the same. */
import { Document, isMap } from 'yaml';
import { ENGINE_LIMITS } from '../engine/tables.gen.js';
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
  const document = new Document(JSON.parse(JSON.stringify(plain)));
  for (const [at, listener] of config.listeners.entries()) noteConnectionsPerIp(document, listener, at);
  return document.toString({ lineWidth: 0 });
}

/** A default that cannot be written as a value: written, it would hold for loopback too. */
function noteConnectionsPerIp(document: Document, listener: ListenerConfig, at: number): void {
  const node = document.getIn(['listeners', at]);
  if (listener.path !== undefined || listener.maxConnectionsPerIp !== undefined || !isMap(node)) return;
  node.comment = ` maxConnectionsPerIp: ${ENGINE_LIMITS.maxConnectionsPerIp}, loopback exempt`;
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
