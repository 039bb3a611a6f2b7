import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  root: fileURLToPath(new URL('../../..', import.meta.url)),
  test: {
    include: ['test/faults/soak/*.test.ts'],
    hookTimeout: 60_000,
    maxWorkers: 1,
    pool: 'forks',
    disableConsoleIntercept: true,
  },
});
