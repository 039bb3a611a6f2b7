/**
 * `node --import ringway/register app.js` (or `-r`): every `import` and `require` of `net` and `node:net`, in the program, its
 * libraries and its workers, gives `ringway/net`. What Node's own modules build on `net` keeps Node's: `http`, `https`, `http2`,
 * `tls`. `RINGWAY_ENGINE=portable` leaves everything as it was.
 *
 * @module ringway/register
 */
import nodeNet from 'node:net';
import net from './net/index.js';
import { replaceNet } from './register/replace-net.js';

// Where the engine is portable, `ringway/net` is `node:net` itself: nothing is replaced.
if (net !== nodeNet) {
  replaceNet({
    exports: net,
    url: new URL('./net/index.js', import.meta.url).href,
    own: new URL('./', import.meta.url).href,
  });
}
