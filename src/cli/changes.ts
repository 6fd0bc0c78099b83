// How a dry run shows a change: the columns that differ, with values masked unless the operator asks to see them. A mask
// tells what changed without telling the value: how long it is, where it begins to differ, and of a URL host and end.
import { users } from '../db/schema.ts'
import { isoTime } from '../db/times.ts'
import type { LostRow, ShownChange } from '../sync/pass.ts'
import { changedKeys } from '../sync/plan.ts'

export interface ColumnChange {
  readonly column: string
  readonly from: string
  readonly to: string
}

/** The columns that would change. For Clerk's times the kind of change says enough. */
export function columnChanges(shown: ShownChange, showValues: boolean): ColumnChange[] {
  if (!('change' in shown) || shown.kind === 'refresh') return []
  const { write, row } = shown.change
  const isSet = (key: keyof typeof write.values) => row !== undefined || !isEmpty(write.values[key])
  return changedKeys(write, row)
    .filter(isSet)
    .map((key) => {
      const [from, to] = [row?.values[key], write.values[key]]
      const mask = showValues ? shownValue : (value: string | null) => masked(value, from ?? null, to)
      return { column: users[key].name, from: from === undefined ? '' : mask(from), to: mask(to) }
    })
}

/** Lines for a person: `~ user_1`, and below it `name  (11 characters) → (12 characters, differs from letter 4 on)`. */
export function changeLines(shown: ShownChange, showValues: boolean): string[] {
  if (!('change' in shown)) return [lostLine(shown, showValues)]
  const columns = columnChanges(shown, showValues)
  const width = Math.max(...columns.map(({ column }) => column.length))
  return [
    `${signs[shown.kind]} ${clerkIdOf(shown)}`,
    ...columns.map(({ column, from, to }) => {
      const name = `    ${column.padEnd(width)}`
      return from === '' ? `${name}  ${to}` : `${name}  ${from} → ${to}`
    }),
  ]
}

/** `- user_1  last changed 2026-03-01, missed since 2026-03-07 12:30 UTC`, and the name if values are shown. */
function lostLine(
  { kind, clerkId, row, missedSince }: LostRow & { kind: string },
  showValues: boolean,
): string {
  const facts = [
    ...(kind === 'withhold' ? ['withheld'] : []),
    ...(showValues && row !== undefined ? [shownValue(row.values.name)] : []),
    row === undefined ? 'the row is gone' : lastChanged(row.clerkUpdatedAt),
    ...(missedSince === undefined ? [] : [`missed since ${minuteOf(missedSince)}`]),
  ]
  return `- ${clerkId}  ${facts.join(', ')}`
}

const lastChanged = (version: number | null) =>
  version === null ? 'never written by a run' : `last changed ${isoTime(version).slice(0, 10)}`

/** A moment without seconds, as `2026-03-07 12:30 UTC`. */
const minuteOf = (time: number) => `${isoTime(time).slice(0, 16).replace('T', ' ')} UTC`

/** The user that the change is about. */
export function clerkIdOf(shown: ShownChange): string {
  return 'change' in shown ? shown.change.write.clerkId : shown.clerkId
}

const signs = { create: '+', update: '~', refresh: '=', delete: '-', withhold: '-' } as const

const isEmpty = (value: string | null) => value === null || value === ''

const shownValue = (value: string | null) => (value === null ? 'null' : JSON.stringify(value))

/** The value without what it says. Where it replaces a value of the same kind, also where the two begin to differ. */
function masked(value: string | null, from: string | null, to: string | null): string {
  if (value === null) return 'null'
  if (value === '') return '""'
  const end = urlEnd(value)
  const isReplacing = value === to && from !== null && from !== ''
  if (end !== undefined)
    return isReplacing && end === urlEnd(from) ? `${end}, ${difference(from, value)}` : end
  const length = `${[...value].length} characters`
  return isReplacing ? `(${length}, ${difference(from, value)})` : `(${length})`
}

/** Of a URL the host and the last letters: `https://img.clerk.com/…a1b2`. */
function urlEnd(value: string): string | undefined {
  if (!URL.canParse(value)) return undefined
  const { protocol, host } = new URL(value)
  return protocol === 'https:' && host !== '' ? `https://${host}/…${value.slice(-4)}` : undefined
}

function difference(from: string, to: string): string {
  if (from.toLowerCase() === to.toLowerCase()) return 'other case'
  if (from.trim() === to.trim()) return 'other blanks at an end'
  const [before, after] = [[...from], [...to]]
  const at = after.findIndex((letter, index) => letter !== before[index])
  return at === -1 ? 'shorter' : at >= before.length ? 'longer' : `differs from letter ${at + 1} on`
}
