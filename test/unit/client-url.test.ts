import { expect, test } from 'vitest';
import { parseClientUrl } from '../../src/client/client-url.js';

test.each([
  ['rmp://127.0.0.1:8080', { host: '127.0.0.1', port: 8080 }],
  ['rmp://gateway.internal:1/', { host: 'gateway.internal', port: 1 }],
  ['rmp://[::1]:65535', { host: '::1', port: 65535 }],
  ['unix:/run/ringway.sock', { path: '/run/ringway.sock' }],
  ['unix:///run/ringway.sock', { path: '/run/ringway.sock' }],
  ['unix:relative.sock', { path: 'relative.sock' }],
])('%s', (url, address) => expect(parseClientUrl(url)).toEqual(address));

test.each(['', 'rmp://', 'rmp://host', 'rmp://host:0', 'rmp://host:65536', 'rmp://a:b:1', 'tcp://host:1', 'unix:'])(
  '%s is refused with what would be right',
  (url) => expect(() => parseClientUrl(url)).toThrow('rmp://host:port or unix:/path is needed'),
);
