import { defineConfig } from 'vitest/config';

/** Real programs on `ringway/net`: `npm run test:programs`. */
export default defineConfig({
  test: {
    include: ['test/programs/**/*.test.ts'],
    testTimeout: 60_000,
    hookTimeout: 30_000,
    maxWorkers: 2,
    pool: 'forks',
  },
});
