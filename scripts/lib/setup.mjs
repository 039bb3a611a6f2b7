import { ensureInstalled } from './install.mjs';
import { withSetupLock } from './lock.mjs';
import { buildNative, removeAddon } from './native.mjs';
import { SetupError, say } from './run.mjs';
import { buildTypeScript } from './typescript.mjs';

/**
 * Everything a command needs before it can run; what is up to date is left alone.
 *
 * @param native the set of native targets (see native.mjs)
 * @param mayLackNative whether to go on with the portable engine where native cannot be built. Elsewhere than on Linux
 *   there is no native engine, and every command goes on.
 */
export async function setUp({ native, mayLackNative }) {
  await withSetupLock(async () => {
    ensureInstalled();
    try {
      buildNative(native);
    } catch (error) {
      const goOn = error instanceof SetupError && (mayLackNative || process.platform !== 'linux');
      if (!goOn) throw error;
      removeAddon();
      say(`no native engine: ${error.message}`);
      say('going on with the portable engine');
    }
    buildTypeScript();
  });
}
