import { capture, run, SetupError, say } from './run.mjs';

/** What the bench compares relays with, by Debian package; nginx's stream module is one of its own. */
const PEERS = [
  { program: 'haproxy', version: '-v', packages: ['haproxy'] },
  { program: 'nginx', version: '-v', packages: ['nginx-light', 'libnginx-mod-stream'] },
];

/** npm run bench -- --install-peers. Packages only: no service of theirs is left running by it. */
export function installPeers() {
  const missing = PEERS.filter(({ program, version }) => capture(program, [version]) === undefined);
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
