// Why Postgres does not take a row, in a sentence for an operator, with the SQLSTATE and the constraint at its end. Pure.

import { syncedKeys, users } from '../db/schema.ts'
import type { Named, WriteError } from '../db/write-error.ts'

type Row = Pick<WriteError, 'code' | 'constraint' | 'named'>

const tableName = 'users'
const synced = new Set<string>(syncedKeys.map((key) => users[key].name))

const writeSentences: Readonly<Record<string, (failure: Row) => string>> = {
  23502: ({ constraint, named }) =>
    isOurs(named, constraint)
      ? `${constraint} must not be empty, and this user has none`
      : `${placeOf(named, constraint)} must be given and has no default`,
  23503: ({ constraint }) => `the foreign key ${constraint} misses the row that it refers to`,
  23505: ({ constraint, named }) => `${placeOf(named, constraint)} is taken by another row`,
  23514: ({ constraint }) => `the check ${constraint} does not take its values`,
  '23P01': ({ constraint }) => `${constraint} does not take it beside another row`,
  22001: ({ named }) =>
    `${named.columns ?? 'a value'} is too long for ${named.lengthMax === undefined ? 'its column' : `varchar(${named.lengthMax})`}`,
  44000: () => 'the view does not take its values',
  54000: () => 'a value is too long for an index',
}

const deletionSentences: typeof writeSentences = {
  ...writeSentences,
  23503: ({ named }) => `rows of ${named.table ?? 'another table'} still refer to it`,
}

/** Why the row is not written: `email must not be empty, and this user has none (23502, email)`. */
export const writeErrorText = (failure: Row) => textOf(failure, writeSentences)

/** Why the row is not deleted. */
export const deletionErrorText = (failure: Row) =>
  `the row cannot be deleted: ${textOf(failure, deletionSentences)}`

function textOf(failure: Row, sentences: typeof writeSentences): string {
  const { code, constraint } = failure
  const sentence = sentences[code]?.(failure) ?? sentenceOfClass(code)
  return `${sentence} (${constraint === code ? code : `${code}, ${constraint}`})`
}

function sentenceOfClass(code: string): string {
  if (code.startsWith('22')) return 'a value does not fit its column'
  // The classes of SQL that Postgres itself uses here; all others are left to functions of applications.
  return /^(23|09|27)/.test(code)
    ? 'the schema of the app does not take it'
    : 'a trigger or function of the app does not take it'
}

/** Postgres names the table wherever it names a column; a trigger may have written to another table. */
const isOurs = ({ table }: Named, column: string) => table === tableName && synced.has(column)

function placeOf({ table, columns }: Named, constraint: string): string {
  const place = columns ?? constraint
  return table === undefined || table === tableName ? place : `${place} of the table ${table}`
}
