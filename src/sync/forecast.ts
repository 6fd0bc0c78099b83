// What a dry run can know of the run that it stands for, beyond the changes: what a run would do first, what Postgres would
// refuse, and what deletions would take along. It is told as notes, and what would end the run ends the dry run too, in the
// same words.

import type { TableCatalog } from '../db/catalog.ts'
import { readChecks } from '../db/checks.ts'
import type { Database } from '../db/database.ts'
import { type Dependents, readDependents } from '../db/dependents.ts'
import { mayNotMigrate } from '../db/migrate.ts'
import { type PendingWork, readPendingWork } from '../db/pending.ts'
import { users } from '../db/schema.ts'
import { SyncError } from '../errors.ts'
import type { Finding, Rejection } from './finding.ts'
import { type Findings, failuresPerConstraintMax } from './findings.ts'
import type { InstanceCheck } from './instance.ts'
import { type Change, changedKeys } from './plan.ts'
import { writeErrorText } from './write-error-text.ts'

/**
 * Finds what the run would do besides the changes that are found already. Throws the error with which it would end, after
 * all notes are there.
 */
export async function* forecast(
  database: Database,
  { instance, catalog, findings }: { instance: InstanceCheck; catalog: TableCatalog; findings: Findings },
): AsyncGenerator<Finding, void> {
  const work = await readPendingWork(database.db)
  yield { notes: [...workLines(work, catalog), ...bindingLines(instance)] }
  const { created, updated } = findings.counts()
  const checks = created + updated === 0 ? [] : await readChecks(database.db)
  if (checks.length > 0) yield { notes: [`a dry run cannot foresee what ${checks.join(', ')} will say`] }
  yield { notes: dependentLines(await readDependents(database, findings.lostRows())) }
  yield {
    notes: [...findings.foreseen()].map(
      ([reason, count]) => `${number(count)} ${count === 1 ? 'user' : 'users'} would be rejected: ${reason}`,
    ),
  }
  const error = endOfRun(work, findings.foreseen())
  if (error !== undefined) throw error
}

function workLines(work: PendingWork | undefined, catalog: TableCatalog): string[] {
  if (work === undefined) return []
  const { migrations, missing } = work
  const first =
    migrations.length === 0
      ? 'a run would first make again what is gone'
      : `a run would first apply ${migrations.length === 1 ? 'the migration' : 'the migrations'} ${migrations.join(', ')}`
  if (catalog.userColumns === undefined) return [`${first}: the table users is made`]
  const parts = missing.flatMap(({ what }) => (/\busers\b/.test(what) ? [what] : []))
  return [
    parts.length === 0
      ? `${first}; the table users stays as it is`
      : `${first}: the table users keeps all it has and gets ${parts.join(', ')}`,
  ]
}

function bindingLines({ instanceId, isBound, replaced }: InstanceCheck): string[] {
  if (isBound) return []
  return replaced === undefined
    ? [`a run would bind the table to instance ${instanceId}`]
    : [`a run would let the table move from instance ${replaced} to ${instanceId}`]
}

/** What deletions do to other tables, one line for each kind. */
export function dependentLines(dependents: readonly Dependents[]): string[] {
  const sentences = [
    ['deleted', 'a deletion takes rows of other tables along: '],
    ['forbids', 'rows that refer to them forbid a deletion: '],
    ['changed', 'a deletion empties the reference in: '],
  ] as const
  return sentences.flatMap(([onDelete, text]) => {
    const counts = dependents
      .filter((each) => each.onDelete === onDelete)
      .map(({ table, rows, unknown }) =>
        rows === null ? `${table} (${unknown})` : `${number(rows)} of ${table}`,
      )
    return counts.length === 0 ? [] : [`${text}${counts.join(', ')}`]
  })
}

function endOfRun(
  work: PendingWork | undefined,
  foreseen: ReadonlyMap<string, number>,
): SyncError | undefined {
  if (work?.isAllowed === false) return mayNotMigrate()
  if (work?.duplicates !== undefined) {
    return new SyncError('contract', 'a run would end at the migration; nothing of it would be kept', {
      hint: work.duplicates,
    })
  }
  const [reason, count = 0] = [...foreseen].find(([, each]) => each > failuresPerConstraintMax) ?? []
  if (reason === undefined) return undefined
  return new SyncError('constraint', `a run would end, since Postgres would refuse ${number(count)} users`, {
    hint: `${reason}. More than ${failuresPerConstraintMax} are about the column and not about a user: relax it, or give it a default.`,
  })
}

/** The changes that a column of the table would refuse, with the reason, and the others. */
export function withoutRefused(
  catalog: TableCatalog,
  changes: readonly Change[],
): { taken: Change[]; refused: Rejection[] } {
  const taken: Change[] = []
  const refused: Rejection[] = []
  for (const change of changes) {
    const reason = refusalOf(change, catalog)
    if (reason === undefined) taken.push(change)
    else refused.push({ clerkId: change.write.clerkId, reason })
  }
  return { taken, refused }
}

/** Why a column does not take its value, as Postgres would say it. */
function refusalOf({ write, row }: Change, catalog: TableCatalog): string | undefined {
  for (const key of changedKeys(write, row)) {
    const { name } = users[key]
    const value = write.values[key]
    const limits = catalog.syncedColumns.get(name)
    if (limits === undefined) continue
    if (value === null && limits.isRequired) {
      return writeErrorText({ code: '23502', constraint: name, named: { table: 'users', columns: name } })
    }
    if (value !== null && limits.lengthMax !== null && lengthOf(value) > limits.lengthMax) {
      const named = { columns: name, lengthMax: limits.lengthMax }
      return writeErrorText({ code: '22001', constraint: '22001', named })
    }
  }
  return undefined
}

/** Characters, as Postgres counts them: blanks at the end beyond the length are cut off without a word. */
const lengthOf = (value: string) => [...value.trimEnd()].length

const number = (count: number) => count.toLocaleString('en')
