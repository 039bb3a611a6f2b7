/** Addresses as users write them: `host:port`, `[v6]:port` or `unix:/path`. */
import { isIP } from 'node:net';

export type Address =
  | { readonly host: string; readonly port: number; readonly path?: undefined }
  | { readonly path: string; readonly host?: undefined; readonly port?: undefined };

export const ADDRESS_HINT = '"host:port", "[v6]:port" or "unix:/path"';

/** Longest path a unix socket can have (sun_path, with its NUL): 107 bytes. */
export const LONGEST_UNIX_PATH = 107;

const LABEL = /^(?!-)[A-Za-z0-9_-]{1,63}(?<!-)$/;

/** An IP address or a name that can be looked up. */
export function isHost(host: string): boolean {
  if (isIP(host) !== 0) return true;
  // All digits and dots but no IP address: a mistyped one, never a name.
  if (/^[\d.]+$/.test(host)) return false;
  return (
    host.length <= 253 &&
    host
      .replace(/\.$/, '')
      .split('.')
      .every((label) => LABEL.test(label))
  );
}

/** The one spelling of an IP address that many stand for; an IPv4 address in IPv6 dress is that IPv4 address to the kernel. */
export function canonicalIp(ip: string): string {
  // One with a zone has no shorter form that a URL would know.
  if (isIP(ip) !== 6 || ip.includes('%')) return ip;
  const short = new URL(`http://[${ip}]`).hostname.slice(1, -1);
  const mapped = /^::ffff:([0-9a-f]+):([0-9a-f]+)$/.exec(short);
  if (mapped === null) return short;
  const [high, low] = [Number.parseInt(mapped[1], 16), Number.parseInt(mapped[2], 16)];
  return [high >> 8, high & 255, low >> 8, low & 255].join('.');
}

/** @returns a sentence when `text` is no address. */
export function parseAddress(text: string): Address | string {
  if (text.startsWith('unix:')) return parsePath(text.slice('unix:'.length));
  const match = /^(?:\[([^\]]*)\]|([^:]*)):(\d+)$/.exec(text);
  if (match === null)
    return isIP(text) === 6
      ? `is an IPv6 address without brackets and port: "[${text}]:port"`
      : `is not an address: ${ADDRESS_HINT}`;
  const [, v6, name, digits] = match;
  const port = Number(digits);
  if (!(port >= 1 && port <= 65_535)) return `has a port out of range: 1 to 65535`;
  if (v6 !== undefined)
    return isIP(v6) === 6 ? { host: v6, port } : `has no IPv6 address between its brackets: "[::1]:${port}"`;
  if (name === '') return `has no host: "127.0.0.1:${port}"`;
  return isHost(name) ? { host: name, port } : 'has a host that is neither an IP address nor a name';
}

function parsePath(path: string): Address | string {
  const problem = pathProblem(path);
  return problem ?? { path };
}

/** @returns a sentence when a unix socket cannot have that path. */
export function pathProblem(path: string): string | undefined {
  if (path === '') return 'has no path: "unix:/run/name.sock"';
  if (path.includes('\0')) return 'has a NUL in its path';
  const length = Buffer.byteLength(path);
  return length > LONGEST_UNIX_PATH ? `has a path of ${length} bytes: at most ${LONGEST_UNIX_PATH}` : undefined;
}
