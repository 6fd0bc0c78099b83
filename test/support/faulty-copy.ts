// A copy of the tree with a fault put into it on purpose, for tests of the tests. The rule: the tree itself is never
// touched, and a fault that does not find its place is an error, not a fault that nobody found.
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** A file of src, a text that it holds once, and what stands there instead. */
export type Edit = readonly [file: string, search: string, replace: string]

const project = fileURLToPath(new URL('../..', import.meta.url))
const parts = [
  ...['src', 'test', 'drizzle', 'docs', 'README.md'],
  ...['package.json', 'tsconfig.json', 'vitest.config.ts'],
]

/** Runs `use` in a copy of the tree with these edits. Throws if one of them does not fit exactly once. */
export async function withFaultyCopy<T>(
  edits: readonly Edit[],
  use: (folder: string) => Promise<T>,
): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'clerk-sync-fault-'))
  try {
    for (const part of parts) await cp(join(project, part), join(folder, part), { recursive: true })
    await symlink(join(project, 'node_modules'), join(folder, 'node_modules'))
    for (const [file, search, replace] of edits) {
      const path = join(folder, 'src', file)
      await writeFile(path, edited(await readFile(path, 'utf8'), search, replace))
    }
    return await use(folder)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** Throws if one of these edits does not fit exactly once. */
export async function requireFit(edits: readonly Edit[]): Promise<void> {
  const texts = new Map<string, string>()
  for (const [file, search, replace] of edits) {
    const text = texts.get(file) ?? (await readFile(join(project, 'src', file), 'utf8'))
    texts.set(file, edited(text, search, replace))
  }
}

/** The text with the one place that holds `search` replaced. Throws if there is none, or more than one. */
function edited(text: string, search: string, replace: string): string {
  const [before, after, ...more] = text.split(search)
  if (before === undefined || after === undefined || more.length > 0) {
    throw new Error(`is not there exactly once: ${search}`)
  }
  return `${before}${replace}${after}`
}
