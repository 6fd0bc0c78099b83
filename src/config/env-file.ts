// The text of a `.env` file, read so that no line of it is lost. dotenv decides what a value is, as in Next.js and most
// other tools, on every version of Node alike. But any such parser leaves out what it does not understand, and a setting
// that is left out is a default in force. The rule: each line is blank, a comment or part of exactly one assignment; the
// others are named by their number, without their content, which may be a secret.
import { parse } from 'dotenv'

export interface EnvFile {
  readonly values: Readonly<Record<string, string>>
  /** Each is a sentence for the operator, with the way out. It names lines and variables, no values. */
  readonly problems: readonly string[]
  readonly warnings: readonly string[]
}

interface Assignment {
  readonly name: string
  readonly value: string
  /** Counted from 1. */
  readonly line: number
}

/**
 * Reads the text of the file called `file`. Of the variables in `known` it also refuses what would hide one of them (a
 * second assignment, a quotation mark that is closed lines below) and points out what other readers understand otherwise.
 */
export function readEnvFile(file: string, text: string, known: ReadonlySet<string>): EnvFile {
  const lines = text.replace(/^\ufeff/, '').split(/\r\n?|\n/)
  const problems: string[] = []
  const assignments: Assignment[] = []
  const cut: Assignment[] = []
  const foreign: number[] = []
  for (let at = 0; at < lines.length; ) {
    const line = at + 1
    const entry = entryAt(lines, at, known)
    at += entry.length
    if (entry.is === 'foreign') foreign.push(line)
    if (entry.is === 'problem') problems.push(`${file}: line ${line} ${entry.problem}`)
    if (entry.is !== 'assignment') continue
    const found = { name: entry.name, value: entry.value, line }
    assignments.push(found)
    if (entry.isCut && known.has(entry.name)) cut.push(found)
  }
  if (foreign.length > 0) problems.push(foreignLines(file, foreign))
  const values = Object.fromEntries(assignments.map(({ name, value }) => [name, value]))
  const ours = assignments.filter(({ name }) => known.has(name))
  problems.push(...contradictions(file, ours))
  return { values, problems, warnings: [...cutWarnings(file, cut), ...expansionWarnings(file, ours, values)] }
}

/** What begins at a line, and how many lines it has. */
type Entry = { readonly length: number } & (
  | { readonly is: 'nothing' | 'foreign' }
  | { readonly is: 'problem'; readonly problem: string }
  | { readonly is: 'assignment'; readonly name: string; readonly value: string; readonly isCut: boolean }
)

const assignment = /^\s*(?:export\s+)?([\w.-]+)\s*(=\s*(.*))$/

function entryAt(lines: readonly string[], at: number, known: ReadonlySet<string>): Entry {
  const line = lines[at] ?? ''
  if (/^\s*(#|$)/.test(line)) return { is: 'nothing', length: 1 }
  const [, name, behindName = '', written = ''] = assignment.exec(line) ?? []
  if (name === undefined) return { is: 'foreign', length: 1 }
  const length = lengthOfValue(lines, at, written, known)
  if (typeof length !== 'number') return { is: 'problem', length: 1, ...length }
  const parsed = parse(lines.slice(at, at + length).join('\n'))
  const value = parsed[name]
  if (value === undefined || Object.keys(parsed).length !== 1) {
    const problem = 'cannot be read as one assignment. Put the value in quotation marks.'
    return { is: 'problem', length, problem }
  }
  // `pass#word`: a comment for dotenv and Next.js, a part of the value for Docker.
  const isCut = !/^['"`]/.test(written) && /\S#/.test(behindName)
  return { is: 'assignment', length, name, value, isCut }
}

/**
 * How many lines the value takes that begins with `written`: more than one only in quotation marks. A mark that is
 * forgotten must not take the variables up to the next one along.
 */
function lengthOfValue(
  lines: readonly string[],
  at: number,
  written: string,
  known: ReadonlySet<string>,
): number | { problem: string } {
  const quote = /^['"`]/.exec(written)?.[0]
  if (quote === undefined || ending(quote).test(written.slice(1))) return 1
  if (written.trimEnd().lastIndexOf(quote) > 0) {
    return {
      problem: `has something behind its second ${quote}. Use another kind of quotation mark around the value.`,
    }
  }
  for (let end = at + 1; end < lines.length; end += 1) {
    const line = lines[end] ?? ''
    if (line.includes(quote) && line.search(ending(quote)) === line.indexOf(quote)) return end - at + 1
    const name = assignment.exec(line)?.[1] ?? ''
    if (line.includes(quote) || known.has(name)) break
  }
  return { problem: `opens a ${quote} that it does not close. Close it, or remove it.` }
}

/** The mark as the last thing in a line, but for a comment. */
function ending(quote: string): RegExp {
  return new RegExp(`${quote}\\s*(#.*)?$`)
}

function foreignLines(file: string, numbers: readonly number[]): string {
  const shown = numbers.slice(0, 5).join(', ')
  const which =
    numbers.length === 1
      ? `line ${shown} is no assignment`
      : `lines ${shown}${numbers.length > 5 ? ' and more' : ''} are no assignments`
  return `${file}: ${which}. Write NAME=value, or begin the line with #.`
}

function contradictions(file: string, ours: readonly Assignment[]): string[] {
  return ours.flatMap(({ name, value, line }, index) => {
    const earlier = ours.slice(0, index).find((each) => each.name === name && each.value !== value)
    if (earlier === undefined) return []
    return [`${file}: lines ${earlier.line} and ${line} set ${name} differently. Remove one of the two.`]
  })
}

function cutWarnings(file: string, cut: readonly Assignment[]): string[] {
  return cut.map(
    ({ name, line }) =>
      `${name}: in line ${line} of ${file} the # begins a comment. If it is part of the value, put the value in quotation marks.`,
  )
}

/** Next.js would replace these; here they stand for themselves. */
function expansionWarnings(
  file: string,
  ours: readonly Assignment[],
  values: Readonly<Record<string, string>>,
): string[] {
  return ours.flatMap(({ name, value, line }) => {
    const references = [...value.matchAll(/\$(\w+)/g)].some(([, other = '']) => Object.hasOwn(values, other))
    if (!references && !/\$\{[^}]*\}|\\\$/.test(value)) return []
    return [
      `${name}: in line ${line} of ${file} the $ is taken literally; Next.js would replace what follows it. Write the value out.`,
    ]
  })
}
