// The tests of the pure core alone, without a Postgres: what Stryker runs against each fault.
import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: [
      'test/sync/{plan,guard,report,known-difference,deletion-policy}.test.ts',
      'test/clerk/user.test.ts',
    ],
    setupFiles: ['test/mutation/setup.ts'],
  },
})
