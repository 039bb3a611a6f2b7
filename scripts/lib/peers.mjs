import { existsSync } from 'node:fs';
import { capture, run, SetupError, say } from './run.mjs';

/** Daemons lie where only root's PATH looks. */
const SBIN = ['', '/usr/local/sbin/', '/usr/sbin/', '/sbin/'];
/** In Debian nginx's stream module is a package of its own; elsewhere it is built in. */
const STREAM_MODULE = '/usr/lib/nginx/modules/ngx_stream_module.so';

/** What the bench compares relays with, by Debian package. */
const PEERS = [
  { packages: ['haproxy'], isThere: () => version('haproxy') !== undefined },
  { packages: ['nginx-light', 'libnginx-mod-stream'], isThere: hasStream },
];

function version(program) {
  return SBIN.map((folder) => capture(`${folder}${program}`, ['-v'])).find((text) => text !== undefined);
}

function hasStream() {
  if (version('nginx') === undefined) return false;
  return existsSync(STREAM_MODULE) || !existsSync('/etc/debian_version');
}

/** npm run bench -- --install-peers. Packages only: no service of theirs is left running by it. */
export function installPeers() {
  const missing = PEERS.filter(({ isThere }) => !isThere());
  if (missing.length === 0) {
    say('HAProxy and nginx are installed');
    return;
  }
  const packages = missing.flatMap((peer) => peer.packages);
  const args = ['install', '-y', '--no-install-recommends', ...packages];
  if (capture('apt-get', ['--version']) === undefined) throw new SetupError(`install ${packages.join(' ')} by hand`);
  if (process.getuid() !== 0) throw new SetupError(`run: sudo apt-get ${args.join(' ')}`);
  // With run level 1, invoke-rc.d starts no service along with its package.
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
  try {
    run('apt-get install', 'apt-get', args, { env });
  } catch {
    run('apt-get update', 'apt-get', ['update'], { env });
    run('apt-get install', 'apt-get', args, { env });
  }
}
