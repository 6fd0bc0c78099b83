// The withheld deletions as `status` shows them: which rows, since when their users are missed, and what a deletion would
// take along. Read from what the last full pass left and from the table as it is now.

import type { TableCatalog } from '../db/catalog.ts'
import type { Database, Executor } from '../db/database.ts'
import { type Dependents, readDependents } from '../db/dependents.ts'
import { isoTime } from '../db/times.ts'
import { readRows } from '../db/users.ts'
import { missedSince } from '../sync/approval.ts'
import { approvalCommand } from '../sync/approval-command.ts'
import { dependentLines } from '../sync/forecast.ts'
import { readDifference } from '../sync/known-difference.ts'

export interface Withheld {
  /** Rows that are still there. */
  readonly count: number
  /** The command that approves them, and no others. */
  readonly approve: string
  /** The first of them, or all. */
  readonly rows: readonly WithheldRow[]
  /** Rows of other tables that hang on them. */
  readonly dependents: readonly Dependents[]
}

interface WithheldRow {
  readonly clerkId: string
  /** Clerk's clock; null in a row that no run has written. */
  readonly lastChanged: string | null
  /** Postgres's clock; null where an earlier release withheld it. */
  readonly missedSince: string | null
  /** Only where values are shown. */
  readonly name?: string | null
}

/** How many are named unless all are asked for. */
const namedMax = 10
/** How many rows are read in one query. */
const rowsAtOnce = 1000

/** Returns what is withheld since the last full pass; null if nothing is. */
export async function readWithheld(
  database: Database,
  catalog: TableCatalog,
  difference: unknown,
  options: { all: boolean; showValues: boolean },
): Promise<Withheld | null> {
  const known = readDifference(difference)
  const ids = [...(known?.withheld ?? [])].sort()
  const since = missedSince(known)
  const rows = await readAll(database.db, ids, catalog)
  if (known === undefined || rows.length === 0) return null
  const time = (milliseconds: number | null | undefined) =>
    milliseconds === null || milliseconds === undefined ? null : isoTime(milliseconds)
  return {
    count: rows.length,
    approve: approvalCommand(rows.length, known.withheld),
    rows: rows.slice(0, options.all ? rows.length : namedMax).map(({ clerkId, clerkUpdatedAt, values }) => ({
      clerkId,
      lastChanged: time(clerkUpdatedAt),
      missedSince: time(since.get(clerkId)),
      ...(options.showValues ? { name: values.name } : {}),
    })),
    dependents: await readDependents(
      database,
      rows.map((row) => row.clerkId),
    ),
  }
}

async function readAll(executor: Executor, ids: readonly string[], catalog: TableCatalog) {
  const rows = []
  for (let start = 0; start < ids.length; start += rowsAtOnce)
    rows.push(...(await readRows(executor, ids.slice(start, start + rowsAtOnce), catalog)))
  return rows
}

/** The lines for a person. What only the policy keeps is not to be approved. */
export function withheldLines(
  { count, approve, rows, dependents }: Withheld,
  isKeptByPolicy: boolean,
): string[] {
  return [
    `${number(count)} ${count === 1 ? 'row stays whose user' : 'rows stay whose users'} Clerk no longer has:`,
    ...rows.map(rowLine),
    ...(rows.length < count ? [`  … and ${number(count - rows.length)} more (--all names them)`] : []),
    ...dependentLines(dependents).map((line) => `  ${line}`),
    isKeptByPolicy ? '  SYNC_POLICY is upsert-only.' : `  If their deletion is right: ${approve}`,
  ]
}

function rowLine({ clerkId, lastChanged, missedSince: since, name }: WithheldRow): string {
  const facts = [
    ...(name === undefined || name === null ? [] : [JSON.stringify(name)]),
    lastChanged === null ? 'never written by a run' : `last changed ${lastChanged.slice(0, 10)}`,
    ...(since === null ? [] : [`missed since ${since.slice(0, 10)}`]),
  ]
  return `  - ${clerkId}  ${facts.join(', ')}`
}

const number = (count: number) => count.toLocaleString('en')
