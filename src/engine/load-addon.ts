import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join, resolve } from 'node:path';
import { packageRoot } from '../package-root.js';

const require = createRequire(import.meta.url);

/** The loaded addon and the file it came from, or a sentence that says why there is none. */
export type LoadedAddon = { addon: unknown; path: string; error?: undefined } | { addon?: undefined; error: string };

/**
 * Finds and loads the native engine: the file that the environment variable RINGWAY_ADDON names and no other, else the
 * development build, else what `ringway build` made, else the prebuilt one of this platform. Never throws.
 */
export function loadAddon(): LoadedAddon {
  let path: string | undefined;
  try {
    path = findAddon();
    return { addon: require(path), path };
  } catch (error) {
    const reason = error instanceof Error ? error.message.trim().split('\n')[0] : String(error);
    return { error: path ? `the native engine at ${path} did not load: ${reason}` : reason };
  }
}

function findAddon(): string {
  const named = process.env.RINGWAY_ADDON;
  if (named) return resolve(named);
  const root = packageRoot();
  const built = join(root, 'build-native', 'Release', 'ringway.node');
  if (existsSync(built)) return built;
  try {
    return (require('node-gyp-build') as { path(folder: string): string }).path(root);
  } catch {
    throw new Error(
      `no native engine for ${process.platform} ${process.arch} (node ${process.version}) in this installation${advice()}`,
    );
  }
}

function advice(): string {
  return process.platform === 'linux' ? ' (`npx ringway build` compiles one)' : '';
}
