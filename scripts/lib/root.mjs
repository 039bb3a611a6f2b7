import { fileURLToPath } from 'node:url';

/** The repository's folder, without a slash at its end. Every script works from here, wherever it was called. */
export const root = fileURLToPath(new URL('../..', import.meta.url)).replace(/[\\/]$/, '');
