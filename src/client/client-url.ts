/** Where a client connects: `rmp://host:port`, `rmp://[::1]:port` or `unix:/path`. */
export type ClientAddress =
  | { readonly host: string; readonly port: number; readonly path?: undefined }
  | { readonly path: string; readonly host?: undefined; readonly port?: undefined };

const EXAMPLE = 'rmp://host:port or unix:/path is needed';

/** @throws TypeError for anything else. */
export function parseClientUrl(url: string): ClientAddress {
  if (url.startsWith('unix:')) {
    const path = url.slice('unix:'.length).replace(/^\/\/(?=\/)/, '');
    if (path === '') throw new TypeError(`"${url}" names no path: ${EXAMPLE}`);
    return { path };
  }
  const match = /^rmp:\/\/(?:\[([^\]]+)\]|([^:/[\]]+)):(\d{1,5})\/?$/.exec(url);
  const port = Number(match?.[3]);
  if (match === null || port < 1 || port > 65_535) throw new TypeError(`"${url}" is no address: ${EXAMPLE}`);
  return { host: match[1] ?? match[2], port };
}
