// The migrations against the schema that the code uses: drizzle-kit finds nothing that a migration would have to add.
import { execFile } from 'node:child_process'
import { cp, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join, relative, resolve } from 'node:path'
import { promisify } from 'node:util'
import { expect, onTestFinished, test } from 'vitest'

const root = resolve(import.meta.dirname, '../..')

test('drizzle-kit generate finds nothing to do', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'clerk-sync-drizzle-'))
  onTestFinished(() => rm(folder, { recursive: true, force: true }))
  await cp(join(root, 'drizzle'), folder, { recursive: true })
  const before = await readdir(folder)
  const settings = [
    '--dialect',
    'postgresql',
    '--schema',
    'src/db/schema.ts',
    '--out',
    relative(root, folder),
  ]
  const { stdout } = await promisify(execFile)(
    process.execPath,
    [join(root, 'node_modules/drizzle-kit/bin.cjs'), 'generate', ...settings],
    { cwd: root },
  )
  expect(stdout).toContain('No schema changes')
  expect(await readdir(folder)).toEqual(before)
})
