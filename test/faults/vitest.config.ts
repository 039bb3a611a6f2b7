import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

/** Real load on real processes: one fault at a time, or each would be the other's. */
export default defineConfig({
  root: fileURLToPath(new URL('../..', import.meta.url)),
  test: {
    include: ['test/faults/*.test.ts'],
    testTimeout: process.env.FAULTS_LONG === '1' ? 600_000 : 90_000,
    hookTimeout: 60_000,
    fileParallelism: false,
    maxWorkers: 1,
    pool: 'forks',
  },
});
