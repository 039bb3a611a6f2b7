/** What one value of a configuration says about another. Runs once every single value is right by itself. */
import { isIP } from 'node:net';
import { canonicalIp } from './address.js';
import { formatPath, formatValue, type Problem } from './problem.js';
import type { ParsedConfig, ParsedListener, ParsedPool } from './schema.js';

type Path = readonly (string | number)[];
type Report = (path: Path, message: string) => void;

export function crossCheck(config: ParsedConfig): Problem[] {
  const problems: Problem[] = [];
  const report: Report = (path, message) => problems.push({ path, message });
  checkListeners(config, report);
  for (const [name, pool] of Object.entries(config.pools)) checkPool(pool, ['pools', name], report);
  if (Object.keys(config.pools).length === 0) {
    report(['pools'], '{} names no pool: at least one, such as { chat: { servers: [{ address: "127.0.0.1:9101" }] } }');
  }
  checkRoutes(config, report);
  return problems;
}

/** Tells of every value that stood there before; `describe` gives undefined for what may stand twice. */
function checkUnique<Item>(
  items: readonly Item[],
  path: Path,
  key: string | undefined,
  describe: (item: Item) => string | undefined,
  report: Report,
): void {
  const seen = new Map<string, number>();
  items.forEach((item, at) => {
    const value = describe(item);
    if (value === undefined) return;
    const before = seen.get(value);
    if (before === undefined) seen.set(value, at);
    else
      report(
        key === undefined ? [...path, at] : [...path, at, key],
        `${value} is already that of ${String(path.at(-1))}[${before}]`,
      );
  });
}

function checkListeners(config: ParsedConfig, report: Report): void {
  for (const [at, listener] of config.listeners.entries()) checkListener(config, listener, ['listeners', at], report);
  checkUnique(
    config.listeners,
    ['listeners'],
    'name',
    (listener) => listener.name && JSON.stringify(listener.name),
    report,
  );
  checkUnique(config.listeners, ['listeners'], 'port', tcpAddress, report);
  checkWildcards(config, report);
  checkUnique(
    config.listeners,
    ['listeners'],
    'path',
    (listener) => listener.path && JSON.stringify(listener.path),
    report,
  );
  const { admin } = config;
  if (admin === undefined) return;
  const at = config.listeners.findIndex((listener) => tcpAddress(listener) === tcpAddress(admin));
  if (admin.port !== 0 && at >= 0)
    report(['admin', 'port'], `${tcpAddress(admin)} is already that of listeners[${at}]`);
}

/** Every address of a port and one of them cannot both be listened on: the kernel refuses the second. */
function checkWildcards({ listeners, admin }: ParsedConfig, report: Report): void {
  const all = [
    ...listeners.map((listener, at) => ({ ...listener, path: ['listeners', at] as Path })),
    ...(admin === undefined ? [] : [{ ...admin, reusePort: false, path: ['admin'] as Path }]),
  ];
  for (const [at, wide] of all.entries()) {
    for (const [otherAt, other] of all.entries()) {
      if (!wide.port || other.port !== wide.port || !includes(listenHost(wide), listenHost(other))) continue;
      if (wide.reusePort && other.reusePort) continue;
      const [first, second] = at < otherAt ? [wide, other] : [other, wide];
      const why = `${tcpAddress(wide)} includes ${tcpAddress(other)}`;
      report([...second.path, 'port'], `${why}, and ${formatPath(first.path)} listens there`);
    }
  }
}

/** Whether the first is every address of a kind that the second is of. `::` takes IPv4, too. */
function includes(wide: string, other: string): boolean {
  if (other === wide) return false;
  return wide === '::' || (wide === '0.0.0.0' && isIP(other) === 4);
}

function listenHost({ host = '127.0.0.1' }: { host?: string }): string {
  return host === 'localhost' ? '127.0.0.1' : canonicalIp(host);
}

/** Undefined where nothing can collide: a unix socket, or a port that the kernel chooses. */
function tcpAddress(listener: { host?: string; port?: number }): string | undefined {
  if (listener.port === undefined || listener.port === 0) return undefined;
  const host = listenHost(listener);
  return host.includes(':') ? `[${host}]:${listener.port}` : `${host}:${listener.port}`;
}

function checkListener(config: ParsedConfig, listener: ParsedListener, path: Path, report: Report): void {
  checkWhere(listener, path, report);
  if (listener.protocol === 'rmp') {
    if (listener.route !== undefined)
      report([...path, 'route'], `${listener.route} has no meaning with protocol rmp: each request brings its route`);
    if (listener.errorReply !== undefined) {
      report(
        [...path, 'errorReply'],
        `${formatValue(listener.errorReply)} has no meaning with protocol rmp: it has a status for every error`,
      );
    }
  } else {
    const wanted = listener.route ?? 0;
    if (!config.routes.some(({ route }) => route === wanted)) {
      report([...path, 'route'], `${wanted} is not among routes: ${listRoutes(config)}`);
    }
  }
  checkOrder(listener, 'maxFrameLength', 'maxBufferedBytes', path, report);
  if (listener.maxStreamBufferedBytes !== undefined)
    checkOrder(listener, 'maxStreamBufferedBytes', 'maxBufferedBytes', path, report);
}

function checkWhere(listener: ParsedListener, path: Path, report: Report): void {
  if (listener.path === undefined) {
    if (listener.port === undefined)
      report([...path, 'port'], 'missing: a port (0 to 65535), or a path for a unix socket');
    return;
  }
  if (listener.port !== undefined)
    report([...path, 'port'], `${listener.port} stands beside path: a listener has a port or a path`);
  if (listener.host !== undefined)
    report(
      [...path, 'host'],
      `${formatValue(listener.host)} stands beside path: a listener has a host and port or a path`,
    );
  if (listener.reusePort) report([...path, 'reusePort'], 'true does not exist for unix sockets: false');
  if (listener.maxConnectionsPerIp !== undefined) {
    report(
      [...path, 'maxConnectionsPerIp'],
      `${listener.maxConnectionsPerIp} has no meaning for a unix socket: its clients have no address`,
    );
  }
}

/** `low` must not be above `high`. */
function checkOrder<Item extends object>(
  item: Item,
  low: keyof Item & string,
  high: keyof Item & string,
  path: Path,
  report: Report,
): void {
  if (Number(item[low]) > Number(item[high]))
    report([...path, low], `${item[low]} is more than ${high}: at most ${item[high]}`);
}

function checkPool(pool: ParsedPool, path: Path, report: Report): void {
  checkOrder(pool.links, 'min', 'max', [...path, 'links'], report);
  checkOrder(pool.links, 'reconnectMinMs', 'reconnectMaxMs', [...path, 'links'], report);
  checkUnique(pool.servers, [...path, 'servers'], 'address', ({ address }) => JSON.stringify(address), report);
  if (pool.boundFactor !== undefined && pool.strategy !== 'consistent-hash') {
    report(
      [...path, 'boundFactor'],
      `${pool.boundFactor} has no meaning with strategy ${pool.strategy}: only with consistent-hash`,
    );
  }
}

function checkRoutes(config: ParsedConfig, report: Report): void {
  const pools = Object.keys(config.pools);
  config.routes.forEach(({ pool }, at) => {
    if (!pools.includes(pool))
      report(['routes', at, 'pool'], `${JSON.stringify(pool)} is not among pools: ${pools.join(', ')}`);
  });
  checkUnique(config.routes, ['routes'], 'route', ({ route }) => String(route), report);
}

function listRoutes(config: ParsedConfig): string {
  return config.routes.map(({ route }) => route).join(', ');
}
