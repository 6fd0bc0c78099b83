// The tests that meet the database, once more in other environments, a vitest project for each of them. The rule: what
// cannot run on this machine is named, with the reason.
import { existsSync } from 'node:fs'
import { configDefaults, defineConfig } from 'vitest/config'
import { environments } from './test/support/environments.ts'
import plain from './vitest.config.ts'

const projects = Object.entries(environments).flatMap(([name, { needs, files }]) => {
  if (needs !== undefined && !existsSync(needs.program)) {
    process.stderr.write(`skipped: ${name}, since ${needs.program} is missing (${needs.from})\n`)
    return []
  }
  const include = [`compatibility/${name}`, ...files].map((file) => `test/${file}.test.ts`)
  return [{ test: { ...plain.test, name, include, exclude: configDefaults.exclude } }]
})

export default defineConfig({ test: { ...plain.test, projects } })
