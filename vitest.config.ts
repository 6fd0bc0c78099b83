import { configDefaults, defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // These hold only there: vitest.compatibility.config.ts.
    exclude: [...configDefaults.exclude, 'test/compatibility/**'],
    globalSetup: ['test/support/global-setup.ts'],
    // Half of the time goes by in waiting, for locks and for processes: even on two cores a second file runs beside the first.
    maxWorkers: 2,
    // CI machines are shared and noisy: a process that starts late is not a defect. What fails twice is.
    retry: process.env.CI ? 1 : 0,
    testTimeout: 60_000,
    hookTimeout: 120_000,
  },
})
