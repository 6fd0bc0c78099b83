// A copy of the tree with a fault put into it on purpose, for tests of the tests. The rule: the tree itself is never
// touched, and a fault that does not find its place is an error, not a fault that nobody found.
import { readFileSync } from 'node:fs'
import { cp, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

/**
 * A file of src, a place in it, and what stands there instead. A place is one of
 * - a quotation, whatever its white space and line breaks: `limit ${limit}`
 * - a guard of the SQL by the beginning of its comment: `-- stale pages lose` is the line behind it, with those indented more
 * - a quotation within such a guard or within a declaration: `-- stale pages lose … is null`, `heartbeat … status`
 */
export type Edit = readonly [file: string, place: string, replace: string]

/** A fault put in on purpose. */
export interface Fault {
  readonly name: string
  readonly edits: readonly Edit[]
}

const project = fileURLToPath(new URL('../..', import.meta.url))
const parts = [
  ...['src', 'test', 'drizzle', 'docs', 'README.md'],
  ...['package.json', 'tsconfig.json', 'vitest.config.ts'],
]

/** Runs `use` in a copy of the tree, with the fault if there is one. Throws as `filesWith` does. */
export async function withFaultyCopy<T>(
  fault: Fault | undefined,
  use: (folder: string) => Promise<T>,
): Promise<T> {
  const folder = await mkdtemp(join(tmpdir(), 'clerk-sync-fault-'))
  try {
    for (const part of parts) await cp(join(project, part), join(folder, part), { recursive: true })
    await symlink(join(project, 'node_modules'), join(folder, 'node_modules'))
    const files = fault === undefined ? [] : filesWith(fault)
    for (const [file, text] of files) await writeFile(join(folder, 'src', file), text)
    return await use(folder)
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

/** Returns what is wrong with the places of these faults, in words; nothing if each fits. */
export function lostPlaces(faults: readonly Fault[]): string[] {
  return faults.flatMap((fault) => {
    try {
      filesWith(fault)
      return []
    } catch (error) {
      return [(error as Error).message]
    }
  })
}

/** Returns the files of src that the fault changes, as it leaves them. Throws if one of its places is not there exactly once. */
function filesWith({ name, edits }: Fault): Map<string, string> {
  const texts = new Map<string, string>()
  for (const [file, place, replace] of edits) {
    try {
      const text = texts.get(file) ?? readFileSync(join(project, 'src', file), 'utf8')
      texts.set(file, edited(text, place, replace))
    } catch (error) {
      throw new Error(`${name}: src/${file}: ${(error as Error).message}`)
    }
  }
  return texts
}

/** Returns the text with the one place replaced. Throws if there is none, or more than one, or if nothing changes. */
export function edited(text: string, place: string, replace: string): string {
  const [first = '', second] = place.split(' … ')
  const isGuard = first.startsWith('-- ')
  const whole = isGuard ? guard(first) : second === undefined ? quotation(first) : declaration(first)
  const [start, found] = one(text, whole, place)
  const [offset, part] = second === undefined ? [0, found] : one(found, quotation(second), place)
  if (part === replace) throw new Error(`is replaced by itself: ${place}`)
  return text.slice(0, start + offset) + replace + text.slice(start + offset + part.length)
}

/** Returns where the only match begins and what it is. A backtick without a second one ends the SQL, and so the match. */
function one(text: string, pattern: RegExp, place: string): [start: number, found: string] {
  const [match, ...more] = text.matchAll(pattern)
  const [start, end] = match?.indices?.groups?.found ?? []
  if (start === undefined || more.length > 0) throw new Error(`is not there exactly once: ${place}`)
  const found = text.slice(start, end)
  const isCut = match?.groups?.indent !== undefined && found.split('`').length % 2 === 0
  return [start, isCut ? found.slice(0, found.lastIndexOf('`')) : found]
}

/** A formatter breaks lines where it likes, and puts a comma behind the last of a list. */
const quotation = (text: string) =>
  new RegExp(`(?<found>${[...text.replace(/\s+/g, '')].map(literal).join('\\s*')})`, 'dg')

const literal = (character: string) =>
  /[\])}]/.test(character) ? `(?:,\\s*)?\\${character}` : escaped(character)

const escaped = (text: string) => text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&')

const guard = (comment: string) =>
  new RegExp(`^ *${escaped(comment)}\\b.*\\n(?<indent> *)(?<found>\\S.*(?:\\n\\k<indent> .*)*)`, 'dgm')

/** Up to the next empty line. */
const declaration = (name: string) =>
  new RegExp(`^(?:export )?(?:async )?(?:function|const) (?<found>${name}\\b(?:.|\\n(?!\\n))*)`, 'dgm')
