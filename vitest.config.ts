import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['tests/**/*.test.ts'],
    // `npm run test:cluster`
    exclude: ['tests/cluster/**'],
    pool: 'forks',
    // Many tests wait for something most of the time.
    maxWorkers: 3,
    // A worker runs its files one after the other with the modules of the first, which halves the time of all. So a file closes what it
    // opens, and hooks belong into tests: at the top of a module that several files import they would run for the first of them alone.
    isolate: false,
    testTimeout: 30_000,
    hookTimeout: 30_000
  }
})
