// npm run build: the native engine, then TypeScript. `npm ci && npm run build` leaves everything ready.
import { main } from './lib/run.mjs';
import { setUp } from './lib/setup.mjs';

await main(() => setUp({ native: 'bench', mayLackNative: false }));
