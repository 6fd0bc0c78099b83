// How a dry run shows a change: column by column, values masked unless the operator asks to see them.
import { users } from '../db/schema.ts'
import type { ShownChange } from '../sync/pass.ts'
import { changedKeys } from '../sync/plan.ts'

export interface ColumnChange {
  readonly column: string
  readonly from: string
  readonly to: string
}

const signs = { create: '+', update: '~', refresh: '=', delete: '-' } as const

/** The columns that would change; Clerk's times are told by the kind alone. */
export function columnChanges(shown: ShownChange, showValues: boolean): ColumnChange[] {
  if (shown.kind === 'delete' || shown.kind === 'refresh') return []
  const { write, row } = shown.change
  return changedKeys(write, row).map((key) => ({
    column: users[key].name,
    from: row === undefined ? '' : shownValue(row.values[key], showValues),
    to: shownValue(write.values[key], showValues),
  }))
}

/** One line for a person: `~ user_1 update  name "(11 characters)" → "(12 characters)"`. */
export function changeLine(shown: ShownChange, showValues: boolean): string {
  const columns = columnChanges(shown, showValues).map(({ column, from, to }) =>
    shown.kind === 'create' ? `${column} ${to}` : `${column} ${from} → ${to}`,
  )
  const details = shown.kind === 'refresh' ? ["Clerk's times only"] : columns
  return [`${signs[shown.kind]} ${clerkIdOf(shown)} ${shown.kind}`, ...details].join('  ')
}

/** Whom the change is about. */
export function clerkIdOf(shown: ShownChange): string {
  return shown.kind === 'delete' ? shown.clerkId : shown.change.write.clerkId
}

function shownValue(value: string | null, showValues: boolean): string {
  if (value === null) return 'null'
  if (showValues) return JSON.stringify(value)
  return `(${[...value].length} characters)`
}
