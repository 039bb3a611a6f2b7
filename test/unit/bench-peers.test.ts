import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { parseOptions } from '../../bench/options.js';
import { PEER_FLAGS } from '../../bench/servers.js';

test('the peers on Node run with the flags that Ringway sets for itself', () => {
  const own = [...readFileSync('bin/ringway', 'utf8').matchAll(/setFlagsFromString\('(.+?)'\)/g)].map(
    ([, flag]) => flag,
  );
  expect(PEER_FLAGS).toEqual(own);
});

test('one and the same native server stands behind every relay', () => {
  expect(parseOptions([])).toMatchObject({ backends: 'native' });
  expect(parseOptions(['--backends', 'ringway'])).toMatchObject({ backends: 'ringway' });
});

test('no message of a case is longer than a TCP relay’s buffer but the bulk ones', () => {
  const wire = 4 + 16_384;
  const haproxy = Number(/tune\.bufsize (\d+)/.exec(readFileSync('bench/peers/haproxy.cfg.template', 'utf8'))?.[1]);
  const nginx = Number(/proxy_buffer_size (\d+)k/.exec(readFileSync('bench/peers/nginx.conf.template', 'utf8'))?.[1]);
  // HAProxy keeps a kilobyte of it free for rewriting (tune.maxrewrite).
  expect(haproxy - 1024).toBeGreaterThan(wire);
  expect(nginx * 1024).toBeGreaterThan(wire);
});
