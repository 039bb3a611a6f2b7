/** What `server.listen` was asked for, checked as Node checks it. */
import { isPath, type Options, toNumber } from './arguments.js';
import { invalidValue } from './errors.js';
import { checkPort } from './validate.js';

export interface ListenTarget {
  /** A host whose address must be found first. */
  readonly name?: string;
  /** An IP address. */
  readonly host?: string;
  readonly port?: number;
  readonly path?: string;
  readonly fd?: number;
  readonly backlog: number;
  readonly ipv6Only: boolean;
  readonly reusePort: boolean;
  /** Who may connect to the path beside its owner. */
  readonly readableAll: boolean;
  readonly writableAll: boolean;
}

export function listenTarget(args: readonly unknown[], given: Options): ListenTarget {
  const options = { ...((given._handle ?? given.handle ?? given) as Options) };
  const fromArguments =
    toNumber(args.length > 1 ? args[1] : undefined) || toNumber(args.length > 2 ? args[2] : undefined) || 0;
  const common = {
    backlog: Number(options.backlog) || fromArguments,
    ipv6Only: options.ipv6Only === true,
    reusePort: options.reusePort === true,
    readableAll: options.readableAll === true,
    writableAll: options.writableAll === true,
  };
  if (typeof options.fd === 'number' && options.fd >= 0) return { ...common, fd: options.fd };
  const isAny = args.length === 0 || typeof args[0] === 'function';
  if (isAny || (options.port === undefined && 'port' in options) || options.port === null) options.port = 0;
  if (typeof options.port === 'number' || typeof options.port === 'string') {
    const port = checkPort('options.port', options.port);
    // Without a host Node forgets ipv6Only.
    return options.host ? { ...common, port, name: options.host as string } : { ...common, port, ipv6Only: false };
  }
  if (options.path && isPath(options.path)) {
    if (options.path[0] === '\0' && (options.readableAll || options.writableAll)) {
      throw invalidValue(
        'options',
        given,
        'can not set readableAll or writableAllt to true when path is abstract unix socket',
      );
    }
    return { ...common, path: options.path };
  }
  if (!('port' in options || 'path' in options)) {
    throw invalidValue('options', given, 'must have the property "port" or "path"');
  }
  throw invalidValue('options', given);
}
