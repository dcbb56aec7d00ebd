// `npm run test:cluster`: the tests that start a whole cluster, one after the other.
import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['tests/cluster/**/*.test.ts'],
    pool: 'forks',
    maxWorkers: 1,
    testTimeout: 30_000,
    hookTimeout: 30_000
  }
})
